/** All that is worked out from the records of a run before anything is judged or drawn. */
import type { LoadedRun } from "../../results/load.ts";
import { type Configuration, configurationsOf } from "./configuration.ts";
import { type Sweep, sweepOf } from "./sweep.ts";

/** All that the page's sections draw from, worked out once. */
export interface Analysis {
  loaded: LoadedRun;
  /** What was trained, or should have been. */
  configurations: Configuration[];
  /**
   * Ran to the end at least once, in a phase whose figures stand for the configuration: a rate sweep trains
   * at rates that were not chosen, a phase that shows overflows at a scale that no one would choose, the
   * times of a search for equal memory picked the finalist and are not used again, and learners are below.
   */
  trained: Configuration[];
  /** Ran in a phase whose losses alone are judged: of a model that learns in the time there is. */
  learners: Configuration[];
  /** What the planner alone looked at. */
  planned: Configuration[];
  sweep: Sweep | null;
  /** What ratios are taken to: the ladder's first rung, else the chosen batch, else the first that ran. */
  baseline: Configuration | null;
  /** The chosen batch size, else the baseline. */
  highlighted: Configuration | null;
}

/** Derives everything from one run's records. */
export function analyse(loaded: LoadedRun): Analysis {
  const all = configurationsOf(loaded.cells, loaded.run.phases);
  const configurations = all.filter(({ kind }) => kind === "trained");
  const [trained, learners] = [false, true].map((learns) =>
    configurations.filter(({ ok, phaseKind, shows, role }) =>
      ok.length > 0 && phaseKind !== "rate-sweep" && shows !== "overflow-recovery" && role !== "search" &&
      (shows === "quality") === learns
    )
  );
  const planned = all.filter(({ kind }) => kind === "planned");
  const sweep = sweepOf(loaded, configurations);
  const firstOk = (candidates: readonly Configuration[]) =>
    candidates.find(({ ok }) => ok.length > 0) ?? null;
  const baseline = firstOk(configurations.filter(({ shows }) => shows === "method-ladder")) ??
    sweep?.chosen?.configuration ?? firstOk(configurations.filter(({ role }) => role !== "search"));
  const highlighted = sweep?.chosen?.configuration ?? baseline;
  return { loaded, configurations, trained, learners, planned, sweep, baseline, highlighted };
}
