// Runs `deno test` and ends with one plain line, "N passed, N failed, N skipped",
// whatever the reporter prints.
// Usage: deno run -A tests/ci/run_tests.ts [FOLDER or FILE]... [options of deno
//        test] [-- arguments of the tests]
import { globSync } from "node:fs";
import { join, normalize } from "node:path";

const PROJECT = join(import.meta.dirname!, "..", "..");

/** Counts of one run of `deno test`; steps count as tests. */
export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** Sums the suites of a JUnit report as `deno test --junit-path` writes it. */
export function countTests(junit: string): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const [suite] of junit.matchAll(/<testsuite [^>]*>/g)) {
    const number = (name: string) => Number(suite.match(new RegExp(` ${name}="(\\d+)"`))?.[1] ?? NaN);
    const failed = number("failures") + number("errors");
    counts.failed += failed;
    counts.skipped += number("disabled");
    counts.passed += number("tests") - failed - number("disabled");
  }
  return counts;
}

/**
 * Files that run at once. Deno's default is one a core; tests of an adapter sleep ten milliseconds for each
 * answer of its queue, more than half of their time, so on small machines twice as many end sooner.
 */
function jobCount(): string {
  const cores = navigator.hardwareConcurrency;
  return Deno.env.get("DENO_JOBS") ?? String(Math.max(cores, Math.min(2 * cores, 8)));
}

/**
 * What drivers are told, unless the environment tells them otherwise.
 *
 * Mesa's software adapter computes on the thread that hands it the work: files run side by side, so that
 * threads of its own would only be woken, a third of what it takes to run a model of a few channels. Its
 * vectors are of 256 bits wherever it runs, so that bits of losses can be compared, and it leaves out LLVM's
 * optimisations, for most of a first run is compilation and tests run each shader a few times. wgpu leaves
 * OpenGL alone: libEGL frees the state of each thread when the process ends, those of ending threads a second
 * time, and glibc aborts a run in ten after the last test.
 */
const DRIVER_SETTINGS: Readonly<Record<string, string>> = {
  LP_NUM_THREADS: "0",
  LP_NATIVE_VECTOR_WIDTH: "256",
  GALLIVM_PERF: "nopt",
  DENO_WEBGPU_BACKEND: "vulkan,metal,dx12",
};

/** What drivers are told in tests. */
export function driverSettings(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(DRIVER_SETTINGS).map(([name, value]) => [name, Deno.env.get(name) ?? value]),
  );
}

/**
 * Files that get a process of their own: with other files' devices beside Dawn's, NVIDIA's driver waited for
 * ever in one run and crashed in another.
 */
const ALONE: readonly string[] = ["tests/device/runtime/dawn_test.ts"];

/** A path without `./` before it and `/` after it. */
const plain = (path: string) => normalize(path).replace(/\/$/, "");

/** Files of tests in a folder, as paths from the project. */
export function testsIn(folder: string): string[] {
  return globSync(`${folder}/**/*_test.ts`, { cwd: PROJECT }).map(plain).sort();
}

/**
 * Arguments of each `deno test` that is to run for the arguments of this script, those of most files first.
 *
 * Folders with files that run alone become lists of their other files: `--ignore`
 * forgets them where a second folder is named.
 */
export function testRuns(args: readonly string[], alone = ALONE, filesIn = testsIn): string[][] {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const isPath = (arg: string, i: number) => i < end && /^(\.\/)?tests(\/|$)/.test(arg);
  const named = args.filter(isPath).map(plain);
  const options = args.filter((arg, i) => !isPath(arg, i));
  const paths = named.length > 0 ? named : ["tests"];
  const isIn = (path: string) => (file: string) => file === path || file.startsWith(`${path}/`);
  const others = paths.flatMap((path) => {
    if (!alone.some(isIn(path))) return [path];
    return alone.includes(path) ? [] : filesIn(path).filter((file) => !alone.includes(file));
  });
  const asked = alone.filter((file) => paths.some((path) => isIn(path)(file)));
  return [...others.length > 0 ? [[...others, ...options]] : [], ...asked.map((file) => [file, ...options])];
}

/** Folders of the project that a test may fill: what `setup.sh` and the engine fetch or can make again. */
const CACHES = [".deno/", ".gpu/", ".cache/"];

/**
 * Files in a folder of a git checkout that are not tracked, those that git ignores among them: a benchmark's
 * output that a test leaves in `bench/` is a file left. Caches are left out. Null where git cannot tell, as
 * in a copy without its history.
 */
export async function untrackedFiles(folder = PROJECT): Promise<string[] | null> {
  try {
    const git = new Deno.Command("git", { args: ["ls-files", "--others", "-z"], cwd: folder });
    const { success, stdout } = await git.output();
    if (!success) return null;
    const files = new TextDecoder().decode(stdout).split("\0").filter((file) => file !== "");
    return files.filter((file) => !CACHES.some((cache) => file.startsWith(cache)));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** Runs `deno test` once. */
async function runOnce(args: readonly string[]): Promise<{ code: number; counts: Counts }> {
  const junitPath = await Deno.makeTempFile({ prefix: "threefold-tests-", suffix: ".xml" });
  try {
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", "--no-check", `--junit-path=${junitPath}`, ...args],
      cwd: PROJECT,
      env: { DENO_JOBS: jobCount(), ...driverSettings() },
    }).spawn().status;
    const counts = countTests(await Deno.readTextFile(junitPath));
    // What fails outside its tests, or a process that dies, is no case in the report.
    const unreported = code !== 0 && counts.failed === 0 ? 1 : 0;
    return { code, counts: { ...counts, failed: counts.failed + unreported } };
  } finally {
    await Deno.remove(junitPath);
  }
}

/**
 * Runs the tests and prints their counts; types are checked by a task of their own.
 *
 * @returns Counts, and the exit code: that of the first `deno test` that failed, and never 0 where no test
 *   ran or files are left in the tree.
 */
export async function runTests(args: readonly string[]): Promise<{ exitCode: number; counts: Counts }> {
  const total: Counts = { passed: 0, failed: 0, skipped: 0 };
  let exitCode = 0;
  const before = await untrackedFiles();
  for (const run of testRuns(args)) {
    const { code, counts } = await runOnce(run);
    exitCode ||= code;
    for (const key of ["passed", "failed", "skipped"] as const) total[key] += counts[key];
  }
  if (total.passed + total.failed === 0) {
    console.error("No test ran");
    exitCode ||= 1;
  }
  const left = (await untrackedFiles() ?? []).filter((file) => before !== null && !before.includes(file));
  if (left.length > 0) {
    console.error(`The tests left ${left.length} files in the tree: ${left.slice(0, 16).join(", ")}`);
    total.failed++;
    exitCode ||= 1;
  }
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  return { exitCode, counts: total };
}

if (import.meta.main) Deno.exit((await runTests(Deno.args)).exitCode);
