/**
 * Equal memory: what trains fastest within a part of the baseline's memory, at the same effective batch.
 * The planner says which combinations fit each budget and in which micro-batch; the few of them that are
 * expected to be fastest run once, and the fastest of those is the budget's finalist. It is judged against
 * the baseline in processes and with seeds of their own: docs/decisions/0023 says why.
 */
import { InputError } from "../engine/input_error.ts";
import { bytesText } from "../results/bytes.ts";
import { timedTokensPerSecond } from "../results/rates.ts";
import type { CellRecord, Decision, RunConfig } from "../results/record.ts";
import { median } from "../results/stats.ts";
import { effectiveBatchSize } from "../results/tokens_per_step.ts";
import type { TrainingPlan, TrainOptions } from "./engine.ts";
import { expectedTime, measuredFactors, type TimeFactors } from "./expected_time.ts";
import { largestMicroBatch } from "./fit.ts";
import {
  type Cell,
  cellId,
  cellOf,
  type Configuration,
  configurations,
  type Known,
  resolve,
} from "./matrix.ts";
import { mergeSettings } from "./merge_settings.ts";
import { checkImplemented, type Implemented } from "./methods.ts";
import { adaptiveRounds } from "./round_counts.ts";
import type { TieredPhase, TieredSuite } from "./suite.ts";
import type { Settings } from "../results/settings.ts";

/** Steps that cells without a held-out loss run beyond those that timing leaves out. */
const TIMED_STEPS = 3;
const DEFAULT_RATIOS: readonly number[] = [1, 2, 3, 4];
const DEFAULT_CANDIDATES = 3;

/** A combination within a budget, in the largest micro-batch that fits. */
export interface Candidate {
  /** As its cells are called. */
  label: string;
  settings: Settings;
  config: RunConfig;
  plannedPeakBytes: number;
  /** Times as long as the baseline: see expected_time.ts. */
  expectedTime: number;
}

/** A part of the baseline's memory. */
export interface Budget {
  /** Times less than the baseline's planned peak. */
  ratio: number;
  bytes: number;
  /** All that fit, those first that are expected to be fastest. */
  candidates: Candidate[];
}

/** Cells of the phases before that time methods alone: expected times rest on them. */
export function timedBefore(
  phase: TieredPhase,
  { phases }: Pick<TieredSuite, "phases">,
  cells: readonly Cell[],
): Cell[] {
  const before = phases.slice(0, phases.findIndex(({ name }) => name === phase.name));
  const timing = before.filter(({ shows }) => shows === "single-methods").map(({ name }) => name);
  return cells.filter((cell) => timing.includes(cell.phase) && cell.kind === "trained");
}

/** What the planner found. */
export interface MemorySearch {
  baseline: { settings: Settings; config: RunConfig; plannedPeakBytes: number };
  budgets: Budget[];
  /** Ids of the cells that the expected times come from. */
  timedBy: string[];
  /** Combinations looked at, and plans made for them. */
  combinations: number;
  plans: number;
}

/** What a search asks for. */
export interface SearchContext {
  known: Known;
  engine: Implemented;
  plan(config: RunConfig): Promise<TrainingPlan | Error>;
  /** Bytes of the device that cells may plan for, or null. */
  deviceBytes: number | null;
  /** Records of phases that timed methods alone. */
  timed: readonly CellRecord[];
  onPlan?(done: number, total: number): void;
  signal?: AbortSignal;
}

/** Times less memory than the baseline, of each budget of a phase. */
export function memoryRatios({ memoryRatios = [...DEFAULT_RATIOS] }: Pick<TieredPhase, "memoryRatios">) {
  return memoryRatios;
}

/** Combinations that run of each budget of a phase. */
export function candidateCount({ candidates = DEFAULT_CANDIDATES }: Pick<TieredPhase, "candidates">): number {
  return candidates;
}

/** The seed of the search, which is none of those that are judged. */
export function searchSeed({ defaults }: Pick<TieredPhase, "defaults">): number {
  return defaults.seed ?? 0;
}

