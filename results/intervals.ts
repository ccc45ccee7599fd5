/**
 * Intervals of means by Student's t, over units that are independent of each other: processes, seeds. The
 * steps of one process are none: they share its clocks, its caches and its place in memory.
 */
import { exactly, type Interval, mean, standardDeviation } from "./stats.ts";
import { studentQuantile } from "./student.ts";

/** The confidence of intervals that are printed; verdicts ask for their own. */
export const CONFIDENCE = 0.95;

/** An estimate that rests on one process or seed: nothing is known of its noise, and it decides nothing. */
export function alone(value: number): Interval {
  return { ...exactly(value), n: 1 };
}

/** Whether an interval says nothing of the noise, as one process stands behind it. */
export function isAlone({ n }: Interval): boolean {
  return n === 1;
}

/** An estimate with what its interval and its tests are made of. */
export interface Estimate {
  estimate: number;
  standardError: number;
  degrees: number;
  /** Values behind it, of the part with fewest; one has neither error nor degrees. */
  n: number;
}

/** Student's interval of an estimate. */
export function intervalOf(
  { estimate, standardError, degrees, n }: Estimate,
  confidence = CONFIDENCE,
): Interval {
  if (n < 2) return alone(estimate);
  const reach = studentQuantile((1 + confidence) / 2, degrees) * standardError;
  return { estimate, low: estimate - reach, high: estimate + reach, n };
}

function meanOf(values: readonly number[]): Estimate {
  const n = values.length;
  const standardError = standardDeviation(values) / Math.sqrt(n);
  return { estimate: mean([...values]), standardError, degrees: n - 1, n };
}

/** Mean of one value a unit with Student's interval; a single value stands alone. Throws for none. */
export function meanInterval(values: readonly number[], confidence = CONFIDENCE): Interval {
  if (values.length === 0) throw new RangeError("Cannot take the mean of no values: expected one or more");
  return intervalOf(meanOf(values), confidence);
}

/** Independent values, each under the name of what it may be paired by: its seed and round. */
export type Paired = ReadonlyMap<string, number>;

/** A part of a sum of means. */
export interface Term {
  weight: number;
  values: Paired;
}

/**
 * A weighted sum of means.
 *
 * Where all sides share two names or more, the sum is worked out name by name over those and its mean taken:
 * what moved a whole round cancels, and a run that lacks seeds, as it was stopped early or cells failed, is
 * compared over the seeds that all sides have. Elsewhere variances add up, with the degrees of freedom of
 * Welch and Satterthwaite.
 */
export function sumOfMeans(terms: readonly Term[]): Estimate {
  const fewest = terms.reduce((a, b) => b.values.size < a.values.size ? b : a).values;
  const shared = [...fewest.keys()].filter((name) => terms.every(({ values }) => values.has(name)));
  if (shared.length > 1) {
    return meanOf(
      shared.map((name) => terms.reduce((sum, { weight, values }) => sum + weight * values.get(name)!, 0)),
    );
  }
  const parts = terms.map(({ weight, values }) => {
    const { estimate, standardError, degrees } = meanOf([...values.values()]);
    return { estimate: weight * estimate, variance: (weight * standardError) ** 2, degrees };
  });
  const sum = (of: (part: typeof parts[number]) => number) =>
    parts.reduce((total, part) => total + of(part), 0);
  const variance = sum((part) => part.variance);
  const n = fewest.size;
  // Without any variance the degrees do not matter.
  const isVaried = n > 1 && variance > 0;
  const degrees = isVaried ? variance ** 2 / sum((part) => part.variance ** 2 / part.degrees) : n - 1;
  return { estimate: sum((part) => part.estimate), standardError: Math.sqrt(variance), degrees, n };
}

/** The interval of e to the power of what was estimated on logarithms. */
export function exponential({ estimate, low, high, ...rest }: Interval): Interval {
  return { estimate: Math.exp(estimate), low: Math.exp(low), high: Math.exp(high), ...rest };
}
