/** Suites of one adapter as one run, so that claims are judged over all that was measured. */
import type { CellRecord } from "../../results/record.ts";
import type { LoadedRun } from "../../results/load.ts";

/** Runs that are read as one, and where the records of each lie. */
export interface RunGroup {
  loaded: LoadedRun;
  /** The runs it was put together from, in order. */
  members: PageRun[];
  /** URL of the run folder that holds a cell. */
  folderOf(id: string): string;
  /** Phases of later runs that an earlier one has already, so that they are left out. */
  leftOut: string[];
}

/** A run and where its folder lies as seen from the page. */
export interface PageRun {
  loaded: LoadedRun;
  /** Relative URL of the run folder. */
  rawBase: string;
}

/** What must be equal before figures of two runs may stand in one table. */
function machine({ run: { environment, numerics } }: LoadedRun): string {
  const { key, vendor, architecture, operatingSystem, threefold } = environment;
  return JSON.stringify([key, vendor, architecture, operatingSystem, threefold, numerics]);
}

/** Puts different suites of the same adapter together; a second run of the same suite begins a new group. */
export function groupRuns(runs: readonly PageRun[]): RunGroup[] {
  const groups: PageRun[][] = [];
  for (const run of runs) {
    const { suite } = run.loaded.run;
    const group = groups.find((members) =>
      machine(members[0].loaded) === machine(run.loaded) &&
      members.every(({ loaded }) => loaded.run.suite !== suite)
    );
    if (group) group.push(run);
    else groups.push([run]);
  }
  return groups.map(merge);
}

function merge(members: readonly PageRun[]): RunGroup {
  const [{ loaded: first, rawBase }] = members;
  if (members.length === 1) {
    return { loaded: first, members: [...members], folderOf: () => rawBase, leftOut: [] };
  }
  const folders = new Map<string, string>();
  const leftOut: string[] = [];
  const cells: CellRecord[] = [];
  const run: LoadedRun["run"] = { ...first.run, phases: [], cells: [], decisions: [] };
  const missing: LoadedRun["missing"] = [];
  const unreadable: LoadedRun["unreadable"] = [];
  for (const { loaded, rawBase } of members) {
    const taken = new Set(run.phases.map(({ name }) => name));
    const known = new Set(run.cells.map(({ id }) => id));
    // A phase that two suites share is the same phase: the first run of it counts, or the same figures would
    // count twice.
    const isNew = ({ phase, id }: { phase: string; id: string }) => !taken.has(phase) && !known.has(id);
    const shared = loaded.run.phases.filter(({ name }) => taken.has(name)).map(({ name }) => name);
    leftOut.push(...shared.map((name) => `${name} of ${loaded.name}`));
    run.phases.push(...loaded.run.phases.filter(({ name }) => !taken.has(name)));
    run.cells.push(...loaded.run.cells.filter(isNew));
    const names = new Set(run.decisions.map(({ name }) => name));
    run.decisions.push(...loaded.run.decisions.filter(({ name }) => !names.has(name)));
    for (const cell of loaded.cells.filter(isNew)) {
      cells.push(cell);
      folders.set(cell.id, rawBase);
    }
    missing.push(...loaded.missing.filter(isNew));
    for (const gap of loaded.unreadable.filter(isNew)) {
      unreadable.push(gap);
      folders.set(gap.id, rawBase);
    }
    run.roofline ??= loaded.run.roofline;
    run.quick ||= loaded.run.quick;
    if (loaded.run.finishedAt === null) run.finishedAt = null;
  }
  run.title = members.map(({ loaded }) => loaded.run.title).join(" · ");
  run.suite = members.map(({ loaded }) => loaded.run.suite).join(", ");
  run.command = members.map(({ loaded }) => loaded.run.command).join(" && ");
  const name = members.map(({ loaded }) => loaded.name).join(", ");
  const loaded: LoadedRun = { dir: first.dir, name, run, cells, missing, unreadable };
  return { loaded, members: [...members], folderOf: (id) => folders.get(id) ?? rawBase, leftOut };
}
