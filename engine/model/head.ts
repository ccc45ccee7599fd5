import type { Value } from "../graph/types.ts";
import { crossEntropyChunkRows, linearCrossEntropy } from "../../kernels/cross_entropy.ts";
import { softCap } from "../../kernels/elementwise.ts";
import { linear } from "../../kernels/linear.ts";
import type { Head } from "./family.ts";
import type { LayerContext } from "./layers.ts";

/** Summed cross-entropy of a batch's targets, added to `inputs.loss`; its logits never exist as a whole. */
export function headLoss(context: LayerContext, { hidden, weight, bias, logitCap }: Head): Value {
  const { targets, loss } = context.inputs;
  const inputs = [hidden, weight, targets, loss, ...(bias ? [bias] : [])];
  return context.scope("head", () =>
    context.builder.call(linearCrossEntropy, inputs, {
      chunkRows: crossEntropyChunkRows(hidden.shape[0], weight.shape[0]),
      transposedWeight: true,
      bias: bias !== undefined,
      ...typeof logitCap === "number" && { logitCap },
    })[0]);
}

/** Logits of every row. */
export function headLogits(context: LayerContext, { hidden, weight, bias, logitCap }: Head): Value {
  return context.scope("head", () => {
    const [logits] = context.builder.call(linear, [hidden, weight, ...(bias ? [bias] : [])], {
      transposedWeight: true,
      bias: bias !== undefined,
      residual: false,
    });
    return typeof logitCap === "number"
      ? context.builder.call(softCap, [logits], { cap: logitCap })[0]
      : logits;
  });
}
