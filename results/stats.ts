import { mean, median, medianAbsoluteDeviation, quantile, sampleVariance } from "simple-statistics";

/**
 * Statistics of raw samples. Everything here is a pure function of its arguments: resampling is seeded, so the same
 * records give the same pages, byte for byte.
 */

export { mean, median };

/** A point estimate with the interval it lies in. */
export interface Interval {
  estimate: number;
  low: number;
  high: number;
}

/** Median absolute deviation from the median, unscaled. Throws for no samples. */
export function mad(samples: readonly number[]): number {
  return medianAbsoluteDeviation([...samples]);
}

/** Sample standard deviation (n − 1); 0 for a single sample. */
export function standardDeviation(samples: readonly number[]): number {
  return samples.length < 2 ? 0 : Math.sqrt(sampleVariance([...samples]));
}

/** The value below which a share of the samples lies. @param percent From 0 to 100. */
export function percentile(samples: readonly number[], percent: number): number {
  if (!(percent >= 0 && percent <= 100)) {
    throw new RangeError(`Cannot take percentile ${percent}: expected 0 to 100`);
  }
  return quantile([...samples], percent / 100);
}

export interface BootstrapOptions {
  /** Share of the resampled estimates inside the interval. */
  confidence?: number;
  resamples?: number;
  seed?: number;
}

/**
 * Percentile bootstrap interval of a median.
 *
 * Source: Efron 1979, doi:10.1214/aos/1176344552.
 */
export function bootstrapMedian(samples: readonly number[], options: BootstrapOptions = {}): Interval {
  requireSamples(samples);
  return bootstrap(median([...samples]), (random) => resampledMedian(samples, random), options);
}

/**
 * Percentile bootstrap interval of `median(numerator) / median(denominator)`. Both sides are resampled independently:
 * they come from different processes, so their samples are not paired.
 */
export function bootstrapRatioOfMedians(
  numerator: readonly number[],
  denominator: readonly number[],
  options: BootstrapOptions = {},
): Interval {
  requireSamples(numerator);
  requireSamples(denominator);
  const estimate = median([...numerator]) / median([...denominator]);
  const statistic = (random: () => number) => {
    const [above, below] = [resampledMedian(numerator, random), resampledMedian(denominator, random)];
    return () => above() / below();
  };
  return bootstrap(estimate, statistic, options);
}

/** @param statistic Given random numbers, what draws the samples once more and estimates from them. */
function bootstrap(
  estimate: number,
  statistic: (random: () => number) => () => number,
  options: BootstrapOptions,
): Interval {
  const { confidence = 0.95, resamples = 2000, seed = 1 } = options;
  const next = statistic(seededRandom(seed));
  const estimates = Array.from({ length: resamples }, next);
  const tail = (1 - confidence) / 2;
  return { estimate, low: quantile(estimates, tail), high: quantile(estimates, 1 - tail) };
}

/** Medians of as many samples drawn with replacement: counts of sorted places, as sorting every draw took most of a report. */
function resampledMedian(samples: readonly number[], random: () => number): () => number {
  const count = samples.length;
  const order = [...samples.keys()].sort((i, j) => samples[i] - samples[j]);
  const sorted = order.map((i) => samples[i]);
  const places = new Uint32Array(count);
  order.forEach((i, place) => places[i] = place);
  const drawn = new Uint32Array(count);
  return () => {
    drawn.fill(0);
    for (let i = 0; i < count; i++) drawn[places[Math.floor(random() * count)]]++;
    let [place, seen] = [-1, 0];
    /** The value of this rank among those drawn; ranks are asked for in ascending order. */
    const at = (rank: number) => {
      while (seen <= rank) seen += drawn[++place];
      return sorted[place];
    };
    const lower = at((count - 1) >> 1);
    return (lower + at(count >> 1)) / 2;
  };
}

/** Uniform numbers in [0, 1). Source: mulberry32, Tommy Ettinger, public domain. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

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
 * Two one-sided t-tests (TOST): shows that two means differ by less than a stated margin, which a test that merely
 * finds no difference does not.
 *
 * Samples are compared by Welch's test, or pair by pair (`paired`) where sample i of both sides shares its seed.
 * Source: Schuirmann 1987, doi:10.1007/BF01068419.
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
    standardError > 0 ? 1 - studentCdf(distance / standardError, degreesOfFreedom) : distance > 0 ? 0 : 1;
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

/** Distribution function of Student's t. */
export function studentCdf(t: number, degreesOfFreedom: number): number {
  if (!Number.isFinite(t)) return t > 0 ? 1 : 0;
  const tail = incompleteBeta(degreesOfFreedom / (degreesOfFreedom + t * t), degreesOfFreedom / 2, 0.5) / 2;
  return t > 0 ? 1 - tail : tail;
}

/** Inverse of `studentCdf`, by bisection to the last bit that matters here. @param p Between 0 and 1, exclusive. */
export function studentQuantile(p: number, degreesOfFreedom: number): number {
  let [low, high] = [-1, 1];
  while (studentCdf(low, degreesOfFreedom) > p) low *= 2;
  while (studentCdf(high, degreesOfFreedom) < p) high *= 2;
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2;
    if (studentCdf(middle, degreesOfFreedom) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/**
 * Regularised incomplete beta function I_x(a, b), from its continued fraction (DLMF 8.17.22), evaluated by Lentz's
 * method; converges quickly for x < (a + 1) / (a + b + 2), and the symmetry I_x(a, b) = 1 − I_{1−x}(b, a) gives the rest.
 */
function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const logBeta = logGamma(a) + logGamma(b) - logGamma(a + b);
  const front = Math.exp(a * Math.log(x) + b * Math.log1p(-x) - logBeta) / a;
  const coefficient = (k: number) => {
    const m = k >> 1;
    return k % 2 === 0
      ? (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m))
      : (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
  };
  let [fraction, c, d] = [1, 1, 0];
  for (let k = 1; k < 1000; k++) {
    c = 1 + coefficient(k) / c;
    d = 1 / (1 + coefficient(k) * d);
    fraction *= c * d;
    if (Math.abs(c * d - 1) < 1e-15) break;
  }
  return front / fraction;
}

/** log Γ(x) for x > 0: Stirling's series (DLMF 5.11.1) after shifting x above 10 by the recurrence; error below 1e-13. */
function logGamma(x: number): number {
  let shift = 0;
  for (; x < 10; x++) shift -= Math.log(x);
  const inverse = 1 / (x * x);
  const series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse / 1680))) / x;
  return shift + (x - 0.5) * Math.log(x) - x + Math.log(2 * Math.PI) / 2 + series;
}

function requireSamples(samples: readonly number[]) {
  if (samples.length === 0) {
    throw new RangeError("Cannot take the median of no samples: expected one or more");
  }
}
