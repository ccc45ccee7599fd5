import { type AttentionAttrs, PADDING_SEGMENT, qkvWidth } from "../../kernels/attention_shapes.ts";
import type { Dtype } from "../../engine/graph/types.ts";
import type { TestInput } from "./check_op.ts";

/** Attributes with the parts a test does not care about filled in. */
export function attentionAttrs(attrs: Partial<AttentionAttrs> & { sequence: number }): AttentionAttrs {
  const heads = attrs.heads ?? 2;
  const headSize = attrs.headSize ?? 8;
  return {
    batch: 2,
    heads,
    kvHeads: heads,
    headSize,
    causal: true,
    softmaxScale: 1 / Math.sqrt(headSize),
    segments: false,
    dropout: null,
    ...attrs,
  };
}

/** Shape and dtype of `qkv`, without data. */
export function qkvInput(attrs: AttentionAttrs, dtype: Dtype = "f32"): TestInput {
  return { shape: [attrs.batch * attrs.sequence, qkvWidth(attrs)], dtype };
}

/**
 * Segments of three packed documents per sequence, cut at a third and two thirds, then padding in the last
 * eighth. Padding as queries sees nothing, so its rows are zero.
 */
export function packedSegments({ batch, sequence }: AttentionAttrs): TestInput {
  const data = Array.from({ length: batch * sequence }, (_, i) => {
    const t = i % sequence;
    return t >= sequence - sequence / 8 ? PADDING_SEGMENT : Math.floor((3 * t) / sequence);
  });
  return { shape: [batch * sequence], dtype: "u32", data };
}

/** Sizes around tiles of 32, and head counts and widths that divide nothing. */
export const ATTENTION_CASES: readonly (Partial<AttentionAttrs> & { sequence: number })[] = [
  { sequence: 1, headSize: 1, heads: 1 },
  { sequence: 13, headSize: 5, heads: 3 },
  { sequence: 31, headSize: 8 },
  { sequence: 32, headSize: 32, causal: false },
  { sequence: 33, headSize: 20, heads: 4, kvHeads: 2 },
  { sequence: 70, headSize: 16, heads: 3, kvHeads: 1, causal: false },
  { sequence: 96, headSize: 64, heads: 2, batch: 1 },
];

/** Windows that end inside of tiles and span several, and capped scores, which here are below 1. */
export const WINDOWED_CASES: readonly (Partial<AttentionAttrs> & { sequence: number })[] = [
  { sequence: 33, headSize: 20, heads: 4, kvHeads: 2, window: 1, scoreCap: 0.2 },
  { sequence: 129, headSize: 20, batch: 1, window: 37 },
  { sequence: 70, headSize: 20, kvHeads: 1, scoreCap: 0.3 },
  { sequence: 40, headSize: 20, window: 40, scoreCap: 0.1 },
];

/** `"13 tokens, 3/3 heads of 5, causal"` */
export function attentionCaseName(attrs: AttentionAttrs): string {
  const { sequence, heads, kvHeads, headSize, causal, segments, dropout, window, scoreCap } = attrs;
  const extras = [
    causal && "causal",
    segments && "packed",
    dropout && "dropout",
    window && `window ${window}`,
    scoreCap && `cap ${scoreCap}`,
  ].filter((extra) => extra);
  return [`${sequence} tokens`, `${heads}/${kvHeads} heads of ${headSize}`, ...extras].join(", ");
}
