import { cappedReference, capSlopeReference } from "./soft_cap.ts";
import { dropoutKeep } from "./random.ts";
import { NEUTRAL_STEP } from "./step_block.ts";
import { type AttentionAttrs, PADDING_SEGMENT, qkvWidth } from "./attention_shapes.ts";

/** Where element `d` of a head of token `row` lies in `qkv`. */
function columnsOf(attrs: AttentionAttrs) {
  const { heads, kvHeads, headSize } = attrs;
  const width = qkvWidth(attrs);
  const sharedHead = (head: number) => Math.floor((head * kvHeads) / heads);
  return {
    q: (row: number, head: number, d: number) => row * width + head * headSize + d,
    k: (row: number, head: number, d: number) => row * width + (heads + sharedHead(head)) * headSize + d,
    v: (row: number, head: number, d: number) =>
      row * width + (heads + kvHeads + sharedHead(head)) * headSize + d,
    o: (row: number, head: number, d: number) => (row * heads + head) * headSize + d,
  };
}

/**
 * What dropout multiplies one probability with; `row` counts (b·H + h)·T + query. As at the first micro-step.
 */
function keepScale(row: number, key: number, { sequence, dropout }: AttentionAttrs): number {
  if (!dropout) return 1;
  const element = row * Math.ceil(sequence / 4) * 4 + key;
  return dropoutKeep(NEUTRAL_STEP, dropout.stream, element, dropout.probability)
    ? 1 / (1 - dropout.probability)
    : 0;
}

/** Every (sequence, head, query), with the token of the query. */
function* queries({ batch, sequence, heads }: AttentionAttrs) {
  for (let b = 0; b < batch; b++) {
    for (let head = 0; head < heads; head++) {
      for (let query = 0; query < sequence; query++) {
        yield {
          first: b * sequence,
          token: b * sequence + query,
          head,
          query,
          row: (b * heads + head) * sequence + query,
        };
      }
    }
  }
}

/**
 * `o`, `probabilities` before dropout, `dropped` after it, slopes of the cap on scores, and the logsumexp of
 * every row, in f64.
 */
export function attendReference(
  qkv: Float64Array,
  segments: Float64Array | undefined,
  attrs: AttentionAttrs,
) {
  const { batch, sequence, heads, headSize, causal, softmaxScale, window, scoreCap } = attrs;
  const at = columnsOf(attrs);
  const rows = batch * heads * sequence;
  const o = new Float64Array(batch * sequence * heads * headSize);
  const probabilities = new Float64Array(rows * sequence);
  const dropped = new Float64Array(rows * sequence);
  const slopes = new Float64Array(rows * sequence);
  const logsumexp = new Float64Array(rows);
  for (const { first, token, head, query, row } of queries(attrs)) {
    const keys = [];
    for (let key = 0; key < sequence; key++) {
      if (causal && key > query) continue;
      if (window !== undefined && query - key >= window) continue;
      if (segments && segments[first + key] !== segments[token]) continue;
      if (segments && segments[first + key] === PADDING_SEGMENT) continue;
      keys.push(key);
    }
    const scores = keys.map((key) => {
      let score = 0;
      for (let d = 0; d < headSize; d++) score += qkv[at.q(token, head, d)] * qkv[at.k(first + key, head, d)];
      return cappedReference(softmaxScale * score, scoreCap);
    });
    const highest = Math.max(...scores);
    const total = scores.reduce((sum, score) => sum + Math.exp(score - highest), 0);
    // A row that sees nothing: a logsumexp that makes every exp(score − logsumexp) zero.
    logsumexp[row] = keys.length ? highest + Math.log(total) : EMPTY_LOGSUMEXP;
    keys.forEach((key, i) => {
      const p = Math.exp(scores[i] - highest) / total;
      probabilities[row * sequence + key] = p;
      slopes[row * sequence + key] = capSlopeReference(scores[i], scoreCap);
      dropped[row * sequence + key] = p * keepScale(row, key, attrs);
      for (let d = 0; d < headSize; d++) {
        o[at.o(token, head, d)] += dropped[row * sequence + key] * qkv[at.v(first + key, head, d)];
      }
    });
  }
  return { o, probabilities, dropped, slopes, logsumexp };
}

/** Stands for the logsumexp of a row without visible keys. */
export const EMPTY_LOGSUMEXP = 1e30;

/** `dqkv` and `dS` from the probabilities of a forward pass, and its slopes of capped scores, in f64. */
export function attendGradReference(
  qkv: Float64Array,
  probabilities: Float64Array,
  dO: Float64Array,
  attrs: AttentionAttrs,
  slopes?: Float64Array,
) {
  const { sequence, headSize, softmaxScale } = attrs;
  const at = columnsOf(attrs);
  const dqkv = new Float64Array(qkv.length);
  const dS = new Float64Array(probabilities.length);
  for (const { first, token, head, row } of queries(attrs)) {
    const dP = new Float64Array(sequence);
    let dot = 0;
    for (let key = 0; key < sequence; key++) {
      const p = probabilities[row * sequence + key];
      const keep = keepScale(row, key, attrs);
      for (let d = 0; d < headSize; d++) {
        dP[key] += keep * dO[at.o(token, head, d)] * qkv[at.v(first + key, head, d)];
        dqkv[at.v(first + key, head, d)] += keep * p * dO[at.o(token, head, d)];
      }
      dot += dP[key] * p;
    }
    for (let key = 0; key < sequence; key++) {
      const ds = probabilities[row * sequence + key] * (dP[key] - dot) *
        (slopes?.[row * sequence + key] ?? 1);
      dS[row * sequence + key] = ds;
      for (let d = 0; d < headSize; d++) {
        dqkv[at.q(token, head, d)] += softmaxScale * ds * qkv[at.k(first + key, head, d)];
        dqkv[at.k(first + key, head, d)] += softmaxScale * ds * qkv[at.q(token, head, d)];
      }
    }
  }
  return { dqkv, dS };
}
