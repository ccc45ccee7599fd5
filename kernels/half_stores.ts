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

/** What a lane stores of a pair of fours, by the type of their elements. */
export const PAIR_TYPES = { f32: "vec4<u64>", f16: "vec2<u64>" } as const;

/**
 * WGSL of `pairOf(own, other)`: two fours of elements as words of 64 bits. A store is one loop over the lanes for each component:
 * half as many loops take less of the compiler's time and of the processor's.
 */
export function pairWgsl(type: keyof typeof PAIR_TYPES): string {
  if (type === "f32") {
    return `fn pairOf(own: vec4<f32>, other: vec4<f32>) -> vec4<u64> {
  let x = bitcast<vec4<u32>>(own);
  let y = bitcast<vec4<u32>>(other);
  return vec4<u64>(vec4<u32>(x.xz, y.xz)) | (vec4<u64>(vec4<u32>(x.yw, y.yw)) << vec4<u32>(32u));
}
`;
  }
  // Where this runs packing rounds as a conversion does, whose result naga cannot cast to words.
  return `fn pairOf(own: vec4<f32>, other: vec4<f32>) -> vec2<u64> {
  let low = vec2<u32>(pack2x16float(own.xy), pack2x16float(other.xy));
  let high = vec2<u32>(pack2x16float(own.zw), pack2x16float(other.zw));
  return vec2<u64>(low) | (vec2<u64>(high) << vec2<u32>(32u));
}
`;
}

/** WGSL of the four of columns that a lane holds where pairs are stored: the storing lanes hold the even ones. */
export const PAIRED_LANE_WGSL = `2u * (lane % ${STORING_LANES}u) + lane / ${STORING_LANES}u`;

/** WGSL of `otherHalf(v)`: what the lane `STORING_LANES` further on, or as far back, holds in `v`. */
export const OTHER_HALF_WGSL = `fn otherHalf(v: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(${
  ["x", "y", "z", "w"].map((part) => `subgroupShuffleXor(v.${part}, ${STORING_LANES}u)`).join(", ")
});
}
`;
