/** Intervals of differences: losses can rise and fall, so their changes have no logarithm and no ratio. */
import { type Interval, mean, standardDeviation, studentQuantile } from "../results/stats.ts";

/** Mean of one value a seed with Student's interval; a single value stands alone. Throws for none. */
export function meanInterval(values: readonly number[], confidence = 0.95): Interval {
  if (values.length === 0) throw new RangeError("Cannot take the mean of no values: expected one or more");
  const estimate = mean([...values]);
  if (values.length < 2) return { estimate, low: estimate, high: estimate };
  const reach = studentQuantile((1 + confidence) / 2, values.length - 1) * standardDeviation(values) /
    Math.sqrt(values.length);
  return { estimate, low: estimate - reach, high: estimate + reach };
}

/** Geometric mean of independent ratios, with the interval that theirs add up to. */
export function geometricMean(ratios: readonly Interval[]): Interval | null {
  if (ratios.length === 0) return null;
  const n = ratios.length;
  const centre = ratios.reduce((sum, { estimate }) => sum + Math.log(estimate), 0) / n;
  const reach = (side: "low" | "high") =>
    Math.sqrt(ratios.reduce((sum, ratio) => sum + Math.log(ratio[side] / ratio.estimate) ** 2, 0)) / n;
  return {
    estimate: Math.exp(centre),
    low: Math.exp(centre - reach("low")),
    high: Math.exp(centre + reach("high")),
  };
}
