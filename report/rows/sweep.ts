/** The batch-size sweep and what was chosen from it. */
import type { Decision } from "../../results/record.ts";
import type { LoadedRun } from "../../results/load.ts";
import type { Interval } from "../../results/stats.ts";
import type { Configuration } from "./configuration.ts";
import { equalTokens, heldOutLosses } from "./held_out.ts";
import { type Measured, ratioOf } from "../../results/measured.ts";

/** The decision on the batch size and the configuration it chose, where the run has made one. */
export function batchDecision(
  run: LoadedRun,
  sweep: readonly Configuration[],
): { decision: Decision; chosen: Configuration | null } | null {
  const decision = run.run.decisions.find(({ name }) => name === "effectiveBatchSize");
  if (!decision) return null;
  const chosen = sweep.find(({ label }) => label === decision.chosen) ??
    sweep.find(({ effectiveBatchSize }) => effectiveBatchSize === Number(decision.value)) ?? null;
  return { decision, chosen };
}

/** One batch size of the sweep. */
export interface SweepRow {
  configuration: Configuration;
  batch: number;
  tokensPerSecond: Measured | null;
  /** Throughput against the smallest batch that ran. */
  speedup: Interval | null;
  heldOut: Measured | null;
  chosen: boolean;
}

export interface Sweep {
  rows: SweepRow[];
  /** Tokens at which held-out losses are compared. */
  tokens: number | null;
  decision: Decision | null;
  chosen: SweepRow | null;
}

/** The batch-size phase, by rising effective batch; null where the run has none. */
export function sweepOf(run: LoadedRun, configurations: readonly Configuration[]): Sweep | null {
  const phase = run.run.phases.find(({ kind }) => kind === "batch-sweep")?.name;
  const sweep = configurations
    .filter((configuration) => configuration.phase === phase)
    .sort((a, b) => a.effectiveBatchSize - b.effectiveBatchSize);
  if (sweep.length === 0) return null;
  const tokens = equalTokens(sweep);
  const smallest = sweep.find(({ tokensPerSecond }) => tokensPerSecond !== null)?.tokensPerSecond ?? null;
  const made = batchDecision(run, sweep);
  const losses = heldOutLosses(sweep, tokens);
  const rows = sweep.map((configuration, i): SweepRow => ({
    configuration,
    batch: configuration.effectiveBatchSize,
    tokensPerSecond: configuration.tokensPerSecond,
    speedup: ratioOf(configuration.tokensPerSecond, smallest),
    heldOut: losses[i],
    chosen: made?.chosen === configuration,
  }));
  return {
    rows,
    tokens,
    decision: made?.decision ?? null,
    chosen: rows.find(({ chosen }) => chosen) ?? null,
  };
}

/** The row with the largest (or smallest) estimate, and the next one. */
export function extremes<Row>(
  rows: readonly Row[],
  of: (row: Row) => number | null,
  direction: "largest" | "smallest",
): { best: Row; second: Row | null } | null {
  const sign = direction === "largest" ? -1 : 1;
  const sorted = rows.filter((row) => of(row) !== null).sort((a, b) => sign * (of(a)! - of(b)!));
  return sorted.length === 0 ? null : { best: sorted[0], second: sorted[1] ?? null };
}
