import { ShapeError } from "../engine/graph/op.ts";
import { type TensorType, typeText } from "../engine/graph/types.ts";
import { dropoutThreshold, RANDOM_WGSL } from "./random.ts";
import { isStored } from "./storage_forms.ts";

/**
 * What `attention` and `flash_attention` share. N = batch · sequence rows; the columns of `qkv` are
 * `[q: H·D | k: K·D | v: K·D]`, the heads of each one after the other, and query heads `h` use key/value head
 * `floor(h · K / H)`.
 */
export interface AttentionAttrs {
  /** B. */
  batch: number;
  /** T. */
  sequence: number;
  /** H. */
  heads: number;
  /** K, a divisor of H: fewer than H is grouped-query attention. */
  kvHeads: number;
  /** D. */
  headSize: number;
  /** Whether a query sees only keys at its own position and before. */
  causal: boolean;
  /** τ, applied to q·k in f32; usually 1 / √D. */
  softmaxScale: number;
  /** Whether the last input holds the segment of every token: tokens see only their own segment. */
  segments: boolean;
  /** Dropout on the probabilities. */
  dropout: { probability: number; stream: number } | null;
  /** W: with `causal`, a query sees only the last W keys up to its own position; default all. */
  window?: number;
  /** Scores become cap · tanh(score / cap) before the softmax; default uncapped. */
  scoreCap?: number;
}

/** Segment of padding: a key nobody sees. */
export const PADDING_SEGMENT = 0xffffffff;

/** Columns of `qkv`: (H + 2K)·D. */
export function qkvWidth({ heads, kvHeads, headSize }: AttentionAttrs): number {
  return (heads + 2 * kvHeads) * headSize;
}

/** @throws {ShapeError} if `qkv [N, (H+2K)·D]` or `segments u32 [N]` do not fit the attributes. */
export function checkAttentionInputs(
  name: string,
  qkv: TensorType,
  segments: TensorType | undefined,
  attrs: AttentionAttrs,
): void {
  const { batch, sequence, heads, kvHeads } = attrs;
  if (!(heads % kvHeads === 0)) {
    throw new ShapeError(
      `Cannot apply ${name} to ${heads} heads and ${kvHeads} key/value heads: heads must be a multiple of kvHeads`,
    );
  }
  if (attrs.window !== undefined && !(attrs.causal && Number.isInteger(attrs.window) && attrs.window > 0)) {
    throw new RangeError(
      `Cannot apply ${name} over a window of ${attrs.window} keys: expected one or more, and a causal mask`,
    );
  }
  const rows = batch * sequence;
  if (qkv.shape.length !== 2 || qkv.shape[0] !== rows || qkv.shape[1] !== qkvWidth(attrs)) {
    throw new ShapeError(
      `Cannot apply ${name} to qkv ${typeText(qkv)}: expected [${rows}, ${qkvWidth(attrs)}]`,
    );
  }
  if (!isStored(qkv.dtype)) {
    throw new ShapeError(`Cannot apply ${name} to qkv ${typeText(qkv)}: expected f32 or f16`);
  }
  if (attrs.segments !== (segments !== undefined)) {
    throw new ShapeError(`Cannot apply ${name}: segments must be given exactly when attrs.segments is true`);
  }
  if (segments && (segments.dtype !== "u32" || segments.shape.length !== 1 || segments.shape[0] !== rows)) {
    throw new ShapeError(`Cannot apply ${name} to segments ${typeText(segments)}: expected u32[${rows}]`);
  }
}

/**
 * WGSL that dropout of probabilities needs, none without it: `dropoutScale(stream, row, sequence, i)`, what
 * probabilities 4·i … 4·i + 3 of a row are multiplied with. The random numbers of row `(b·H + h)·T + query`
 * and keys `4·i … 4·i + 3` are those of group `row · ceil(T / 4) + i`, in every form of attention, so that
 * they all drop the same elements.
 */
export function attentionDropoutWgsl({ dropout }: AttentionAttrs): string {
  if (!dropout) return "";
  return `${RANDOM_WGSL}
fn dropoutScale(stream: u32, row: u32, sequence: u32, i: u32) -> vec4<f32> {
  let words = random_words(stream, counter_at(row, (sequence + 3u) / 4u, i));
  return select(vec4<f32>(0.0), vec4<f32>(${1 / (1 - dropout.probability)}), words >= vec4<u32>(${
    dropoutThreshold(dropout.probability)
  }u));
}`;
}
