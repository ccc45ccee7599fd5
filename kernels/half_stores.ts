import type { Target } from "../engine/graph/op.ts";

/** Lanes of Mesa's widest vectors, of 512 bits. */
const WIDE_LANES = 16;

/**
 * Whether a subgroup stores in two halves, both by its lower lanes.
 *
 * Mesa's software adapter stores lane by lane, and takes a lane's number from a vector by putting the vector into memory and
 * reading the number back. Of a vector of 64 bytes just stored, processors forward the lower half at once and the upper half
 * only after it has reached the cache: 1.5 ns for a number of the lower eight lanes and 10 ns for one of the upper eight. So
 * the lower lanes fetch what the upper ones hold and store it, too.
 */
export function storesInHalves({ software, subgroupSize }: Target): boolean {
  return software && subgroupSize === WIDE_LANES;
}

/** Lanes that store; those as many above hand them what they hold. */
export const STORING_LANES = WIDE_LANES / 2;

/**
 * WGSL of a function `(start, i, end, lane, v)` that puts `v` at `start + i` where `i < end`. All lanes of a subgroup call it together,
 * each for the `i` after that of the lane before.
 *
 * @param store Text of the statement that stores `value` at `at`.
 * @param other Where a subgroup stores in halves, the text of what the lane holds in `v` that this one stores for.
 */
export function putWgsl(
  name: string,
  type: string,
  store: (at: string, value: string) => string,
  other?: string,
): string {
  return `fn ${name}(start: u32, i: u32, end: u32, lane: u32, v: ${type}) {
${
    other === undefined ? `  if (i < end) { ${store("start + i", "v")} }` : `  let other = ${other};
  if (lane < ${STORING_LANES}u) {
    if (i < end) { ${store("start + i", "v")} }
    if (i + ${STORING_LANES}u < end) { ${store(`start + i + ${STORING_LANES}u`, "other")} }
  }`
  }
}`;
}

/** WGSL of `otherHalf(v)`: what the lane `STORING_LANES` further on, or as far back, holds in `v`. */
export const OTHER_HALF_WGSL = `fn otherHalf(v: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(${
  ["x", "y", "z", "w"].map((part) => `subgroupShuffleXor(v.${part}, ${STORING_LANES}u)`).join(", ")
});
}
`;
