/** What rests on Student's t: equivalence of means, and the quantiles that intervals are built with. */
import { mean, sampleVariance } from "simple-statistics";
import studentCdf from "@stdlib/stats-base-dists-t-cdf";
import studentQuantile from "@stdlib/stats-base-dists-t-quantile";
import { standardDeviation } from "./stats.ts";

export { studentCdf, studentQuantile };

/** What two one-sided tests say of a difference of means. */
export interface Equivalence {
  /** Whether the difference lies inside ±margin at level `alpha`. */
  equivalent: boolean;
  /** mean(a) − mean(b), or the mean of the paired differences. */
  difference: number;
  /** Interval of the difference at 1 − 2·alpha: equivalence holds where it lies inside ±margin. */
  low: number;
  high: number;
  /** The larger of the two one-sided p-values. */
  pValue: number;
  margin: number;
  alpha: number;
  degreesOfFreedom: number;
}

/**
 * Two one-sided t-tests (TOST): shows that two means differ by less than a stated margin, which a test that
 * merely finds no difference does not.
 *
 * Samples are compared by Welch's test, or pair by pair (`paired`) where sample i of both sides shares its
 * seed. Source: Schuirmann 1987, doi:10.1007/BF01068419.
 *
 * @throws {RangeError} where a side has fewer than two samples, or the margin is not positive.
 */
export function equivalenceTest(
  a: readonly number[],
  b: readonly number[],
  { margin, alpha = 0.05, paired = false }: { margin: number; alpha?: number; paired?: boolean },
): Equivalence {
  if (a.length < 2 || b.length < 2) {
    throw new RangeError(
      `Cannot test ${a.length} against ${b.length} samples: expected two or more on both sides`,
    );
  }
  if (paired && a.length !== b.length) {
    throw new RangeError(`Cannot pair ${a.length} samples with ${b.length}: expected as many on both sides`);
  }
  if (!(margin > 0)) {
    throw new RangeError(`Cannot test for equivalence within ${margin}: expected a margin above 0`);
  }
  const { difference, standardError, degreesOfFreedom } = paired
    ? pairedDifference(a, b)
    : welchDifference(a, b);
  const upperTail = (distance: number) =>
    standardError > 0 ? studentCdf(-distance / standardError, degreesOfFreedom) : distance > 0 ? 0 : 1;
  const pValue = Math.max(upperTail(difference + margin), upperTail(margin - difference));
  const reach = standardError * studentQuantile(1 - alpha, degreesOfFreedom);
  return {
    equivalent: pValue < alpha,
    difference,
    low: difference - reach,
    high: difference + reach,
    pValue,
    margin,
    alpha,
    degreesOfFreedom,
  };
}

function pairedDifference(a: readonly number[], b: readonly number[]) {
  const differences = a.map((value, i) => value - b[i]);
  return {
    difference: mean(differences),
    standardError: standardDeviation(differences) / Math.sqrt(differences.length),
    degreesOfFreedom: differences.length - 1,
  };
}

function welchDifference(a: readonly number[], b: readonly number[]) {
  const [va, vb] = [a, b].map((side) => sampleVariance([...side]) / side.length);
  const variance = va + vb;
  return {
    difference: mean([...a]) - mean([...b]),
    standardError: Math.sqrt(variance),
    // Welch-Satterthwaite; without any variance the degrees do not matter.
    degreesOfFreedom: variance === 0
      ? a.length + b.length - 2
      : variance ** 2 / (va ** 2 / (a.length - 1) + vb ** 2 / (b.length - 1)),
  };
}
