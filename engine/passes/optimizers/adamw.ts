import { adamw } from "../../../kernels/adamw.ts";
import type { GraphBuilder } from "../../graph/builder.ts";
import type { Value } from "../../graph/types.ts";
import type { Optimizer, OptimizerOptions, Update } from "./contract.ts";

/** AdamW in f32 (Loshchilov & Hutter 2019, as torch.optim.AdamW): 8 bytes of state per parameter. */
export const adamwOptimizer: Optimizer = {
  append(builder, updates, clip, options) {
    const factors = new Set(updates.map(({ parameter }) => parameter.spec.rateFactor ?? 1));
    for (const rateFactor of factors) {
      const group = updates.filter(({ parameter }) => (parameter.spec.rateFactor ?? 1) === rateFactor);
      appendGroup(builder, group, clip, options, rateFactor);
    }
  },
  stepFields: ({ t, learningRate }, { beta1, beta2 }) => ({
    learningRate,
    biasCorrection1: 1 - Number(beta1) ** t,
    sqrtBiasCorrection2: Math.sqrt(1 - Number(beta2) ** t),
  }),
  hasRateFactors: true,
};

function appendGroup(
  builder: GraphBuilder,
  updates: readonly Update[],
  clip: Value,
  options: OptimizerOptions,
  rateFactor: number,
): void {
  const tensors = updates.flatMap(({ parameter: { master }, gradient }) => {
    const state = (suffix: string) =>
      builder.persistents.declare(
        `${master.name}.${suffix}`,
        { shape: master.shape, dtype: "f32" },
        "optimizer",
      );
    return [master, gradient, state("exp_avg"), state("exp_avg_sq")];
  });
  const weightDecay = Number(options.weightDecay);
  builder.call(adamw, [clip, ...tensors], {
    beta1: Number(options.beta1),
    beta2: Number(options.beta2),
    eps: Number(options.eps),
    weightDecay: updates.map(({ parameter }) => (parameter.spec.decay ? weightDecay : 0)),
    ...rateFactor !== 1 && { rateFactor },
  });
}
