/** Fine-tuning from saved weights: what is learned of the new domain and forgotten of the old one. */
import { canonicalJson } from "../../results/canonical_json.ts";
import type { CellRecord, HeldOutPoint } from "../../results/record.ts";
import { partOf } from "../../results/settings.ts";
import type { Configuration } from "./configuration.ts";
import type { Analysis } from "./analysis.ts";
import { meanInterval } from "../../results/intervals.ts";
import type { Interval } from "../../results/stats.ts";

/** One value a seed: a held-out loss, or how it changed. */
export interface PerSeed {
  byCell: { id: string; seed: number; value: number }[];
  /** Mean over seeds with Student's 95 % interval. */
  interval: Interval;
}

/** Loss on one text before the first step, after the last one, and the change. */
export interface DomainLoss {
  data: string;
  before: PerSeed;
  after: PerSeed;
  change: PerSeed;
}

export interface FineTuning {
  configuration: Configuration;
  /** `full`, or the adapter method. */
  kind: string;
  own: DomainLoss;
  /** The text that came before, first of those evaluated beside the own one. */
  original: DomainLoss;
  trainableShare: number | null;
  adapterBytes: number | null;
}

const ADAPTERS = ["lora", "qlora-nf4", "qlora-int8"];

/** The adapter method a configuration trains, or `full`. */
export function tuningKind({ config }: Configuration): string {
  return config.methods.find((method) => ADAPTERS.includes(method)) ?? "full";
}

/** What starts from saved weights and was evaluated on another text too: full fine-tuning first. */
export function fineTunings({ trained, loaded }: Analysis, confidence?: number): FineTuning[] {
  const found = trained.filter(({ config }) => config.startFrom !== null).flatMap((one): FineTuning[] => {
    const own = domainLoss(one, one.config.data, loaded.cells, confidence);
    const [name] = one.config.alsoEvaluate;
    const original = name === undefined ? null : domainLoss(one, name, loaded.cells, confidence);
    if (!own || !original) return [];
    const [{ parameters, trainableParameters }] = one.ok;
    const trainableShare = parameters && trainableParameters !== null
      ? trainableParameters / parameters
      : null;
    const adapterBytes = one.ok.find((cell) => cell.adapterBytes !== null)?.adapterBytes ?? null;
    return [{ configuration: one, kind: tuningKind(one), own, original, trainableShare, adapterBytes }];
  });
  // A specialization is a fine-tuning too; those that are compared share phase and starting weights with
  // adapters. Adapters on other weights have forgotten other things before they began.
  const phases = new Set(
    found.filter(({ kind }) => kind !== "full").map(({ configuration }) => configuration.phase),
  );
  const full = found.find(({ kind, configuration }) => kind === "full" && phases.has(configuration.phase));
  const rank = ({ kind }: FineTuning) => ADAPTERS.indexOf(kind);
  return found.filter(({ configuration }) =>
    phases.has(configuration.phase) && (!full || full.configuration.start === configuration.start)
  ).toSorted((a, b) => rank(a) - rank(b));
}

/** Held-out points of a cell on a text, its own or one evaluated beside it, by rising step. */
function pointsOn({ config, heldOut, heldOutElsewhere }: CellRecord, data: string): HeldOutPoint[] {
  const points = config.data === data
    ? heldOut
    : heldOutElsewhere.find((one) => one.data === data)?.points ?? [];
  return [...points].sort((a, b) => a.step - b.step);
}

/**
 * Held-out loss on a text before the first step and after the last one. Where a cell was not evaluated before
 * its first step, the last evaluation of the cell whose weights it starts from is the same figure. Null where
 * the text was not evaluated.
 */
export function lossesOn(
  cell: CellRecord,
  data: string,
  cells: readonly CellRecord[],
): { before: number | null; after: number } | null {
  const points = pointsOn(cell, data);
  const after = points.at(-1);
  if (!after || after.step === 0) return null;
  if (points[0].step === 0) return { before: points[0].loss, after: after.loss };
  const parent = cells.find(({ id }) => id === cell.config.startFrom);
  const isAlike = parent && evaluationKey(parent) === evaluationKey(cell);
  return { before: isAlike ? pointsOn(parent, data).at(-1)?.loss ?? null : null, after: after.loss };
}

