/** Measurements in a row that must agree: two may by chance. */
export const STEADY_COUNT = 3;

/**
 * How far they may lie apart, as a part of the largest: clocks of GPUs wander by some hundredths under one
 * load.
 */
export const STEADY_SPREAD = 0.05;

/** Measurements at most: a device that others use does not become steady, and a probe is to take seconds. */
export const MOST_MEASUREMENTS = 12;

/** How a rate was found to be steady, or not. */
export interface Steadiness {
  /** Measurements that were made. */
  measurements: number;
  /** How far the last three lie apart, as a part of the largest of them; steady is 0.05 and less. */
  spread: number;
}

/**
 * Measures a rate until the last three measurements agree, or twelve were made.
 *
 * A device that has been idle runs at a low clock for a while, and one that others use at a part of its
 * speed: one measurement of copies gave 811 GB/s and one an hour later 5062, on one GPU.
 *
 * @returns The highest of all: what else a machine does can make a run slower, never faster.
 */
export async function steadyRate(
  measure: () => Promise<number>,
): Promise<{ rate: number; steadiness: Steadiness }> {
  const rates: number[] = [];
  for (;;) {
    rates.push(await measure());
    const last = rates.slice(-STEADY_COUNT);
    const highest = Math.max(...last);
    const spread = highest > 0 ? (highest - Math.min(...last)) / highest : 0;
    const steady = last.length === STEADY_COUNT && spread <= STEADY_SPREAD;
    if (steady || rates.length === MOST_MEASUREMENTS) {
      return { rate: Math.max(...rates), steadiness: { measurements: rates.length, spread } };
    }
  }
}