/**
 * Plans all combinations of a phase for all its budgets.
 *
 * @throws {InputError} where the baseline cannot be planned.
 * @throws {DOMException} where it was aborted.
 */
export async function searchMemory(phase: TieredPhase, context: SearchContext): Promise<MemorySearch> {
  const { known, engine, plan, deviceBytes, timed, onPlan, signal } = context;
  const seed = searchSeed(phase);
  const space = configurations(phase).filter(({ settings }) => isImplemented(settings, engine));
  const settings = phase.defaults;
  const config = resolve(settings, seed, known);
  const planned = await plan(config);
  if (planned instanceof Error) throw planned;
  const { factors, inputs } = measuredFactors(config, timed);
  const ratios = memoryRatios(phase);
  const bytesOf = (ratio: number) =>
    Math.min(Math.floor(planned.plannedPeakBytes / ratio), deviceBytes ?? Infinity);
  const budgets = ratios.map((ratio): Budget => ({ ratio, bytes: bytesOf(ratio), candidates: [] }));
  let plans = 0;
  const counting = async (config: RunConfig) => {
    plans++;
    await new Promise((resolve) => setTimeout(resolve)); // signals and displays get their turn
    signal?.throwIfAborted();
    return await plan(config);
  };
  for (const [done, configuration] of space.entries()) {
    onPlan?.(done, space.length);
    const splits = await largestSplits(
      resolve(configuration.settings, seed, known),
      budgets.map(({ bytes }) => bytes),
      counting,
    );
    splits.forEach((split, i) => {
      if (split) budgets[i].candidates.push(candidateOf(configuration, split, { seed, known, factors }));
    });
  }
  onPlan?.(space.length, space.length);
  for (const budget of budgets) budget.candidates.sort(byExpectedTime);
  return {
    baseline: { settings, config, plannedPeakBytes: planned.plannedPeakBytes },
    budgets,
    timedBy: inputs,
    combinations: space.length,
    plans,
  };
}

function isImplemented({ methods = [], optimizer = "adamw" }: Settings, engine: Implemented): boolean {
  try {
    checkImplemented(methods, optimizer, engine);
    return true;
  } catch (error) {
    if (error instanceof InputError) return false;
    throw error;
  }
}

/** A micro-batch with the peak of the step that it makes. */
export interface Split {
  microBatchSize: number;
  plannedPeakBytes: number;
}

/**
 * For each budget the largest micro-batch that divides the batch and fits; null where none does.
 *
 * Among steps that accumulate, memory grows with the micro-batch, so that few of them need a plan. The whole
 * batch stands apart: without accumulation gradients are transient, and it can need less than its half. Where
 * plans say otherwise all micro-batches are planned.
 *
 * @param config Of the whole batch.
 */
export async function largestSplits(
  config: RunConfig,
  budgets: readonly number[],
  plan: (config: RunConfig) => Promise<TrainingPlan | Error>,
): Promise<(Split | null)[]> {
  const batch = effectiveBatchSize(config);
  const peaks = new Map<number, Promise<number>>();
  /** Infinite where the combination cannot be split so. */
  const peakOf = (microBatchSize: number) => {
    const peak = peaks.get(microBatchSize) ??
      plan({ ...config, microBatchSize, gradientAccumulationSteps: batch / microBatchSize }).then((plan) => {
        if (!(plan instanceof Error)) return plan.plannedPeakBytes;
        if (plan instanceof InputError) return Infinity;
        throw plan;
      });
    peaks.set(microBatchSize, peak);
    return peak;
  };
  const split = async (microBatchSize: number) => ({
    microBatchSize,
    plannedPeakBytes: await peakOf(microBatchSize),
  });
  const parts = divisors(batch).slice(0, -1);
  const found: (Split | null)[] = [];
  for (const bytes of budgets) {
    if (await peakOf(batch) <= bytes) {
      found.push(await split(batch));
      continue;
    }
    // Below `low` all fit, from `high` on none does.
    let [low, high] = [0, parts.length];
    while (low < high) {
      // The smallest first: where it does not fit, nothing does.
      const middle = low === 0 && high === parts.length ? 0 : Math.floor((low + high) / 2);
      if (await peakOf(parts[middle]) <= bytes) low = middle + 1;
      else high = middle;
    }
    found.push(low === 0 ? null : await split(parts[low - 1]));
  }
  const known = await Promise.all(
    [...peaks.keys()].filter((size) => size < batch).sort((a, b) => a - b).map(peakOf),
  );
  if (known.every((peak, i) => i === 0 || peak >= known[i - 1])) return found;
  const all = await Promise.all([...parts, batch].map(split));
  return budgets.map((bytes) => all.findLast(({ plannedPeakBytes }) => plannedPeakBytes <= bytes) ?? null);
}

