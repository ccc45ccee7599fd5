/**
 * Bits of the f32 that equals an f16, given as bits. Exact for every value; a NaN keeps its payload.
 *
 * Source: IEEE 754-2019, section 3.4: f16 is 1 sign, 5 exponent (bias 15), 10
 * fraction bits; f32 is 1, 8 (bias 127), 23.
 */
export function float16ToFloat32Bits(half: number): number {
  const sign = (half & 0x8000) << 16;
  let exponent = (half >>> 10) & 0x1f;
  let fraction = half & 0x3ff;
  if (exponent === 0x1f) return (sign | 0x7f800000 | (fraction << 13)) >>> 0; // infinity or NaN
  if (exponent === 0) {
    if (fraction === 0) return sign >>> 0;
    // A subnormal f16 is a normal f32: shift the fraction until its leading one is the implicit bit.
    const shift = Math.clz32(fraction) - 21;
    fraction = (fraction << shift) & 0x3ff;
    exponent = 1 - shift;
  }
  return (sign | ((exponent + 112) << 23) | (fraction << 13)) >>> 0;
}

let float16Table: Uint32Array | undefined;

/**
 * Converts f16 bits to f32 bits, element by element. A table of all 65536 values,
 * 256 KiB, beats the bit arithmetic.
 */
export function widenFloat16(source: Uint16Array, target: Uint32Array): void {
  const table = float16Table ??= Uint32Array.from(
    { length: 0x10000 },
    (_, half) => float16ToFloat32Bits(half),
  );
  for (let i = 0; i < source.length; i++) target[i] = table[source[i]];
}

/** Converts bf16 bits, which are the upper half of an f32, to f32 bits, element by element. */
export function widenBfloat16(source: Uint16Array, target: Uint32Array): void {
  for (let i = 0; i < source.length; i++) target[i] = source[i] << 16;
}
