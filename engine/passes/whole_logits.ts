import { linearCrossEntropy } from "../../kernels/cross_entropy.ts";
import { rewriteForward } from "./rewrite.ts";
import type { Pass } from "./step.ts";

/**
 * Switches chunking of the loss off: logits of all rows at once, `[N, V]`, as engines without a fused loss
 * hold them. For measuring what chunking saves; chunked is the default because it costs no time.
 */
export function wholeLogits(): Pass {
  return {
    name: "whole logits",
    forward(draft) {
      rewriteForward(draft, (node, inputs, builder) => {
        if (node.op !== linearCrossEntropy) return undefined;
        return builder.call(linearCrossEntropy, inputs, { ...node.attrs, chunkRows: inputs[0].shape[0] });
      });
    },
  };
}
