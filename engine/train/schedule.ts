/** Share of the learning rate that a cosine schedule ends at (Brown et al. 2020, arXiv:2005.14165, appendix B). */
const COSINE_FLOOR = 0.1;

/**
 * Learning rate of update `step` (from 0): linear warm-up over `warmupSteps`, the first at 1/warmupSteps of the rate,
 * then constant, or a half cosine down to a tenth of the rate at the last of `steps`.
 */
export function learningRateAt(
  step: number,
  { learningRate, schedule, warmupSteps, steps }: {
    learningRate: number;
    schedule: "constant" | "cosine";
    warmupSteps: number;
    steps: number;
  },
): number {
  if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
  if (schedule === "constant") return learningRate;
  const progress = Math.min((step - warmupSteps) / Math.max(steps - warmupSteps, 1), 1);
  return learningRate * (COSINE_FLOOR + (1 - COSINE_FLOOR) * 0.5 * (1 + Math.cos(Math.PI * progress)));
}