/** Of a whole number, rising. */
export function divisors(of: number): number[] {
  return Array.from({ length: of }, (_, i) => i + 1).filter((one) => of % one === 0);
}

function candidateOf(
  { label, settings }: Configuration,
  { microBatchSize, plannedPeakBytes }: Split,
  { seed, known, factors }: { seed: number; known: Known; factors: TimeFactors },
): Candidate {
  const split = mergeSettings(settings, { microBatchSize });
  const config = resolve(split, seed, known);
  return {
    label: `${label}, ${microBatchSize} × ${config.gradientAccumulationSteps}`,
    settings: split,
    config,
    plannedPeakBytes,
    expectedTime: expectedTime(config, factors),
  };
}

/** The fastest first; of equals that which switches on less, then the larger micro-batch, then by name. */
function byExpectedTime(a: Candidate, b: Candidate): number {
  const simplicity = ({ config: { methods, optimizer } }: Candidate) =>
    methods.length + (optimizer === "adamw" ? 0 : 1);
  return a.expectedTime - b.expectedTime || simplicity(a) - simplicity(b) ||
    b.config.microBatchSize - a.config.microBatchSize || (a.label < b.label ? -1 : 1);
}

/** The rule by which a finalist is found, in words. */
function ruleText(phase: TieredPhase): string {
  return `Of all combinations that fit the budget at the baseline's effective batch, each in the largest micro-batch that ` +
    `does, the ${
      candidateCount(phase)
    } with the shortest expected step run in one process each; the one with the ` +
    "highest median tokens per second is judged, in processes and with seeds of its own. A step's expected time is " +
    "the product of what each method takes alone: as this run has measured it, else as published. Of equals the one that " +
    "switches on less, then the one with the larger micro-batch.";
}

/** Settings of cells whose loss nobody asks for. */
function timedOnly(phase: TieredPhase): Settings {
  return { steps: phase.timing.warmupSteps + TIMED_STEPS, warmupSteps: 0, heldOutWindows: 1 };
}

/** The cells of the search: the first candidates of each budget, once. */
export function searchCells(phase: TieredPhase, { budgets }: MemorySearch, known: Known): Cell[] {
  const cells = budgets.flatMap(({ candidates }) =>
    candidates.slice(0, candidateCount(phase)).map((candidate) => searchCell(phase, candidate, known))
  );
  return unique(cells);
}

function searchCell(phase: TieredPhase, { label, settings }: Candidate, known: Known): Cell {
  const config = resolve(mergeSettings(settings, timedOnly(phase)), searchSeed(phase), known);
  return cellOf(phase, { label, prunedBecause: null, repeat: 0, config, role: "search" });
}

/**
 * Takes the fastest of the candidates of a budget that ran.
 *
 * @param records All of the run, by id.
 * @returns Null while cells of its search have no record that stands.
 */
