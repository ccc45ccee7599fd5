import { attention } from "../../kernels/attention.ts";
import { flashAttention } from "../../kernels/flash_attention.ts";
import { rewriteForward } from "./rewrite.ts";
import type { Pass } from "./step.ts";

/**
 * FlashAttention-2 (Dao 2023, arXiv:2307.08691): replaces every attention that holds its T×T probabilities by
 * one that makes them tile by tile and saves one logsumexp per row.
 */
export function fuseAttention(): Pass {
  return {
    name: "flash attention",
    step(draft) {
      rewriteForward(draft, (node, inputs, builder) => {
        if (node.op !== attention) return undefined;
        // The second output is saved for the backward pass alone: probabilities there, the logsumexp here.
        return builder.call(flashAttention, inputs, node.attrs);
      });
    },
  };
}
