import { elementCount } from "../../graph/types.ts";
import { adamw } from "../../../kernels/adamw.ts";
import { adamw8bit, blockCount8bit } from "../../../kernels/adamw_8bit.ts";
import type { AppendOptimizer } from "../optimizer.ts";

/** Smaller tensors keep f32 moments: their codes would save little, and norms and biases are touchy. */
const MIN_8BIT_ELEMENTS = 4096;

/**
 * AdamW with moments in 8 bits (Dettmers et al. 2022, as bitsandbytes.optim.AdamW8bit): 2 + 8/256 bytes of state for a
 * parameter of a tensor with 4096 elements or more, 8 for others.
 */
export const appendAdamw8bit: AppendOptimizer = (builder, updates, clip, options) => {
  const attrs = { beta1: Number(options.beta1), beta2: Number(options.beta2), eps: Number(options.eps) };
  const decayOf = ({ parameter }: typeof updates[number]) =>
    parameter.spec.decay ? Number(options.weightDecay) : 0;
  const isLarge = ({ parameter: { master } }: typeof updates[number]) =>
    elementCount(master) >= MIN_8BIT_ELEMENTS;
  const large = updates.filter(isLarge);
  const small = updates.filter((update) => !isLarge(update));

  if (large.length > 0) {
    const tensors = large.flatMap(({ parameter: { master }, gradient }) => {
      const declare = (suffix: string, shape: readonly number[], dtype: "u8" | "f32") =>
        builder.persistents.declare(`${master.name}.${suffix}`, { shape, dtype }, "optimizer");
      const blocks = [blockCount8bit(elementCount(master))];
      return [
        master,
        gradient,
        declare("state1", master.shape, "u8"),
        declare("state2", master.shape, "u8"),
        declare("absmax1", blocks, "f32"),
        declare("absmax2", blocks, "f32"),
      ];
    });
    builder.call(adamw8bit, [clip, ...tensors], { ...attrs, weightDecay: large.map(decayOf) });
  }
  if (small.length > 0) {
    const tensors = small.flatMap(({ parameter: { master }, gradient }) => {
      const declare = (suffix: string) =>
        builder.persistents.declare(
          `${master.name}.${suffix}`,
          { shape: master.shape, dtype: "f32" },
          "optimizer",
        );
      return [master, gradient, declare("exp_avg"), declare("exp_avg_sq")];
    });
    builder.call(adamw, [clip, ...tensors], { ...attrs, weightDecay: small.map(decayOf) });
  }
};