export function decideFinalist(
  phase: TieredPhase,
  search: MemorySearch,
  budget: Budget,
  { known, recordOf }: { known: Known; recordOf(id: string): CellRecord | null },
): { decision: Decision; finalist: Candidate | null } | null {
  const { ratio, bytes, candidates } = budget;
  const tried = candidates.slice(0, candidateCount(phase)).map((candidate) => {
    const { id } = searchCell(phase, candidate, known);
    const record = recordOf(id);
    const rates = record?.status === "ok" ? timedTokensPerSecond(record) : [];
    return { candidate, id, record, tokensPerSecond: rates.length > 0 ? median(rates) : null };
  });
  if (tried.some(({ record }) => record === null)) return null;
  const ran = tried.filter(({ tokensPerSecond }) => tokensPerSecond !== null);
  const best = ran.length === 0
    ? null
    : ran.reduce((a, b) => b.tokensPerSecond! > a.tokensPerSecond! ? b : a); // of equals the first
  const rates = new Map(tried.map(({ candidate, tokensPerSecond }) => [candidate, tokensPerSecond]));
  const fit = `${candidates.length} of ${search.combinations} combinations fit ${bytesText(bytes)}`;
  const out = tried.filter(({ tokensPerSecond }) => tokensPerSecond === null).map(({ candidate, record }) =>
    `${candidate.label} ended as ${record!.status}`
  );
  return {
    finalist: best?.candidate ?? null,
    decision: {
      name: `equalMemory/${ratio}`,
      rule: ruleText(phase),
      inputs: [...search.timedBy, ...tried.map(({ id }) => id)],
      figures: Object.fromEntries([
        ["budget", {
          memoryRatio: ratio,
          budgetBytes: bytes,
          plannedPeakBytes: search.baseline.plannedPeakBytes,
          effectiveBatchSize: effectiveBatchSize(search.baseline.config),
        }],
        ...candidates.map((candidate) => [candidate.label, {
          plannedPeakBytes: candidate.plannedPeakBytes,
          microBatchSize: candidate.config.microBatchSize,
          expectedTime: candidate.expectedTime,
          tokensPerSecond: rates.get(candidate) ?? null,
        }]),
      ]),
      chosen: best?.candidate.label ?? "none",
      value: best?.id ?? "none",
      reason: [
        candidates.length === 0
          ? `nothing fits: none of ${search.combinations} combinations trains within ${bytesText(bytes)}`
          : best === null
          ? `${fit}, but none that ran ended well`
          : `${fit}; ${best.candidate.label} is the fastest of the ${tried.length} that ran, at ` +
            `${best.tokensPerSecond!.toFixed(0)} tokens/s in one process`,
        ...out,
      ].join("; "),
    },
  };
}

/** A budget's finalist and, where the whole batch fits, the batch that the budget has room for. */
export interface Finalist {
  ratio: number;
  candidate: Candidate;
  /** Null where the batch cannot grow. */
  grownTo: number | null;
}

/** How far the batch of a finalist can grow within its budget: not where it is split already. */
export async function grow(
  { ratio, bytes }: Budget,
  candidate: Candidate,
  plan: SearchContext["plan"],
): Promise<Finalist> {
  const { config } = candidate;
  const planTraining = async (options: TrainOptions) => {
    const planned = await plan(options as RunConfig);
    if (planned instanceof Error) throw planned;
    return planned;
  };
  const size = config.gradientAccumulationSteps > 1
    ? config.microBatchSize
    : await largestMicroBatch(config, bytes, { planTraining }, config.microBatchSize);
  return { ratio, candidate, grownTo: size > config.microBatchSize ? size : null };
}

/**
 * Baseline and finalists, seed by seed and repeat by repeat, each once a round; then, for throughput alone,
 * the finalists whose batch grows.
 */
