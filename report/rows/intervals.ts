/** Intervals of differences: losses can rise and fall, so their changes have no logarithm and no ratio. */
import { exactly, type Interval, mean, standardDeviation } from "../../results/stats.ts";
import { studentQuantile } from "../../results/student.ts";

/** Mean of one value a seed with Student's interval; a single value stands alone. Throws for none. */
export function meanInterval(values: readonly number[], confidence = 0.95): Interval {
  if (values.length === 0) throw new RangeError("Cannot take the mean of no values: expected one or more");
  const estimate = mean([...values]);
  if (values.length < 2) return exactly(estimate);
  const reach = studentQuantile((1 + confidence) / 2, values.length - 1) * standardDeviation(values) /
    Math.sqrt(values.length);
  return { estimate, low: estimate - reach, high: estimate + reach };
}

/**
 * Geometric mean of independent ratios, with the interval that theirs add up to. Where one of them has no
 * interval (a single run on each side), the ratios' own scatter speaks too: Student's interval over them, if
 * it is wider.
 */
export function geometricMean(ratios: readonly Interval[]): Interval | null {
  if (ratios.length === 0) return null;
  const n = ratios.length;
  const logs = ratios.map(({ estimate }) => Math.log(estimate));
  const overRatios = meanInterval(logs);
  const isKnown = ratios.every(({ low, high }) => low < high);
  const scatter = isKnown ? 0 : overRatios.high - overRatios.estimate;
  const reach = (side: "low" | "high") =>
    Math.max(
      scatter,
      Math.sqrt(ratios.reduce((sum, ratio) => sum + Math.log(ratio[side] / ratio.estimate) ** 2, 0)) / n,
    );
  return {
    estimate: Math.exp(overRatios.estimate),
    low: Math.exp(overRatios.estimate - reach("low")),
    high: Math.exp(overRatios.estimate + reach("high")),
  };
}
