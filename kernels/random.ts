import type { StepBlock } from "./step_block.ts";

/**
 * Counter-based random words as WGSL: every element's number follows from (seed, step, micro-step, stream, element) alone,
 * so a backward pass or a recomputed forward pass draws the same ones and nothing is stored. `step` is the step block.
 *
 * - `random_words(stream, group) -> vec4<u32>`: the words of elements 4·group … 4·group + 3.
 * - `random_word(stream, element) -> u32`: one of them; four times the price per element.
 * - `dropout_keep(stream, element, threshold) -> bool`, `dropout_keep_four(stream, group, threshold) -> vec4<bool>`: false
 *   with probability threshold / 2³²; see `dropoutThreshold`.
 *
 * Source: pcg4d of Jarzynski & Olano 2020, "Hash Functions for GPU Rendering", JCGT 9(3).
 */
export const RANDOM_WGSL = `
fn random_words(stream: u32, group: u32) -> vec4<u32> {
  // Micro-steps are spread over the stream axis by an odd constant: streams are few, so the two cannot meet.
  var v = vec4<u32>(group, stream + step.microStepIndex * 0x9e3779b9u, step.stepIndex, step.seed);
  v = v * 1664525u + 1013904223u;
  v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
  v = v ^ (v >> vec4<u32>(16u));
  v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
  return v;
}
fn random_word(stream: u32, element: u32) -> u32 {
  let words = random_words(stream, element / 4u);
  let low = select(words.x, words.y, (element & 1u) != 0u);
  let high = select(words.z, words.w, (element & 1u) != 0u);
  return select(low, high, (element & 2u) != 0u);
}
fn dropout_keep(stream: u32, element: u32, threshold: u32) -> bool {
  return random_word(stream, element) >= threshold;
}
fn dropout_keep_four(stream: u32, group: u32, threshold: u32) -> vec4<bool> {
  return random_words(stream, group) >= vec4<u32>(threshold);
}
`;

/** What a random word is compared with: words below it drop the element. */
export function dropoutThreshold(probability: number): number {
  if (!(probability >= 0 && probability < 1)) {
    throw new RangeError(
      `Cannot drop elements with probability ${probability}: expected 0 or more and less than 1`,
    );
  }
  return Math.min(Math.round(probability * 2 ** 32), 2 ** 32 - 1);
}

/** The parts of the step block that random numbers are keyed by. */
export type RandomKey = Pick<StepBlock, "seed" | "stepIndex" | "microStepIndex">;

/** The random word of one element in [0, 2³²), computed word by word; what `random_word` gives on a device. */
export function randomWord(key: RandomKey, stream: number, element: number): number {
  const mad = (a: number, b: number, c: number) => (Math.imul(a, b) + c) >>> 0;
  let [x, y, z, w] = [
    Math.floor(element / 4),
    stream + Math.imul(key.microStepIndex, 0x9e3779b9),
    key.stepIndex,
    key.seed,
  ].map((word) => mad(word, 1664525, 1013904223));
  for (let round = 0; round < 2; round++) {
    x = mad(y, w, x);
    y = mad(z, x, y);
    z = mad(x, y, z);
    w = mad(y, z, w);
    if (round === 0) [x, y, z, w] = [x, y, z, w].map((word) => (word ^ (word >>> 16)) >>> 0);
  }
  return [x, y, z, w][element % 4];
}

/** Whether dropout keeps an element. */
export function dropoutKeep(key: RandomKey, stream: number, element: number, probability: number): boolean {
  return randomWord(key, stream, element) >= dropoutThreshold(probability);
}
