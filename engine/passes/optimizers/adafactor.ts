import { adafactor } from "../../../kernels/adafactor.ts";
import type { Optimizer, OptimizerOptions, UpdateTime } from "./contract.ts";

/**
 * Adafactor (Shazeer & Stern 2018, as transformers.optimization.Adafactor): 4 · (rows + columns) bytes of
 * state for a matrix, 4 bytes a parameter for a vector, and 4 more a parameter with `beta1`.
 *
 * Reads `eps1`, `eps2`, `clipThreshold`, `beta1` (a number or null), `scaleParameter` and `weightDecay`;
 * `decayRate`, `relativeStep` and `warmupInit` go into the step block, see `adafactorSchedule`.
 */
export const adafactorOptimizer: Optimizer = {
  append(builder, updates, clip, options) {
    const beta1 = typeof options.beta1 === "number" ? options.beta1 : null;
    const tensors = updates.flatMap(({ parameter: { master }, gradient }) => {
      const state = (suffix: string, shape = master.shape) =>
        builder.persistents.declare(`${master.name}.${suffix}`, { shape, dtype: "f32" }, "optimizer");
      const second = master.shape.length > 1
        ? [
          state("exp_avg_sq_row", master.shape.slice(0, -1)),
          state("exp_avg_sq_col", master.shape.slice(1)),
        ]
        : [state("exp_avg_sq")];
      return [master, gradient, ...second, ...(beta1 === null ? [] : [state("exp_avg")])];
    });
    const weightDecay = Number(options.weightDecay ?? 0);
    builder.call(adafactor, [clip, ...tensors], {
      eps1: Number(options.eps1),
      eps2: Number(options.eps2),
      clipThreshold: Number(options.clipThreshold),
      beta1,
      scaleParameter: options.scaleParameter === true,
      weightDecay: updates.map(({ parameter }) => (parameter.spec.decay ? weightDecay : 0)),
    });
  },
  stepFields: adafactorSchedule,
};

/**
 * β2 = 1 − t^decayRate, and the step ρ: the learning rate, or with `relativeStep` min(1e-2, 1/√t), or with
 * `warmupInit` beside it min(1e-6·t, 1/√t).
 */
function adafactorSchedule(
  { t, learningRate }: UpdateTime,
  { decayRate, relativeStep, warmupInit }: OptimizerOptions,
): { adafactorBeta2: number; adafactorStep: number } {
  const step = relativeStep === true
    ? Math.min(warmupInit === true ? 1e-6 * t : 1e-2, 1 / Math.sqrt(t))
    : learningRate;
  return { adafactorBeta2: 1 - t ** Number(decayRate), adafactorStep: step };
}
