import { sha256 } from "../host.ts";
import { keyedRandom } from "./random.ts";

/** Sequences in the corpus `random`. */
export const RANDOM_SEQUENCES = 512;

/** The corpus `random`: nothing to learn, the same work. */
export interface RandomData {
  /** `RANDOM_SEQUENCES` · T tokens and one more, as the last target. */
  tokens: Uint32Array<ArrayBuffer>;
  /** One a sequence. */
  labels: Uint32Array<ArrayBuffer>;
  /** SHA-256 of tokens, then labels, as little-endian u32; hexadecimal. */
  sha256: string;
}

/**
 * 512 sequences of uniformly random tokens with uniformly random labels: what Hugging Face's guide to
 * memory-saving training measures on, at T 512 and two labels.
 *
 * Source: https://huggingface.co/docs/transformers/v4.20.1/en/perf_train_gpu_one
 */
export function randomData(
  { seed, sequenceLength, vocabularySize, labelCount }: {
    seed: number;
    sequenceLength: number;
    vocabularySize: number;
    labelCount: number;
  },
): RandomData {
  const draw = (key: string, count: number, below: number) => {
    const random = keyedRandom(seed, key);
    return Uint32Array.from({ length: count }, () => random.below(below));
  };
  const tokens = draw("random tokens", RANDOM_SEQUENCES * sequenceLength + 1, vocabularySize);
  const labels = draw("random labels", RANDOM_SEQUENCES, Math.max(labelCount, 1));
  return { tokens, labels, sha256: sha256(tokens, labels).toHex() };
}
