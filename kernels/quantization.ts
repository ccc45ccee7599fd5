import { dynamicMap, middlesOf, nearestCode } from "./dynamic_map.ts";

/**
 * The 16 values of 4-bit NormalFloat, ascending: quantiles of a normal distribution scaled to [−1, 1].
 * Dettmers et al. 2023, arXiv:2305.14314; bit for bit those of bitsandbytes.
 */
export const NF4_VALUES = Float32Array.of(
  -1.0,
  -0.6961928009986877,
  -0.5250730514526367,
  -0.39491748809814453,
  -0.28444138169288635,
  -0.18477343022823334,
  -0.09105003625154495,
  0.0,
  0.07958029955625534,
  0.16093020141124725,
  0.24611230194568634,
  0.33791524171829224,
  0.44070982933044434,
  0.5626170039176941,
  0.7229568362236023,
  1.0,
);
const NF4_MIDDLES = middlesOf(NF4_VALUES);

/** Equal cells a unit of [−1, 1]: narrow enough that none has two middles in it. */
const NF4_CELLS = 32;
/** The code of each cell's lower end. */
const NF4_CODE_OF_CELL = Uint8Array.from(
  { length: 2 * NF4_CELLS + 1 },
  (_, cell) => nearestCode(cell / NF4_CELLS - 1, NF4_MIDDLES),
);

/** `nearestCode` of an f32 in [−1, 1], or NaN, without a search. */
function nearestNf4Code(x: number): number {
  const code = NF4_CODE_OF_CELL[((x + 1) * NF4_CELLS) | 0]; // exact in f64; NaN is in cell 0
  return x > NF4_MIDDLES[code] ? code + 1 : code;
}

/** Absmax values that share one nested absmax under double quantization. */
export const NESTED_BLOCK_SIZE = 256;

/** A weight in 4-bit NormalFloat. */
export interface Nf4Weight {
  /** Two codes a byte, the even element in the high nibble; an odd last one is paired with the code of 0. */
  packed: Uint8Array<ArrayBuffer>;
  /** Largest magnitude of each block. */
  absmax: Float32Array<ArrayBuffer>;
}

/** Absmax values in 8 bits: `map[code] · nestedAbsmax[i / 256] + offset`, with the signed dynamic map. */
export interface DoubleQuantized {
  codes: Uint8Array<ArrayBuffer>;
  nestedAbsmax: Float32Array<ArrayBuffer>;
  offset: number;
}

/**
 * Quantizes a flattened weight to NF4: each block of `quantBlockSize` weights is divided by its absmax and
 * takes the nearest code, the lower one half way. As bitsandbytes' `quantize_4bit`; a block of zeros has
 * absmax 0 and codes of 0.
 */
export function quantizeNf4(weights: Float32Array, quantBlockSize = 64): Nf4Weight {
  const packed = new Uint8Array(Math.ceil(weights.length / 2));
  const absmax = blockAbsmax(weights, quantBlockSize);
  for (let block = 0; block < absmax.length; block++) {
    const scale = Math.max(absmax[block], 1e-38);
    const end = Math.min((block + 1) * quantBlockSize, weights.length);
    for (let i = block * quantBlockSize; i < end; i++) {
      const code = nearestNf4Code(Math.fround(weights[i] / scale));
      packed[i >> 1] |= i % 2 === 0 ? code << 4 : code;
    }
  }
  if (weights.length % 2 !== 0) packed[weights.length >> 1] |= 7;
  return { packed, absmax };
}

/** Quantizes the absmax values themselves, less their mean, in blocks of 256 with the signed dynamic map. */
export function doubleQuantize(absmax: Float32Array): DoubleQuantized {
  // Summed in f64 and rounded once; torch's f32 sum may differ in the last bit,
  // which moves no code of the fixtures.
  const offset = Math.fround(absmax.reduce((sum, x) => sum + x, 0) / absmax.length);
  const centred = absmax.map((x) => Math.fround(x - offset));
  const nestedAbsmax = blockAbsmax(centred, NESTED_BLOCK_SIZE);
  const codes = Uint8Array.from(centred, (x, i) => {
    const scale = nestedAbsmax[Math.floor(i / NESTED_BLOCK_SIZE)];
    return nearestCode(scale === 0 ? 0 : Math.fround(x / scale), SIGNED_MIDDLES);
  });
  return { codes, nestedAbsmax, offset };
}
const SIGNED_MAP = dynamicMap(true);
const SIGNED_MIDDLES = middlesOf(SIGNED_MAP);

/** The absmax values that double quantization stands for, in f32 as kernels compute them. */
export function restoreAbsmax({ codes, nestedAbsmax, offset }: DoubleQuantized): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    codes,
    (code, i) =>
      Math.fround(Math.fround(SIGNED_MAP[code] * nestedAbsmax[Math.floor(i / NESTED_BLOCK_SIZE)]) + offset),
  );
}

/** The weights that NF4 stands for: `value[code] · absmax[block]` in f32. */
export function dequantizeNf4(
  { packed, absmax }: Nf4Weight,
  count: number,
  quantBlockSize = 64,
): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, (_, i) => {
    const code = i % 2 === 0 ? packed[i >> 1] >> 4 : packed[i >> 1] & 15;
    return NF4_VALUES[code] * absmax[Math.floor(i / quantBlockSize)];
  });
}

/** A weight in 8-bit integers, one scale a row. */
export interface Int8Weight {
  /** Two's complement, [rows, columns]. */
  codes: Int8Array<ArrayBuffer>;
  /** Largest magnitude of each row; a code stands for `code · absmax ÷ 127`. */
  absmax: Float32Array<ArrayBuffer>;
}

/**
 * Quantizes a `[rows, columns]` weight by its row maxima, half to even
 * (LLM.int8(), Dettmers et al. 2022, arXiv:2208.07339).
 */
export function quantizeInt8(weights: Float32Array, rows: number): Int8Weight {
  const columns = weights.length / rows;
  const absmax = blockAbsmax(weights, columns);
  const codes = new Int8Array(weights.length);
  for (let row = 0; row < rows; row++) {
    if (absmax[row] === 0) continue;
    const factor = Math.fround(127 / absmax[row]);
    for (let i = row * columns; i < (row + 1) * columns; i++) {
      codes[i] = roundHalfToEven(Math.fround(weights[i] * factor));
    }
  }
  return { codes, absmax };
}

/**
 * The weights that int8 codes stand for: (code · absmax) · (1 ÷ 127) in f32, each
 * factor rounded as bitsandbytes does.
 */
export function dequantizeInt8({ codes, absmax }: Int8Weight): Float32Array<ArrayBuffer> {
  const columns = codes.length / absmax.length;
  const unit = Math.fround(1 / 127);
  return Float32Array.from(codes, (code, i) => Math.fround(code * absmax[Math.floor(i / columns)]) * unit);
}

function blockAbsmax(values: Float32Array, blockSize: number): Float32Array<ArrayBuffer> {
  const absmax = new Float32Array(Math.ceil(values.length / blockSize));
  for (let block = 0; block < absmax.length; block++) {
    const end = Math.min((block + 1) * blockSize, values.length);
    let largest = 0;
    for (let i = block * blockSize; i < end; i++) largest = Math.max(largest, Math.abs(values[i]));
    absmax[block] = largest;
  }
  return absmax;
}

/**
 * Adding it leaves an f64 of magnitude below 2⁵¹ no room for a fraction: the sum is rounded, half to even.
 */
const NO_FRACTION = 1.5 * 2 ** 52;

function roundHalfToEven(x: number): number {
  return x + NO_FRACTION - NO_FRACTION;
}
