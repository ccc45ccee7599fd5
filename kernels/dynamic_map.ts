/** Decades of a dynamic map: exponents −6 … 0 of ten. */
export const DYNAMIC_DECADES = 7;

/**
 * The 256 values of an 8-bit dynamic map, ascending f32 numbers: per decade 10^e, e = −6 … 0, the middles of
 * 2^k equal steps over [0.1, 1] · 10^e, twice as many in each decade as in the one below; and 0 and 1.
 *
 * Signed maps have 1, 2, … 64 steps and each value with both signs: 127 negative values, 0 at index 127, 1 at
 * 255. Unsigned ones have 2, 4, … 128 steps: 0 at index 0, 1 at 255. Bit for bit those of bitsandbytes
 * (`create_dynamic_map`); Dettmers 2016, arXiv:1511.04561, and Dettmers et al. 2022, arXiv:2110.02861.
 */
export function dynamicMap(signed: boolean): Float32Array<ArrayBuffer> {
  const positive: number[] = [];
  for (let decade = 0; decade < DYNAMIC_DECADES; decade++) {
    const steps = stepsOfDecade(decade, signed);
    const power = Math.fround(10 ** (decade - (DYNAMIC_DECADES - 1)));
    const bounds = linspace(Math.fround(0.1), 1, steps + 1);
    for (let i = 0; i < steps; i++) {
      const middle = Math.fround(Math.fround(bounds[i] + bounds[i + 1]) / 2);
      positive.push(Math.fround(power * middle));
    }
  }
  const negative = signed ? positive.map((value) => -value).reverse() : [];
  return Float32Array.of(...negative, 0, ...positive, 1);
}

/** Equal steps that decade `0 … DYNAMIC_DECADES − 1` of a map is cut into. */
export function stepsOfDecade(decade: number, signed: boolean): number {
  return 2 ** (signed ? decade : decade + 1);
}

/**
 * Bounds between the codes of a map: a value above `middles[k]` is nearer to code
 * k + 1 than to k, one at it is given code k.
 *
 * @returns One number fewer than the map has, ascending.
 */
export function middlesOf(map: Float32Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    map.subarray(1),
    (above, k) => Math.fround(Math.fround(above + map[k]) * 0.5),
  );
}

/**
 * Index of the map's value nearest to `x` by binary search; half way between two
 * the lower one. NaN is given the lowest.
 */
export function nearestCode(x: number, middles: Float32Array): number {
  let low = 0;
  let high = middles.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (middles[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * As torch.linspace in f32, which counts the upper half from the end and rounds once after multiply and add:
 * products of these numbers are exact in f64.
 */
function linspace(start: number, end: number, count: number): Float32Array {
  const step = Math.fround((end - start) / (count - 1));
  return Float32Array.from(
    { length: count },
    (_, i) => (i < Math.floor(count / 2) ? start + step * i : end - step * (count - 1 - i)),
  );
}
