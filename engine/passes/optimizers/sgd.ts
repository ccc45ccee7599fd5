import { sgd } from "../../../kernels/sgd.ts";
import type { Optimizer } from "./contract.ts";

/**
 * Stochastic gradient descent (as torch.optim.SGD): 4 bytes of state per
 * parameter with momentum, none without.
 */
export const sgdOptimizer: Optimizer = {
  append(builder, updates, clip, options) {
    const momentum = Number(options.momentum);
    const tensors = updates.flatMap(({ parameter: { master }, gradient }) => {
      if (momentum === 0) return [master, gradient];
      const type = { shape: master.shape, dtype: "f32" as const };
      return [
        master,
        gradient,
        builder.persistents.declare(`${master.name}.momentum_buffer`, type, "optimizer"),
      ];
    });
    const weightDecay = Number(options.weightDecay);
    builder.call(sgd, [clip, ...tensors], {
      momentum,
      weightDecay: updates.map(({ parameter }) => (parameter.spec.decay ? weightDecay : 0)),
    });
  },
  stepFields: ({ learningRate }) => ({ learningRate }),
};
