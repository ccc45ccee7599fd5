import type { StepBlock } from "./step_block.ts";

/**
 * Counter-based random words as WGSL: every element's number follows from (seed, step, micro-step, stream,
 * element) alone, so a backward pass or a recomputed forward pass draws the same ones and nothing is stored.
 * `step` is the step block.
 *
 * Groups of four elements are counted in 64 bits, low word and high word, as
 * probabilities of attention can be more than 2³⁴:
 *
 * - `counter_at(rows, width, i) -> vec2<u32>`: the counter rows · width + i, where rows · width + i < 2⁶⁴.
 * - `random_words(stream, group: vec2<u32>) -> vec4<u32>`: the words of elements 4·group … 4·group + 3.
 *
 * Source: pcg4d of Jarzynski & Olano 2020, "Hash Functions for GPU Rendering", JCGT 9(3).
 */
export const RANDOM_WGSL = `
fn counter_at(rows: u32, width: u32, i: u32) -> vec2<u32> {
  // The high word of the product from halves of 16 bits: WGSL has no such operation.
  let low_halves = (rows & 0xffffu) * (width & 0xffffu);
  let middle = (rows >> 16u) * (width & 0xffffu) + (low_halves >> 16u);
  let other = (rows & 0xffffu) * (width >> 16u) + (middle & 0xffffu);
  let high = (rows >> 16u) * (width >> 16u) + (middle >> 16u) + (other >> 16u);
  let low = rows * width;
  return vec2<u32>(low + i, high + select(0u, 1u, low + i < low));
}
fn random_words(stream: u32, group: vec2<u32>) -> vec4<u32> {
  // Micro-steps are spread over the stream axis by an odd constant: streams are few, so the two cannot meet.
  // High words of counters are spread over the steps in the same way: below 2⁸ only steps millions apart can
  // meet.
  var v = vec4<u32>(
    group.x,
    stream + step.microStepIndex * 0x9e3779b9u,
    step.stepIndex + group.y * 0x9e3779b9u,
    step.seed,
  );
  v = v * 1664525u + 1013904223u;
  v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
  v = v ^ (v >> vec4<u32>(16u));
  v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
  return v;
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

/**
 * The random word of one element in [0, 2³²), computed word by word: one of those
 * that `random_words` gives on a device.
 */
export function randomWord(key: RandomKey, stream: number, element: number): number {
  const mad = (a: number, b: number, c: number) => (Math.imul(a, b) + c) >>> 0;
  const group = Math.floor(element / 4);
  let [x, y, z, w] = [
    group % 2 ** 32,
    stream + Math.imul(key.microStepIndex, 0x9e3779b9),
    key.stepIndex + Math.imul(Math.floor(group / 2 ** 32), 0x9e3779b9),
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
