import { attention } from "../../../kernels/attention.ts";
import {
  attentionAttrs,
  attentionCaseName,
  packedSegments,
  qkvInput,
} from "../../support/attention_cases.ts";
import { checkVjp } from "../../support/check_op.ts";

const DROPOUT = { probability: 0.4, stream: 1 };
const CASES = [
  attentionAttrs({ sequence: 1, batch: 1, heads: 1, headSize: 1 }),
  attentionAttrs({ sequence: 5, heads: 2, headSize: 3 }),
  attentionAttrs({ sequence: 4, heads: 4, kvHeads: 2, headSize: 3, causal: false }),
  attentionAttrs({ sequence: 8, heads: 2, kvHeads: 1, headSize: 2, segments: true }),
  attentionAttrs({ sequence: 6, heads: 2, headSize: 3, dropout: { probability: 0.4, stream: 1 } }),
  attentionAttrs({ sequence: 6, heads: 2, kvHeads: 1, headSize: 3, window: 3, scoreCap: 0.4 }),
  attentionAttrs({ sequence: 8, headSize: 2, segments: true, window: 2, scoreCap: 0.7, dropout: DROPOUT }),
];
for (const attrs of CASES) {
  Deno.test(`the VJP of attention matches central differences: ${attentionCaseName(attrs)}`, () => {
    checkVjp(attention, [qkvInput(attrs), ...(attrs.segments ? [packedSegments(attrs)] : [])], attrs, {
      wrt: [0],
    });
  });
}
