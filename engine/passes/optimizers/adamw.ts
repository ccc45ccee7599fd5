import { adamw } from "../../../kernels/adamw.ts";
import type { AppendOptimizer } from "../optimizer.ts";

/** AdamW in f32 (Loshchilov & Hutter 2019, as torch.optim.AdamW): 8 bytes of state per parameter. */
export const appendAdamw: AppendOptimizer = (builder, updates, clip, options) => {
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
  });
};
