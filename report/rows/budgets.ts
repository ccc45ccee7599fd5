/**
 * What to switch on for a given memory: of the measured combinations that fit, and that no other one is shown
 * to be faster than, the simplest.
 */
import type { Analysis } from "./analysis.ts";
import { fasterAmong, switchedCount } from "./faster.ts";
import { batchFreeKey, combinationKey, type Configuration, workKey } from "./configuration.ts";
import { equalTokens, heldOutLosses } from "./held_out.ts";
import { ratioOf } from "../../results/measured.ts";
import { GIB } from "../../results/bytes.ts";
import { learnedBy, lossDifference, type LossOutcome } from "./loss_difference.ts";
import { lossMargin } from "../../results/margins.ts";
import type { Interval } from "../../results/stats.ts";

/** Memory of common devices, GiB. */
export const BUDGETS_GIB = [6, 8, 12, 16, 24, 48] as const;
/** Shares of the baseline's booked peak, for runs that fit anywhere. */
const SHARES = [1, 3 / 4, 1 / 2, 1 / 3, 1 / 4] as const;

export interface Candidate {
  configuration: Configuration;
  /** What a device must hold for it: see `needsOf`. */
  bytes: number;
  booked: number;
  throughputRatio: Interval | null;
  memoryRatio: number;
  /** At equal effective batch; null where there are no seeds to compare, or nothing plain at its batch. */
  loss: LossOutcome | null;
  isBaseline: boolean;
}

export interface BudgetRow {
  /** `12 GiB`, `1/3 of the baseline`. */
  bytes: number;
  gib: number | null;
  share: number | null;
  /** Null where nothing that was measured fits. */
  best: Candidate | null;
  /** How many combinations fit. */
  fitting: number;
}

export interface Budgets {
  baseline: Configuration;
  candidates: Candidate[];
  rows: BudgetRow[];
  /** Rows by shares of the baseline; empty where GiB tell the combinations apart. */
  scaled: BudgetRow[];
  /** What `bytes` are. */
  basis: "observed with context" | "booked";
}

/**
 * Every combination that trained all parameters at the baseline's setting, at any batch: of those that did
 * the same work in several phases the one with most cells. None where methods were not varied: a sweep
 * of the batch has charts of its own.
 */
export function combinations({ trained, baseline }: Analysis): Configuration[] {
  if (!baseline) return [];
  const setting = batchFreeKey(baseline);
  const byWork = new Map<string, Configuration>();
  for (const one of trained) {
    const [cell] = one.ok;
    if (batchFreeKey(one) !== setting || cell.trainableParameters !== cell.parameters) continue;
    const key = workKey(one);
    const known = byWork.get(key);
    if (!known || one === baseline || (known !== baseline && one.ok.length > known.ok.length)) {
      byWork.set(key, one);
    }
  }
  const all = [...byWork.values()];
  return new Set(all.map((one) => combinationKey(one))).size > 1 ? all : [];
}

/** Budgets against what was measured; null where methods were not varied. */
export function budgetsOf(analysis: Analysis): Budgets | null {
  const { baseline } = analysis;
  const all = combinations(analysis).filter(({ memory, tokensPerSecond }) =>
    memory?.bookedBytes != null && tokensPerSecond
  );
  const base = baseline?.memory?.bookedBytes;
  if (!baseline || !base || all.length < 2) return null;
  const isSoftware = analysis.loaded.run.environment.software;
  // A device must hold the driver's share too; a software adapter has no device, and its process holds the
  // whole runtime.
  const isObserved = !isSoftware && all.every(({ contextBytes }) => contextBytes);
  const losses = lossesOf(all, analysis);
  const isFaster = fasterAmong(all);
  const candidates = all.map((configuration): Candidate => {
    const booked = configuration.memory!.bookedBytes!;
    return {
      configuration,
      booked,
      bytes: isObserved ? configuration.contextBytes!.interval.estimate : booked,
      throughputRatio: ratioOf(configuration.tokensPerSecond, baseline.tokensPerSecond),
      memoryRatio: base / booked,
      isBaseline: configuration === baseline,
      loss: losses.get(configuration) ?? null,
    };
  });
  const isElsewhere = ({ configuration }: Candidate) =>
    configuration.effectiveBatchSize !== baseline.effectiveBatchSize;
  const row = (
    bytes: number,
    of: (candidate: Candidate) => number,
    gib: number | null,
    share: number | null,
  ) => {
    const fits = candidates.filter((candidate) => of(candidate) <= bytes);
    const worthy = fits.filter(({ loss }) => loss !== "worse");
    // Of all that no other one is shown to be faster than, the simplest; of these the one at the baseline's
    // batch, then the fastest estimate.
    const tied = worthy.filter((one) =>
      !worthy.some((other) => isFaster(other.configuration, one.configuration))
    );
    const best =
      tied.toSorted((a, b) =>
        switchedCount(a.configuration, baseline) - switchedCount(b.configuration, baseline) ||
        Number(isElsewhere(a)) - Number(isElsewhere(b)) ||
        (b.throughputRatio?.estimate ?? 0) - (a.throughputRatio?.estimate ?? 0)
      )[0] ?? null;
    return { bytes, gib, share, best, fitting: fits.length };
  };
  const rows = BUDGETS_GIB.map((gib) => row(gib * GIB, ({ bytes }) => bytes, gib, null));
  const isTold = rows.some(({ fitting }) => fitting < candidates.length);
  const scaled = isTold ? [] : SHARES.map((share) => row(base * share, ({ booked }) => booked, null, share));
  return { baseline, candidates, rows, scaled, basis: isObserved ? "observed with context" : "booked" };
}

/** Held-out losses against what switches nothing on at the same effective batch; of other batches none. */
function lossesOf(
  all: readonly Configuration[],
  { baseline, loaded }: Analysis,
): Map<Configuration, LossOutcome | null> {
  const outcomes = new Map<Configuration, LossOutcome | null>();
  for (const group of Object.values(Object.groupBy(all, ({ effectiveBatchSize }) => effectiveBatchSize))) {
    const reference = group!.find((one) => one === baseline) ??
      group!.find((one) => switchedCount(one, null) === 0);
    if (!reference) continue;
    const tokens = equalTokens(group!);
    const losses = heldOutLosses(group!, tokens);
    const learned = learnedBy(reference, tokens);
    group!.forEach((one, i) => {
      const margin = lossMargin(loaded.run.decisions, one.config);
      const difference = lossDifference(losses[group!.indexOf(reference)], losses[i], { margin, learned });
      const isKnown = difference !== null && difference.refusal === null;
      outcomes.set(one, one === reference ? "equal" : isKnown ? difference.outcome : null);
    });
  }
  return outcomes;
}
