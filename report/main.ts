/** Pages from run folders: what `report` and `compare` on the command line call. */
import { join, relative, resolve, sep } from "node:path";
import { compareLoaded, type Comparison } from "./rows/compare.ts";
import { comparisonPage } from "./page/compare_page.ts";
import { InputError } from "../engine/input_error.ts";
import { loadRun } from "../results/load.ts";
import { renderReport } from "./page/page.ts";

export { answerOf, answerText } from "./answer.ts";

/** URL of `target` relative to a page in `from`. */
function relativeUrl(from: string, target: string): string {
  const path = relative(resolve(from), resolve(target));
  return path.split(sep).map(encodeURIComponent).join("/") || ".";
}

async function writePage(outDir: string, page: string): Promise<void> {
  await Deno.mkdir(outDir, { recursive: true });
  await Deno.writeTextFile(join(outDir, "index.html"), page);
}

/**
 * Writes `outDir/index.html` from the records in `runDirs`. The same records and folders give the same
 * bytes.
 *
 * @throws InputError where a folder is no run, or a record is not what its version says.
 */
export async function writeReport(runDirs: readonly string[], outDir: string): Promise<void> {
  if (runDirs.length === 0) {
    throw new InputError("Cannot write a report of no runs: expected one run folder or more");
  }
  const runs = [];
  for (const dir of runDirs) runs.push({ loaded: await loadRun(dir), rawBase: relativeUrl(outDir, dir) });
  await writePage(outDir, renderReport(runs));
}

/** Names of folders: the last part of each path, with those before it where that is another's too. */
function distinctNames(dirs: readonly string[]): string[] {
  const paths = dirs.map((dir) => resolve(dir).split(sep).filter((part) => part !== ""));
  return paths.map((path, i) => {
    const others = paths.filter((other, j) => j !== i && other.join("/") !== path.join("/"));
    const longest = Math.max(path.length, 1);
    for (let count = 1; count < longest; count++) {
      const name = path.slice(-count).join("/");
      if (others.every((other) => other.slice(-count).join("/") !== name)) return name;
    }
    return path.join("/");
  });
}

/**
 * Compares runs with the first one and writes `outDir/index.html`.
 *
 * @param failOn Rules such as `tokensPerSecond<0.9`, on ratios to the first run; see `parseRule`.
 * @returns Whether a rule failed, and in which configurations.
 * @throws InputError like `writeReport`, and where a rule cannot be read.
 */
export async function compareRuns(
  runDirs: readonly string[],
  outDir: string,
  { failOn = [] }: { failOn?: readonly string[] } = {},
): Promise<Pick<Comparison, "failed" | "failures">> {
  if (runDirs.length < 2) {
    throw new InputError(`Cannot compare ${runDirs.length} run: expected two run folders or more`);
  }
  const runs = [];
  const names = distinctNames(runDirs);
  for (const [i, dir] of runDirs.entries()) {
    runs.push({ loaded: { ...await loadRun(dir), name: names[i] }, rawBase: relativeUrl(outDir, dir) });
  }
  const comparison = compareLoaded(runs.map(({ loaded }) => loaded), failOn);
  await writePage(outDir, comparisonPage(comparison, runs));
  return { failed: comparison.failed, failures: comparison.failures };
}
