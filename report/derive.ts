/**
 * Rows from records: pure functions, no I/O, no clock. A *configuration* is what cells share when only the seed and the repeat
 * differ; every figure of the report belongs to one.
 */
import type { BytesByRole, CellRecord, Decision, RunConfig } from "../results/record.ts";
import { type Interval, median } from "../results/stats.ts";
import type { LoadedRun } from "./load.ts";
import { type CellSamples, type Measured, measureTogether, ratioOf } from "./measured.ts";

export { BOOTSTRAP, compare, differs, type Measured, ratioOf } from "./measured.ts";

/** Memory of a configuration, in bytes. */
export interface ConfigurationMemory {
  /** The cell it was read from. */
  id: string;
  plannedBytes: number;
  /** Null where no cell ran to its end. */
  bookedBytes: number | null;
  byRole: BytesByRole;
  timeline: { dispatch: number; bytes: BytesByRole }[];
  /** Median, smallest and largest over cells. */
  observed: Interval | null;
  observedByCell: { id: string; seed: number; values: number[] }[];
  observedHow: string;
}

export interface Configuration {
  key: string;
  phase: string;
  label: string;
  config: RunConfig;
  effectiveBatchSize: number;
  cells: CellRecord[];
  /** Cells that ran to their end. */
  ok: CellRecord[];
  /** Distinct seeds among `ok`. */
  seeds: number[];
  /** Trained tokens per second over timed steps. */
  tokensPerSecond: Measured | null;
  /** Milliseconds of timed steps. */
  stepMs: Measured | null;
  memory: ConfigurationMemory | null;
}

/** JSON with sorted keys: equal values, equal text. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value).sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0);
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonical(item)}`).join(",")}}`;
}

/** Identity of a configuration: phase and everything in `config` but the seed. */
export function configurationKey(cell: CellRecord): string {
  return `${cell.phase}\n${canonical({ ...cell.config, seed: null })}`;
}

/** Groups cells into configurations, in order of first appearance; those of a phase share what is known of their noise. */
export function configurationsOf(cells: readonly CellRecord[]): Configuration[] {
  const groups = new Map<string, CellRecord[]>();
  for (const cell of cells) {
    const key = configurationKey(cell);
    groups.set(key, [...groups.get(key) ?? [], cell]);
  }
  const configurations = [...groups].map(([key, group]) => configurationOf(key, group));
  for (const phase of new Set(configurations.map((configuration) => configuration.phase))) {
    addTimes(configurations.filter((configuration) => configuration.phase === phase));
  }
  return configurations;
}

function addTimes(configurations: readonly Configuration[]): void {
  const rates = measureTogether(configurations.map(({ ok }) => samplesOf(ok, timedTokensPerSecond)));
  const times = measureTogether(configurations.map(({ ok }) => samplesOf(ok, timedStepMs)));
  configurations.forEach((configuration, i) => {
    configuration.tokensPerSecond = rates[i];
    configuration.stepMs = times[i];
  });
}

function configurationOf(key: string, cells: CellRecord[]): Configuration {
  const { phase, label, config } = cells[0];
  const ok = cells.filter((cell) => cell.status === "ok");
  return {
    key,
    phase,
    label,
    config,
    effectiveBatchSize: config.microBatchSize * config.gradientAccumulationSteps,
    cells,
    ok,
    seeds: [...new Set(ok.map((cell) => cell.config.seed))],
    tokensPerSecond: null,
    stepMs: null,
    memory: memoryOf(cells, ok),
  };
}

/** Milliseconds of the steps after warm-up. */
export function timedStepMs(cell: CellRecord): number[] {
  return (cell.samples?.ms ?? []).slice(cell.warmupSteps).filter((ms) => ms > 0);
}

/** Tokens per second of the steps after warm-up. */
export function timedTokensPerSecond(cell: CellRecord): number[] {
  const rates: number[] = [];
  const { ms, tokens } = cell.samples ?? { ms: [], tokens: [] };
  for (let step = cell.warmupSteps; step < Math.min(ms.length, tokens.length); step++) {
    if (ms[step] > 0) rates.push(tokens[step] / ms[step] * 1000);
  }
  return rates;
}

function samplesOf(ok: readonly CellRecord[], values: (cell: CellRecord) => number[]): CellSamples[] {
  return ok.map((cell) => ({ id: cell.id, seed: cell.config.seed, values: values(cell) }));
}

