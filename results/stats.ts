import { mean, median, medianAbsoluteDeviation, quantile, sampleVariance } from "simple-statistics";

/**
 * Statistics of raw samples; what rests on Student's t is in student.ts, whose packages a measuring process
 * does without. Everything here is a pure function of its arguments: resampling is seeded, so the same
 * records give the same pages, byte for byte.
 */

export { mean, median };

/** A point estimate with the interval it lies in. */
export interface Interval {
  estimate: number;
  low: number;
  high: number;
  /**
   * Processes or seeds that it rests on, of the side with fewer. At 1 nothing is known of the noise: both
   * ends are the estimate, and no verdict rests on it. Absent from figures that have no noise.
   */
  n?: number;
  /**
   * How often the data may have been looked at before they were enough, where that is more than once: the
   * ends lie as far out as it takes to hold what the interval says.
   */
  looks?: number;
}

/** A figure without noise. */
export function exactly(value: number): Interval {
  return { estimate: value, low: value, high: value };
}

/** The interval of 1 / x. */
export function inverse({ estimate, low, high, ...rest }: Interval): Interval {
  return { estimate: 1 / estimate, low: 1 / high, high: 1 / low, ...rest };
}

/** Median absolute deviation from the median, unscaled. Throws for no samples. */
export function mad(samples: readonly number[]): number {
  return medianAbsoluteDeviation([...samples]);
}

/** Sample standard deviation (n − 1); 0 for a single sample. */
export function standardDeviation(samples: readonly number[]): number {
  return samples.length < 2 ? 0 : Math.sqrt(sampleVariance([...samples]));
}

export interface BootstrapOptions {
  /** Share of the resampled estimates inside the interval. */
  confidence?: number;
  resamples?: number;
  seed?: number;
}

/**
 * Percentile bootstrap interval of `median(numerator) / median(denominator)`. Both sides are resampled
 * independently: they come from different processes, so their samples are not paired.
 *
 * Source: Efron 1979, doi:10.1214/aos/1176344552.
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

/** Medians of samples drawn with replacement, by counts of sorted places: sorting each draw is slow. */
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

function requireSamples(samples: readonly number[]) {
  if (samples.length === 0) {
    throw new RangeError("Cannot take the median of no samples: expected one or more");
  }
}
