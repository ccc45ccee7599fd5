import { elementCount } from "../../graph/types.ts";
import { adamw8bit, blockCount8bit } from "../../../kernels/adamw_8bit.ts";
import type { Optimizer, Update } from "./contract.ts";
import { adamwOptimizer } from "./adamw.ts";

/** Smaller tensors keep f32 moments: their codes would save little, and norms and biases are touchy. */
const MIN_8BIT_ELEMENTS = 4096;

/**
 * AdamW with moments in 8 bits (Dettmers et al. 2022, as
 * bitsandbytes.optim.AdamW8bit): 2 + 8/256 bytes of state for a parameter of a tensor
 * with 4096 elements or more, 8 for others and for embeddings, which AdamW updates.
 *
 * Embeddings are left out as transformers' Trainer leaves `torch.nn.Embedding` out: in a block that a
 * frequent token shares with a rare one, the rare one's second moment rounds to 0 and its first does not, and
 * the next small gradient divides by `eps`. `quantizeEmbeddings` has them in 8 bits nonetheless.
 */
export const adamw8bitOptimizer: Optimizer = {
  append(builder, updates, clip, options) {
    const isQuantized = ({ parameter: { master, spec } }: Update) =>
      elementCount(master) >= MIN_8BIT_ELEMENTS && (!spec.embedding || options.quantizeEmbeddings === true);
    const quantized = updates.filter(isQuantized);
    if (quantized.length > 0) {
      const tensors = quantized.flatMap(({ parameter: { master }, gradient }) => {
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
      const weightDecay = Number(options.weightDecay);
      builder.call(adamw8bit, [clip, ...tensors], {
        beta1: Number(options.beta1),
        beta2: Number(options.beta2),
        eps: Number(options.eps),
        weightDecay: quantized.map(({ parameter }) => (parameter.spec.decay ? weightDecay : 0)),
      });
    }
    adamwOptimizer.append(builder, updates.filter((update) => !isQuantized(update)), clip, options);
  },
  stepFields: adamwOptimizer.stepFields,
};
