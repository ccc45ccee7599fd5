/**
 * Whether two held-out losses are equal. The margin is the baseline's own: two standard deviations of its
 * seeds. A method that moves the loss by less than another seed does has kept the quality; a fixed share of
 * the loss would be a matter of taste.
 */
import { equivalenceTest } from "../../results/student.ts";
import { standardDeviation } from "../../results/stats.ts";
import type { Measured } from "./measured.ts";

/** Standard deviations of its seeds that the margin is wide: about 95 % of them lie within. */
export const MARGIN_DEVIATIONS = 2;
export const ALPHA = 0.05;
/**
 * Share of the baseline's loss, or throughput, beyond which a margin is none: runs that scatter so widely
 * show nothing equal.
 */
export const LARGEST_MARGIN = 0.1;

export type LossOutcome = "equal" | "worse" | "better" | "unshown";

export interface LossDifference {
  /** Other minus baseline, in nats per token. */
  difference: number;
  outcome: LossOutcome;
  /** Interval at 90 %, to which the two one-sided tests at 5 % correspond; null for a single seed. */
  low: number | null;
  high: number | null;
  /** The largest difference that counts as equal; null where the baseline has a single seed. */
  margin: number | null;
  /** Of the two one-sided tests, after correction where there was one; null where none could be made. */
  pValue: number | null;
  seeds: readonly [baseline: number, other: number];
  /** The margin as a share of the baseline's loss; null where there is none. */
  marginShare: number | null;
}

/** How far two losses may lie apart and count as equal; null where the baseline's seeds do not tell. */
export function equivalenceMargin(baseline: Measured): number | null {
  if (baseline.values.length < 2) return null;
  return MARGIN_DEVIATIONS * standardDeviation(baseline.values);
}

/** Two one-sided tests on the seeds' losses, paired where both sides ran the same seeds. */
export function lossDifference(baseline: Measured | null, other: Measured | null): LossDifference | null {
  if (!baseline || !other) return null;
  const margin = equivalenceMargin(baseline);
  const untested: LossDifference = {
    difference: other.interval.estimate - baseline.interval.estimate,
    outcome: "unshown",
    low: null,
    high: null,
    margin,
    pValue: null,
    seeds: [baseline.values.length, other.values.length],
    marginShare: margin && margin / baseline.interval.estimate,
  };
  if (margin === null || other.values.length < 2) return untested;
  const paired = seedsOf(other) === seedsOf(baseline);
  if (margin === 0) {
    // Seeds that end in the very same loss leave no margin: only the very same losses are equal to them.
    const isSame = paired && other.values.every((value, i) => value === baseline.values[i]);
    return isSame ? { ...untested, outcome: "equal", pValue: 0 } : untested;
  }
  const { difference, low, high, pValue, equivalent } = equivalenceTest(other.values, baseline.values, {
    margin,
    paired,
    alpha: ALPHA,
  });
  const isEqual = equivalent && untested.marginShare! <= LARGEST_MARGIN;
  const outcome = isEqual ? "equal" : low > 0 ? "worse" : high < 0 ? "better" : "unshown";
  return { ...untested, difference, outcome, low, high, pValue };
}

function seedsOf({ byCell }: Measured): string {
  return byCell.map(({ seed }) => seed).join();
}
