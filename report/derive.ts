/**
 * Rows from records: pure functions, no I/O, no clock. A *configuration* is what cells share when only the seed and the repeat
 * differ; every figure of the report belongs to one.
 */
import type { BytesByRole, CellKind, CellRecord, Decision, PhaseKind, RunConfig } from "../results/record.ts";
import { partOf, RUN_SETTINGS, type SettingTable } from "../results/settings.ts";
import { type Interval, median } from "../results/stats.ts";
import { effectiveBatchSize } from "../results/tokens_per_step.ts";
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
  /** `planned`: the planner alone looked at it, nothing ran. */
  kind: CellKind;
  phase: string;
  label: string;
  config: RunConfig;
  /** Phase and label of the configuration whose weights it starts from; null where it starts from the model itself. */
  start: string | null;
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
  /** Observed peak with what the driver or the process holds before training, one value a cell. */
  contextBytes: Measured | null;
  memory: ConfigurationMemory | null;
}

/** JSON with sorted keys: equal values, equal text. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value).sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0);
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonical(item)}`).join(",")}}`;
}

/** How the cell that another starts from is called: chains of different seeds are one configuration. */
type StartName = (id: string) => string;

/** Identity of a configuration: phase, kind and everything in `config` but the seed. */
export function configurationKey(cell: CellRecord, startName: StartName = (id) => id): string {
  const { startFrom } = cell.config;
  const start = startFrom === null ? null : startName(startFrom);
  return `${cell.phase}\n${cell.kind}\n${canonical({ ...cell.config, seed: null, startFrom: start })}`;
}

/** Names a cell by phase and label; an id that is not there stands for itself. */
function startNames(cells: readonly CellRecord[]): StartName {
  const names = new Map(cells.map(({ id, phase, label }) => [id, `${phase} / ${label}`]));
  return (id) => names.get(id) ?? id;
}

/** Groups cells into configurations, in order of first appearance; those of a phase share what is known of their noise. */
export function configurationsOf(cells: readonly CellRecord[]): Configuration[] {
  const groups = new Map<string, CellRecord[]>();
  const startName = startNames(cells);
  for (const cell of cells) {
    const key = configurationKey(cell, startName);
    groups.set(key, [...groups.get(key) ?? [], cell]);
  }
  const configurations = [...groups].map(([key, group]) => configurationOf(key, group, startName));
  for (const phase of new Set(configurations.map((configuration) => configuration.phase))) {
    addTimes(configurations.filter((configuration) => configuration.phase === phase));
  }
  return configurations;
}

function addTimes(configurations: readonly Configuration[]): void {
  const rates = measureTogether(configurations.map(({ ok }) => samplesOf(ok, timedTokensPerSecond)));
  const times = measureTogether(configurations.map(({ ok }) => samplesOf(ok, timedStepMs)));
  const contexts = measureTogether(configurations.map(({ ok }) => samplesOf(ok, observedWithContext)));
  configurations.forEach((configuration, i) => {
    configuration.tokensPerSecond = rates[i];
    configuration.stepMs = times[i];
    configuration.contextBytes = contexts[i];
  });
}

function configurationOf(key: string, cells: CellRecord[], startName: StartName): Configuration {
  const { kind, phase, label, config } = cells[0];
  const ok = cells.filter((cell) => cell.status === "ok");
  return {
    key,
    kind,
    phase,
    label,
    config,
    start: config.startFrom === null ? null : startName(config.startFrom),
    effectiveBatchSize: effectiveBatchSize(config),
    cells,
    ok,
    seeds: [...new Set(ok.map((cell) => cell.config.seed))],
    tokensPerSecond: null,
    stepMs: null,
    contextBytes: null,
    memory: memoryOf(cells, ok),
  };
}

/** Milliseconds of the steps after warm-up. */
export function timedStepMs(cell: CellRecord): number[] {
  return (cell.samples?.ms ?? []).slice(cell.warmupSteps).filter((ms) => ms > 0);
}

/** The observed peak with the baseline that was subtracted from it; nothing where either was not seen. */
function observedWithContext({ memory }: CellRecord): number[] {
  const [peak, baseline] = [memory?.observedPeakBytes ?? null, memory?.observedBaselineBytes ?? null];
  return peak === null || baseline === null ? [] : [peak + baseline];
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
  const phase = run.run.phases.find(({ kind }) => kind === "batch-sweep")?.name ?? "batch-size";
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

/** All that the page's sections draw from, worked out once. */
export interface Analysis {
  loaded: LoadedRun;
  /** What was trained, or should have been. */
  configurations: Configuration[];
  /** What the planner alone looked at. */
  planned: Configuration[];
  sweep: Sweep | null;
  /** What ratios are taken to: the first rung of the ladder, else the chosen batch, else the first that ran. */
  baseline: Configuration | null;
  /** The chosen batch size, else the baseline. */
  highlighted: Configuration | null;
}

/** Derives everything from one run's records. */
export function analyse(loaded: LoadedRun): Analysis {
  const all = configurationsOf(loaded.cells);
  const configurations = all.filter(({ kind }) => kind === "trained");
  const planned = all.filter(({ kind }) => kind === "planned");
  const sweep = sweepOf(loaded, configurations);
  const firstOk = (candidates: readonly Configuration[]) =>
    candidates.find(({ ok }) => ok.length > 0) ?? null;
  const baseline = firstOk(configurations.filter(({ phase }) => phase === "ladder")) ??
    sweep?.chosen?.configuration ?? firstOk(configurations);
  const highlighted = sweep?.chosen?.configuration ?? baseline;
  return { loaded, configurations, planned, sweep, baseline, highlighted };
}

/** What a phase is for; a phase that `run.json` does not list is a matrix. */
export function phaseKind({ loaded: { run } }: Analysis, phase: string): PhaseKind {
  return run.phases.find(({ name }) => name === phase)?.kind ?? "matrix";
}

/** Configurations of a phase, in the order of the run. */
export function inPhase(configurations: readonly Configuration[], phase: string): Configuration[] {
  return configurations.filter((configuration) => configuration.phase === phase);
}

/** Everything that must be equal before two configurations may be compared: all but the methods, the optimizer and its rate. */
export function settingKey(
  { config, start, effectiveBatchSize }: Configuration,
  table: SettingTable = RUN_SETTINGS,
): string {
  const apart = partOf(config, ({ compare }) => compare === "apart", table);
  return canonical({ ...apart, startFrom: start, effectiveBatchSize });
}

/** What a configuration switches on, in one text: methods, optimizer and whether it accumulates. */
export function combinationKey({ config }: Configuration, table: SettingTable = RUN_SETTINGS): string {
  const switched = partOf(config, ({ compare }) => compare === "switched", table);
  const accumulates = config.gradientAccumulationSteps > 1;
  return canonical({ ...switched, methods: [...config.methods].sort(), accumulates });
}
