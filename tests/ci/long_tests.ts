// Runs the files of tests that have long parts, those parts included, and writes the run down in
// docs/reliability.md: deno task test:long
import { globSync } from "node:fs";
import { basename, join } from "node:path";
import { InputError } from "../../engine/input_error.ts";
import type { Environment } from "../../results/record.ts";
import { engine } from "../../suites/engine.ts";
import { environmentOf, PROJECT } from "../../suites/environment.ts";
import { type Counts, runTests, testsIn } from "./run_tests.ts";

/** The page that has the last run. */
export const PAGE = join(PROJECT, "docs", "reliability.md");

/** What the page says of a run's machine: neither its name nor a folder. */
export type Machine = Pick<
  Environment,
  "adapter" | "driver" | "gpuProviderVersion" | "cpu" | "cpuCount" | "operatingSystem" | "deno" | "commit"
>;

/** One run of the long tests. */
export interface LongRun {
  startedAt: Date;
  seconds: number;
  counts: Counts;
  machine: Machine;
}

const BEGIN = "<!-- written by deno task test:long -->\n";
const END = "<!-- end of what is written -->";

/** Writes the run between the page's markers; all else stays as it was. */
export async function writeRun(path: string, run: LongRun): Promise<void> {
  await Deno.writeTextFile(path, withRun(await Deno.readTextFile(path), run, path));
}

function withRun(page: string, run: LongRun, path: string): string {
  const begin = page.indexOf(BEGIN);
  const end = page.indexOf(END, begin);
  if (begin < 0 || end < 0) {
    const missing = begin < 0 ? "first" : "second";
    throw new InputError(
      `Cannot write the run into ${path}: expected the line "${BEGIN.trim()}" and after it "${END}", found no ${missing} one`,
    );
  }
  return `${page.slice(0, begin + BEGIN.length)}${table(run)}\n${page.slice(end)}`;
}

function table({ startedAt, seconds, counts, machine }: LongRun): string {
  const rows = {
    date: startedAt.toISOString().slice(0, 10),
    commit: machine.commit ?? "unknown",
    adapter: `${machine.adapter}, driver ${machine.driver}, ${machine.gpuProviderVersion}`,
    cores: `${machine.cpuCount}${machine.cpu === null ? "" : ` (${machine.cpu})`}`,
    system: `${machine.operatingSystem}, Deno ${machine.deno}`,
    passed: counts.passed,
    failed: counts.failed,
    skipped: counts.skipped,
    "wall time": `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`,
  };
  return ["| | |", "|---|---|", ...Object.entries(rows).map(([name, value]) => `| ${name} | ${value} |`)]
    .join("\n");
}

/** Files of tests that have long parts: those that ask for the flag, themselves or through a helper. */
export async function filesWithLongParts(): Promise<string[]> {
  const asking = async (files: string[], marks: string[]) => {
    const texts = await Promise.all(files.map((file) => Deno.readTextFile(join(PROJECT, file))));
    return files.filter((_, i) => marks.some((mark) => texts[i].includes(mark)));
  };
  const support = globSync("tests/support/*.ts", { cwd: PROJECT });
  const helpers = await asking(support, [`"./long_run.ts"`]);
  const marks = ["long_run.ts", ...helpers.map((file) => basename(file))].map((name) => `/support/${name}"`);
  return asking(["tests/host", "tests/device"].flatMap(testsIn), marks);
}

async function main(): Promise<number> {
  if (Deno.args.length > 0) {
    throw new InputError(
      `Unknown argument ${Deno.args[0]}: test:long takes none, as its page speaks of all long tests`,
    );
  }
  const startedAt = new Date();
  const machine = await environmentOf(await engine.describeAdapter());
  // A page that cannot be written is found out before the tests run for an hour.
  const none = { passed: 0, failed: 0, skipped: 0 };
  withRun(await Deno.readTextFile(PAGE), { startedAt, machine, seconds: 0, counts: none }, PAGE);
  Deno.env.set("THREEFOLD_LONG", "1");
  const started = performance.now();
  const { exitCode, counts } = await runTests(["--parallel", ...await filesWithLongParts()]);
  await writeRun(PAGE, { startedAt, machine, seconds: (performance.now() - started) / 1000, counts });
  return exitCode;
}

if (import.meta.main) {
  try {
    Deno.exit(await main());
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    console.error(error.message);
    Deno.exit(2);
  }
}