/** The settings on which a held-out loss hangs beside the weights. */
function evaluationKey({ config }: CellRecord): string {
  return canonicalJson(partOf(config, ({ heldOut }) => heldOut === true));
}

function domainLoss(
  { ok }: Configuration,
  data: string,
  cells: readonly CellRecord[],
  confidence?: number,
): DomainLoss | null {
  const bySeed = new Map<number, { id: string; seed: number; before: number; after: number }>();
  for (const cell of ok) {
    const losses = lossesOn(cell, data, cells);
    const { seed } = cell.config;
    // Without a figure from before the first step there is no telling what training changed.
    if (!losses || losses.before === null || bySeed.has(seed)) continue;
    bySeed.set(seed, { id: cell.id, seed, before: losses.before, after: losses.after });
  }
  if (bySeed.size === 0) return null;
  const perSeed = (value: (one: { before: number; after: number }) => number): PerSeed => {
    const byCell = [...bySeed.values()].map((one) => ({ id: one.id, seed: one.seed, value: value(one) }));
    return { byCell, interval: meanInterval(byCell.map((cell) => cell.value), confidence) };
  };
  return {
    data,
    before: perSeed(({ before }) => before),
    after: perSeed(({ after }) => after),
    change: perSeed(({ before, after }) => after - before),
  };
}

/** How well a configuration tells labels apart on held-out examples, after its last step. */
export interface TaskScores {
  configuration: Configuration;
  accuracy: PerSeed;
  macroF1: PerSeed;
  loss: PerSeed;
  /** Share of the most frequent label among the same examples. */
  majorityShare: number;
}

/** Fine-tunings of saved weights to a task with labels: full first. */
export function taskScores({ trained }: Analysis): TaskScores[] {
  const found = trained.filter(({ config }) => config.startFrom !== null).flatMap(
    (configuration): TaskScores[] => {
      const bySeed = new Map<number, { id: string; seed: number; point: ScoredPoint }>();
      for (const { id, config: { seed }, heldOut } of configuration.ok) {
        const point = heldOut.toSorted((a, b) => a.step - b.step).at(-1);
        // A seed counts once, however often it was repeated.
        if (point && isScored(point) && !bySeed.has(seed)) bySeed.set(seed, { id, seed, point });
      }
      const cells = [...bySeed.values()];
      if (cells.length === 0) return [];
      const perSeed = (value: (point: ScoredPoint) => number): PerSeed => {
        const byCell = cells.map(({ id, seed, point }) => ({ id, seed, value: value(point) }));
        return { byCell, interval: meanInterval(byCell.map((cell) => cell.value)) };
      };
      return [{
        configuration,
        accuracy: perSeed(({ accuracy }) => accuracy),
        macroF1: perSeed(({ macroF1 }) => macroF1),
        loss: perSeed(({ loss }) => loss),
        majorityShare: cells[0].point.majorityShare,
      }];
    },
  );
  const rank = ({ configuration }: TaskScores) => ADAPTERS.indexOf(tuningKind(configuration));
  return found.toSorted((a, b) => rank(a) - rank(b));
}

type ScoredPoint = HeldOutPoint & { accuracy: number; macroF1: number; majorityShare: number };

function isScored(point: HeldOutPoint): point is ScoredPoint {
  const { accuracy, macroF1, majorityShare } = point;
  return accuracy !== undefined && macroF1 !== undefined && majorityShare !== undefined;
}

/** `a − b` seed by seed where both ran the same ones; null where they did not, or ran one alone. */
export function seedwise(a: PerSeed, b: PerSeed, confidence?: number): Interval | null {
  const other = new Map(b.byCell.map(({ seed, value }) => [seed, value]));
  const differences = a.byCell.filter(({ seed }) => other.has(seed)).map(({ seed, value }) =>
    value - other.get(seed)!
  );
  return differences.length < 2 ? null : meanInterval(differences, confidence);
}

/** The cells that a cell's weights came through, the oldest first, itself last. */
export function chainOf(cell: CellRecord, cells: readonly CellRecord[]): CellRecord[] {
  const chain = [cell];
  for (let next = cell.config.startFrom; next !== null;) {
    const parent = cells.find(({ id }) => id === next);
    if (!parent || chain.includes(parent)) break;
    chain.unshift(parent);
    next = parent.config.startFrom;
  }
  return chain;
}
