import type { Random } from "./random.ts";

/** How the next token is drawn. */
export interface Sampling {
  /** Logits are divided by it; 0 takes the largest one. */
  temperature: number;
  /** Draws among the most probable tokens that together have at least this probability; 1 is all of them. */
  topP: number;
}

/** Tokens that may come next, most probable first. */
export interface Candidates {
  ids: Uint32Array;
  /** Sums to 1. */
  probabilities: Float64Array;
}

/**
 * The tokens that nucleus sampling draws from (Holtzman et al. 2020, arXiv:1904.09751), by softmax of logits
 * `[V]` over a temperature above 0. Among equals the smaller id comes first.
 */
export function nucleus(logits: ArrayLike<number>, { temperature, topP }: Sampling): Candidates {
  let largest = -Infinity;
  for (let id = 0; id < logits.length; id++) largest = Math.max(largest, logits[id]);
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - largest) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const ids = Uint32Array.from(weights, (_, id) => id);
  if (topP < 1) ids.sort((a, b) => weights[b] - weights[a] || a - b);
  let [kept, mass] = [0, 0];
  while (kept < ids.length && (kept === 0 || mass < topP * total)) mass += weights[ids[kept++]];
  const chosen = ids.subarray(0, kept);
  return { ids: chosen, probabilities: Float64Array.from(chosen, (id) => weights[id] / mass) };
}

/**
 * Draws a token, or takes the first of the largest logits at temperature 0.
 * @throws {RangeError} for a logit that is no number.
 */
export function nextToken(logits: Float32Array, sampling: Sampling, random: Random): number {
  if (logits.some((logit) => !(logit < Infinity))) {
    throw new RangeError("Cannot choose a token: a logit is not a number");
  }
  if (sampling.temperature === 0) {
    return logits.reduce((best, logit, id) => (logit > logits[best] ? id : best), 0);
  }
  const { ids, probabilities } = nucleus(logits, sampling);
  let left = random.uniform();
  for (const [i, probability] of probabilities.entries()) {
    left -= probability;
    if (left < 0) return ids[i];
  }
  return ids[ids.length - 1]; // rounding has left a sum below 1
}
