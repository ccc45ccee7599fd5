import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { main } from "../../../suites/cli/main.ts";
import { fakeServices } from "./fake_services.ts";
import type { CellRecord, RunRecord } from "../../../results/record.ts";

/** What a command line did. */
export interface Ended {
  code: number;
  out: string;
  err: string;
}

const PROJECT = fileURLToPath(new URL("../../..", import.meta.url));

/** Starts the command line with the fake trainer in a process of its own, for tests that send it signals. */
export function start(args: readonly string[]): Deno.ChildProcess {
  const script = fileURLToPath(new URL("./fake_main.ts", import.meta.url));
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--config", join(PROJECT, "deno.json"), script, ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Processes that a process has started. */
export async function childrenOf(pid: number): Promise<number[]> {
  const text = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`).catch(() => "");
  if (text.trim() !== "") return text.trim().split(/\s+/).map(Number);
  const found: number[] = []; // other threads start processes too
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const status = await Deno.readTextFile(`/proc/${name}/stat`).catch(() => "");
    if (Number(status.slice(status.lastIndexOf(")") + 2).split(" ")[1]) === pid) found.push(Number(name));
  }
  return found;
}

/** Runs the command line with the fake trainer to its end, in this process. */
export async function run(...args: string[]): Promise<Ended> {
  const [out, err]: [string[], string[]] = [[], []];
  const code = await main(args, fakeServices((text) => out.push(text), (text) => err.push(text)));
  return { code, out: out.join("\n"), err: err.join("\n") };
}

/** Gives a test a folder with a suite in it. */
export async function withSuite(
  yaml: string,
  test: (paths: { suite: string; out: string; folder: string }) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "threefold-" });
  try {
    const suite = join(folder, "suite.yaml");
    await Deno.writeTextFile(suite, yaml);
    await test({ suite, out: join(folder, "out"), folder });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The records of a run folder, in the order of its cells. */
export async function records(out: string): Promise<{ run: RunRecord; cells: CellRecord[] }> {
  const run: RunRecord = JSON.parse(await Deno.readTextFile(join(out, "run.json")));
  const cells: CellRecord[] = [];
  for (const { id } of run.cells) {
    const text = await Deno.readTextFile(join(out, "cells", `${id}.json`)).catch(() => null);
    if (text !== null) cells.push(JSON.parse(text));
  }
  return { run, cells };
}

/** A suite of one sweep over the fake model; `changes` are further lines of the phase. */
export function sweep({ model = "fake", sizes = [1, 2, 4], seeds = [1, 2], changes = "" } = {}): string {
  return `title: a sweep
defaults: { model: ${model}, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 1024 }
phases:
  - name: batch-size
    kind: batch-sweep
    axes: { effectiveBatchSize: [${sizes}] }
    seeds: [${seeds}]
${changes}`;
}
