import { createHash } from "node:crypto";

/**
 * A stream of random numbers that depends on nothing but what it was made from.
 *
 * Source: xoshiro128**, Blackman & Vigna, "Scrambled linear pseudorandom number generators", arXiv:1805.01407.
 */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;
  #spareNormal = NaN; // NaN: none. A field that is always a number is updated without allocating one.

  /** Starts at a given state of four u32, not all zero. */
  constructor([a, b, c, d]: readonly number[]) {
    this.#a = a | 0;
    this.#b = b | 0;
    this.#c = c | 0;
    this.#d = d | 0;
  }

  /** Uniform over the whole numbers from 0 to 2³² − 1. */
  nextU32(): number {
    const result = Math.imul(rotateLeft(Math.imul(this.#b, 5), 7), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = rotateLeft(this.#d, 11);
    return result;
  }

  /** Uniform over [0, 1), a multiple of 2⁻⁵³. */
  uniform(): number {
    const high = this.nextU32() >>> 5, low = this.nextU32() >>> 6;
    return (high * 2 ** 26 + low) * 2 ** -53;
  }

  /** Uniform over the whole numbers below `bound`, which is at most 2³²; no number is more likely than another. */
  below(bound: number): number {
    const accepted = 2 ** 32 - 2 ** 32 % bound; // the largest multiple of the bound
    let value = this.nextU32();
    while (value >= accepted) value = this.nextU32();
    return value % bound;
  }

  /**
   * Normal with mean 0 and standard deviation 1, two at a time, by Marsaglia's polar form of Box & Muller's transform in
   * f64: twice as fast as with sine and cosine, and fewer functions for two machines to differ in.
   */
  normal(): number {
    const spare = this.#spareNormal;
    if (!Number.isNaN(spare)) {
      this.#spareNormal = NaN;
      return spare;
    }
    let x, y, squaredRadius;
    do { // until (x, y) is a point in the unit disk, but not its centre
      x = 2 * this.uniform() - 1;
      y = 2 * this.uniform() - 1;
      squaredRadius = x * x + y * y;
    } while (squaredRadius >= 1 || squaredRadius === 0);
    const scale = Math.sqrt(-2 * Math.log(squaredRadius) / squaredRadius);
    this.#spareNormal = y * scale;
    return x * scale;
  }
}

/**
 * The stream of a seed and a key. Streams of different keys have nothing to do with each other, so that a weight's first
 * values depend on its name and the seed, not on which weights were initialised before it.
 *
 * The state is the first 128 bits of SHA-256 of `<seed>:<key>` in UTF-8, as four little-endian u32.
 *
 * @param seed A whole number (else RangeError).
 */
export function keyedRandom(seed: number, key: string): Random {
  if (!Number.isSafeInteger(seed)) {
    throw new RangeError(`Cannot use the seed ${seed}: expected a whole number`);
  }
  const digest = createHash("sha256").update(`${seed}:${key}`).digest();
  return new Random([0, 4, 8, 12].map((offset) => digest.readUInt32LE(offset)));
}

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