function memoryOf(cells: readonly CellRecord[], ok: readonly CellRecord[]): ConfigurationMemory | null {
  const source = ok.find((cell) => cell.memory) ?? cells.find((cell) => cell.memory);
  const memory = source?.memory;
  if (!source || !memory) return null;
  const booked = ok.flatMap((cell) => cell.memory?.bookedPeakBytes ?? []);
  const observedByCell = ok.flatMap((cell) =>
    cell.memory?.observedPeakBytes == null
      ? []
      : [{ id: cell.id, seed: cell.config.seed, values: [cell.memory.observedPeakBytes] }]
  );
  const observed = observedByCell.flatMap(({ values }) => values);
  return {
    id: source.id,
    plannedBytes: memory.plannedPeakBytes,
    bookedBytes: booked.length > 0 ? Math.max(...booked) : null,
    byRole: memory.bookedByRole ?? memory.plannedByRole,
    timeline: memory.timeline,
    observed: observed.length > 0
      ? { low: Math.min(...observed), estimate: median(observed), high: Math.max(...observed) }
      : null,
    observedByCell,
    observedHow: memory.observedHow,
  };
}

/** Held-out loss of a cell after `tokens` trained tokens, between its two nearest points; null outside what it trained. */
export function heldOutAt(cell: CellRecord, tokens: number): number | null {
  const points = [...cell.heldOut].sort((a, b) => a.tokens - b.tokens);
  const after = points.findIndex((point) => point.tokens >= tokens);
  if (after < 0) return null;
  const right = points[after];
  if (right.tokens === tokens || after === 0) return right.tokens === tokens ? right.loss : null;
  const left = points[after - 1];
  return left.loss + (right.loss - left.loss) * (tokens - left.tokens) / (right.tokens - left.tokens);
}

/** The most tokens that every configuration with held-out points has trained; null where there are none. */
export function equalTokens(configurations: readonly Configuration[]): number | null {
  const trained = configurations.flatMap(({ ok }) => ok)
    .map((cell) => Math.max(...cell.heldOut.map((point) => point.tokens)))
    .filter((tokens) => tokens > 0);
  return trained.length > 0 ? Math.min(...trained) : null;
}

/** Held-out losses at `tokens` of configurations that share what is known of their noise; null where one has none. */
export function heldOutLosses(
  configurations: readonly Configuration[],
  tokens: number | null,
): (Measured | null)[] {
  return measureTogether(
    configurations.map((configuration) => tokens === null ? [] : lossesAt(configuration, tokens)),
  );
}

/** One value a seed: repeats of a seed compute the same numbers. */
function lossesAt({ ok }: Configuration, tokens: number): CellSamples[] {
  const bySeed = new Map<number, CellSamples>();
  for (const cell of ok) {
    const { seed } = cell.config;
    const loss = heldOutAt(cell, tokens);
    if (loss !== null && !bySeed.has(seed)) bySeed.set(seed, { id: cell.id, seed, values: [loss] });
  }
  return [...bySeed.values()];
}

/** Held-out loss of one configuration by itself: mean over seeds with its 95 % interval. */
export function heldOutLoss(configuration: Configuration, tokens: number | null): Measured | null {
  return heldOutLosses([configuration], tokens)[0];
}

/** The decision on the batch size and the configuration it chose, where the run has made one. */
export function batchDecision(
  run: LoadedRun,
  sweep: readonly Configuration[],
): { decision: Decision; chosen: Configuration | null } | null {
  const decision = run.run.decisions.find(({ name }) => /batch/i.test(name));
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
  const sweep = configurations
    .filter(({ phase }) => phase === "batch-size")
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

/** All that the page's sections draw from, worked out once. */
export interface Analysis {
  loaded: LoadedRun;
  configurations: Configuration[];
  sweep: Sweep | null;
  /** What ratios are taken to: the first rung of the ladder, else the chosen batch, else the first that ran. */
  baseline: Configuration | null;
  /** The chosen batch size, else the baseline. */
  highlighted: Configuration | null;
}

/** Derives everything from one run's records. */
export function analyse(loaded: LoadedRun): Analysis {
  const configurations = configurationsOf(loaded.cells);
  const sweep = sweepOf(loaded, configurations);
  const firstOk = (candidates: readonly Configuration[]) =>
    candidates.find(({ ok }) => ok.length > 0) ?? null;
  const baseline = firstOk(configurations.filter(({ phase }) => phase === "ladder")) ??
    sweep?.chosen?.configuration ?? firstOk(configurations);
  return { loaded, configurations, sweep, baseline, highlighted: sweep?.chosen?.configuration ?? baseline };
}
