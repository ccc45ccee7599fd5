/**
 * Whether two held-out losses are equal. The margin is the baseline's own: two standard deviations of its seeds. A method that
 * moves the loss by less than another seed does has kept the quality; a fixed share of the loss would be a matter of taste.
 */
import { equivalenceTest, standardDeviation } from "../../results/stats.ts";
import type { Measured } from "./derive.ts";
import { formatNumber } from "../words/format.ts";

/** Standard deviations of the baseline's seeds that a difference may have: about 95 % of its seeds lie within. */
export const MARGIN_DEVIATIONS = 2;
export const ALPHA = 0.05;
/** Share of the baseline's loss, or throughput, beyond which a margin is none: runs that scatter so widely show nothing equal. */
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
  detail: string;
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
  const difference = other.interval.estimate - baseline.interval.estimate;
  if (margin === null || other.values.length < 2) {
    const detail = "a single seed: no interval";
    return { difference, outcome: "unshown", low: null, high: null, margin, pValue: null, detail };
  }
  const paired = seedsOf(other) === seedsOf(baseline);
  if (margin === 0) return withoutSpread(baseline, other, paired);
  const share = margin / baseline.interval.estimate;
  const test = equivalenceTest(other.values, baseline.values, { margin, paired, alpha: ALPHA });
  const isWide = share > LARGEST_MARGIN;
  const outcome = test.equivalent && !isWide
    ? "equal"
    : test.low > 0
    ? "worse"
    : test.high < 0
    ? "better"
    : "unshown";
  const detail = `90 %: ${formatNumber(test.low, 4)} to ${formatNumber(test.high, 4)}; equal within ±${
    formatNumber(margin, 4)
  }, ${MARGIN_DEVIATIONS} standard deviations of the baseline's ${baseline.values.length} seeds${
    isWide ? `: ${formatNumber(share * 100)} % of its loss, too wide a margin to show equality` : ""
  }`;
  const { low, high, pValue } = test;
  return { difference: test.difference, outcome, low, high, margin, pValue, detail };
}

function seedsOf({ byCell }: Measured): string {
  return byCell.map(({ seed }) => seed).join();
}

/** Seeds that end in the very same loss leave no margin: only the very same losses are equal to them. */
function withoutSpread(baseline: Measured, other: Measured, paired: boolean): LossDifference {
  const difference = other.interval.estimate - baseline.interval.estimate;
  const same = paired && other.values.every((value, i) => value === baseline.values[i]);
  const outcome = same ? "equal" : "unshown";
  const detail = same ? "the same losses to the last bit" : "the baseline's seeds do not differ: no margin";
  return { difference, outcome, low: null, high: null, margin: 0, pValue: same ? 0 : null, detail };
}

/**
 * p-values corrected for how many there are, in the order given: where all below `ALPHA` are believed, the chance that any of
 * them misleads stays below it too. Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
 */
export function holm(pValues: readonly number[]): number[] {
  const order = pValues.map((_, i) => i).sort((a, b) => pValues[a] - pValues[b]);
  const corrected = new Array<number>(pValues.length);
  let largest = 0;
  order.forEach((index, rank) => {
    largest = Math.max(largest, Math.min(1, (pValues.length - rank) * pValues[index]));
    corrected[index] = largest;
  });
  return corrected;
}
