import { mad, median } from "../results/stats.ts";

/** Steps in a row that must be alike for the warm-up to be over. */
const STEADY_STEPS = 3;
/** How far they may lie from the median of later steps, in median absolute deviations of those. */
const STEADY_DEVIATIONS = 3;

/**
 * How many steps at the start timing leaves out: those before the first three in a row that lie within three
 * median absolute deviations of the median of the steps that count in any case, those from `most` on. A
 * process is slow until kernels, caches and clocks are warm; how long that takes differs from machine to
 * machine, and a step left out that was warm is a measurement thrown away.
 *
 * Where fewer than three steps count in any case, nothing says what is steady, and `most` are left out.
 *
 * @param ms Wall time of every step.
 * @param most Steps that are left out at most.
 */
export function warmUpSteps(ms: readonly number[], most: number): number {
  const counted = ms.slice(most);
  if (counted.length < STEADY_STEPS) return most;
  const centre = median([...counted]);
  const allowed = STEADY_DEVIATIONS * mad(counted);
  const isSteady = (first: number) =>
    ms.slice(first, first + STEADY_STEPS).every((step) => Math.abs(step - centre) <= allowed);
  for (let first = 0; first < most; first++) if (isSteady(first)) return first;
  return most;
}
