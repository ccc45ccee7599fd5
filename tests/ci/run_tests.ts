// Runs `deno test` and ends with one plain line, "N passed, N failed, N skipped", whatever the reporter prints.
// Usage: deno run -A tests/ci/run_tests.ts [FOLDER or FILE]... [options of deno test] [-- arguments of the tests]
import { join } from "node:path";

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
 * Files that run at once. Deno's default is one a core; tests of an adapter sleep ten milliseconds for each answer of its queue,
 * more than half of their time, so on small machines twice as many end sooner.
 */
function jobCount(): string {
  const cores = navigator.hardwareConcurrency;
  return Deno.env.get("DENO_JOBS") ?? String(Math.max(cores, Math.min(2 * cores, 8)));
}

/** Files run side by side, so that more than a thread of Mesa's software adapter for each would only wake one another. */
function softwareThreads(): Record<string, string> {
  const variable = "LP_NUM_THREADS";
  return { [variable]: Deno.env.get(variable) ?? "1" };
}

/** Runs the tests. @returns The exit code: that of `deno test`, and never 0 where no test ran. */
async function runTests(args: readonly string[]): Promise<number> {
  const junitPath = await Deno.makeTempFile({ prefix: "threefold-tests-", suffix: ".xml" });
  try {
    const { code, signal } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", `--junit-path=${junitPath}`, ...args],
      cwd: PROJECT,
      env: { DENO_JOBS: jobCount(), ...softwareThreads() },
    }).spawn().status;
    const { passed, failed, skipped } = countTests(await Deno.readTextFile(junitPath));
    if (passed + failed === 0) {
      console.error("No test ran");
      return code || 1;
    }
    // The report is written when every test has ended. After it Mesa's software adapter sometimes aborts in its exit handlers.
    if (signal !== null && failed === 0) {
      console.error(
        `All tests had ended when deno test was stopped by ${signal}: a driver that failed at exit`,
      );
      console.log(`${passed} passed, 0 failed, ${skipped} skipped`);
      return 0;
    }
    // A module that fails outside its tests fails the run without being a case in the report.
    const unreported = code !== 0 && failed === 0 ? 1 : 0;
    console.log(`${passed} passed, ${failed + unreported} failed, ${skipped} skipped`);
    return code;
  } finally {
    await Deno.remove(junitPath);
  }
}

if (import.meta.main) Deno.exit(await runTests(Deno.args));
