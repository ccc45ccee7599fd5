/**
 * Rows from records: pure functions, no I/O, no clock. A *configuration* is what cells share when only the
 * seed and the repeat differ; every figure of the report belongs to one.
 */
import type {
  BytesByRole,
  CellKind,
  CellRecord,
  CellRole,
  PhaseKind,
  PhaseShows,
  RunConfig,
  RunRecord,
} from "../../results/record.ts";
import { canonicalJson } from "../../results/canonical_json.ts";
import { configurationKey, type StartName } from "../../results/configuration_key.ts";
import { ranAlone, timedStepMs, timedTokensPerSecond } from "../../results/rates.ts";
import { partOf, RUN_SETTINGS, type SettingTable } from "../../results/settings.ts";
import { type Interval, median } from "../../results/stats.ts";
import { effectiveBatchSize } from "../../results/tokens_per_step.ts";
import { type CellSamples, measure, type Measured, samplesOf } from "../../results/measured.ts";

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
  observedByCell: CellSamples[];
  observedHow: string;
}

export interface Configuration {
  key: string;
  /** `planned`: the planner alone looked at it, nothing ran. */
  kind: CellKind;
  phase: string;
  /** What its phase is for; a phase that `run.json` does not list is a matrix. */
  phaseKind: PhaseKind;
  /** What its phase shows; null where nothing says so. */
  shows: PhaseShows | null;
  /** What it is for in an equal-memory phase; null elsewhere. */
  role: CellRole | null;
  label: string;
  config: RunConfig;
  /** Phase and label of the configuration whose weights it starts from; null: the model itself. */
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

/** Names a cell by phase and label; an id that is not there stands for itself. */
function startNames(cells: readonly CellRecord[]): StartName {
  const names = new Map(cells.map(({ id, phase, label }) => [id, `${phase} / ${label}`]));
  return (id) => names.get(id) ?? id;
}

/** Configurations in order of first appearance. */
export function configurationsOf(
  cells: readonly CellRecord[],
  phases: RunRecord["phases"] = [],
): Configuration[] {
  const groups = new Map<string, CellRecord[]>();
  const startName = startNames(cells);
  for (const cell of cells) {
    const key = `${cell.phase}\n${cell.kind}\n${configurationKey(cell, startName)}`;
    groups.set(key, [...groups.get(key) ?? [], cell]);
  }
  return [...groups].map(([key, group]) => {
    const phase = phases.find(({ name }) => name === group[0].phase);
    return configurationOf(key, group, {
      startName,
      phaseKind: phase?.kind ?? "matrix",
      shows: phase?.shows ?? null,
      looks: phase?.rounds === "adaptive" ? 2 : 1,
    });
  });
}

function configurationOf(
  key: string,
  cells: CellRecord[],
  { startName, phaseKind, shows, looks }:
    & { startName: StartName; looks: number }
    & Pick<Configuration, "phaseKind" | "shows">,
): Configuration {
  const { kind, phase, label, config, role = null } = cells[0];
  const ok = cells.filter((cell) => cell.status === "ok");
  return {
    key,
    kind,
    phase,
    phaseKind,
    shows,
    role,
    label,
    config,
    start: config.startFrom === null ? null : startName(config.startFrom),
    effectiveBatchSize: effectiveBatchSize(config),
    cells,
    ok,
    seeds: [...new Set(ok.map((cell) => cell.config.seed))],
    tokensPerSecond: measure(samplesOf(ok, timedTokensPerSecond), "factor", looks),
    stepMs: measure(samplesOf(ok, timedStepMs), "factor", looks),
    contextBytes: measure(samplesOf(ok, observedWithContext)),
    memory: memoryOf(cells, ok),
  };
}

/** The observed peak; nothing where it was not seen, or other cells ran beside this one. */
function observedBytes(cell: CellRecord): number[] {
  const peak = cell.memory?.observedPeakBytes ?? null;
  return peak === null || !ranAlone(cell) ? [] : [peak];
}

/** The observed peak with the baseline that was subtracted from it; nothing where either was not seen. */
function observedWithContext(cell: CellRecord): number[] {
  const baseline = cell.memory?.observedBaselineBytes ?? null;
  return baseline === null ? [] : observedBytes(cell).map((peak) => peak + baseline);
}

function memoryOf(cells: readonly CellRecord[], ok: readonly CellRecord[]): ConfigurationMemory | null {
  const source = ok.find((cell) => cell.memory) ?? cells.find((cell) => cell.memory);
  const memory = source?.memory;
  if (!source || !memory) return null;
  const booked = ok.flatMap((cell) => cell.memory?.bookedPeakBytes ?? []);
  const observedByCell = samplesOf(ok, observedBytes).filter(({ values }) => values.length > 0);
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

/** All that must be equal before two are compared: all but methods, optimizer and its rate. */
export function settingKey(configuration: Configuration, table: SettingTable = RUN_SETTINGS): string {
  return `${batchFreeKey(configuration, table)}\n${configuration.effectiveBatchSize}`;
}

/** All that must be equal before throughputs are compared, which count tokens whatever the batch. */
export function batchFreeKey({ config, start }: Configuration, table: SettingTable = RUN_SETTINGS): string {
  return canonicalJson({ ...partOf(config, ({ compare }) => compare === "apart", table), startFrom: start });
}

/** What a device computes: a setting, what is switched on in it, and how its batch is split. */
export function workKey(configuration: Configuration): string {
  const { microBatchSize, gradientAccumulationSteps } = configuration.config;
  return [
    batchFreeKey(configuration),
    combinationKey(configuration),
    `${microBatchSize} × ${gradientAccumulationSteps}`,
  ].join("\n");
}

/** What a configuration switches on, in one text: methods, optimizer and whether it accumulates. */
export function combinationKey({ config }: Configuration, table: SettingTable = RUN_SETTINGS): string {
  const switched = partOf(config, ({ compare }) => compare === "switched", table);
  const accumulates = config.gradientAccumulationSteps > 1;
  return canonicalJson({ ...switched, methods: [...config.methods].sort(), accumulates });
}