export function judgedCells(
  phase: TieredPhase,
  { baseline }: Pick<MemorySearch, "baseline">,
  finalists: readonly Finalist[],
  known: Known,
): Cell[] {
  const judged = [
    { label: "baseline", settings: baseline.settings },
    ...finalists.map(({ candidate: { label, settings } }) => ({ label, settings })),
  ].map((one) => ({ ...one, role: "judged" as const }));
  const grown = finalists.flatMap(({ candidate, ratio, grownTo: size }) => {
    if (size === null) return [];
    const changes: Settings = {
      ...timedOnly(phase),
      effectiveBatchSize: size,
      microBatchSize: size,
      learningRateRule: "constant",
    };
    return [{
      label: `${candidate.label.replace(/, [^,]*$/, "")}, ${size} × 1 within 1/${ratio}`,
      settings: mergeSettings(candidate.settings, changes),
      role: "grown" as const,
    }];
  });
  const cells: Cell[] = [];
  for (let repeat = 0; repeat < phase.repeats; repeat++) {
    for (const seed of phase.seeds ?? []) {
      for (const { label, settings, role } of [...judged, ...grown]) {
        const config = resolve(settings, seed, known);
        cells.push(cellOf(phase, { label, prunedBecause: null, repeat, config, role }));
      }
    }
  }
  return unique(cells);
}

/** The first of those that share an id: the same combination can be found for several budgets. */
function unique(cells: readonly Cell[]): Cell[] {
  return [...Map.groupBy(cells, ({ id }) => id).values()].map(([first]) => first);
}

/** Finds a phase's finalists from the cells of its search. */
export async function findFinalists(
  phase: TieredPhase,
  search: MemorySearch,
  context: { known: Known; recordOf(id: string): CellRecord | null; plan: SearchContext["plan"] },
): Promise<{ decisions: Decision[]; finalists: Finalist[] } | null> {
  const decisions: Decision[] = [];
  const finalists: Finalist[] = [];
  for (const budget of search.budgets) {
    const decided = decideFinalist(phase, search, budget, context);
    if (decided === null) return null;
    decisions.push(decided.decision);
    if (decided.finalist) finalists.push(await grow(budget, decided.finalist, context.plan));
  }
  return { decisions, finalists };
}

/** As many cells as a search can come to; all are the baseline's, whose time is of the right order. */
export function searchStandIns(phase: TieredPhase, known: Known): Cell[] {
  const config = resolve(mergeSettings(phase.defaults, timedOnly(phase)), searchSeed(phase), known);
  return memoryRatios(phase).flatMap((ratio) =>
    Array.from(
      { length: candidateCount(phase) },
      (_, i) => standIn(phase, { label: `candidate ${i + 1} within 1/${ratio}`, config, role: "search" }),
    )
  );
}

/** As many cells as can be judged; of an adaptive phase with the rounds that it can add. */
export function judgedStandIns(phase: TieredPhase, known: Known): Cell[] {
  const short = mergeSettings(phase.defaults, timedOnly(phase));
  const names = memoryRatios(phase).map((ratio) => `within 1/${ratio}`);
  const list = [
    ...["baseline", ...names.map((name) => `finalist ${name}`)]
      .map((label) => ({ label, settings: phase.defaults, role: "judged" as const })),
    ...names.map((name) => ({ label: `grown ${name}`, settings: short, role: "grown" as const })),
  ];
  const more = phase.rounds === "adaptive" ? adaptiveRounds(phase.seeds).more : 0;
  return Array.from(
    { length: phase.repeats + more },
    (_, repeat) =>
      (phase.seeds ?? []).flatMap((seed) =>
        list.filter(({ role }) => role === "judged" || repeat < phase.repeats).map((one) =>
          standIn(phase, {
            label: one.label,
            role: one.role,
            repeat,
            config: resolve(one.settings, seed, known),
          })
        )
      ),
  ).flat();
}

/** A cell that is not known yet, with an id of its own. */
function standIn(
  phase: TieredPhase,
  { repeat = 0, ...rest }: Pick<Cell, "label" | "config" | "role"> & { repeat?: number },
): Cell {
  const id = cellId(`${phase.name}\n${rest.label}`, repeat, rest.config);
  return { ...cellOf(phase, { prunedBecause: null, repeat, ...rest }), id };
}
