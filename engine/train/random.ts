import { sha256 } from "../host.ts";

/**
 * A stream of random numbers that depends on nothing but what it was made from.
 *
 * Source: xoshiro128**, Blackman & Vigna, "Scrambled linear pseudorandom number
 * generators", arXiv:1805.01407.
 */
export class Random {
  readonly #state = new Int32Array(4); // locals of a loop are hardly faster, private fields half as fast
  readonly #pair = new Float64Array(2);
  #spareNormal = NaN; // NaN: none. A field that is always a number is updated without allocating one.

  /** Starts at a given state of four u32, not all zero. */
  constructor(state: readonly number[]) {
    for (let i = 0; i < 4; i++) this.#state[i] = state[i];
  }

  /** Uniform over the whole numbers from 0 to 2³² − 1. */
  nextU32(): number {
    return advance(this.#state) >>> 0;
  }

  /** Uniform over [0, 1), a multiple of 2⁻⁵³. */
  uniform(): number {
    return nextUniform(this.#state);
  }

  /**
   * Uniform over the whole numbers below `bound`, which is at most 2³²; no number
   * is more likely than another.
   */
  below(bound: number): number {
    const accepted = 2 ** 32 - 2 ** 32 % bound; // the largest multiple of the bound
    let value = this.nextU32();
    while (value >= accepted) value = this.nextU32();
    return value % bound;
  }

  /**
   * Normal with mean 0 and standard deviation 1, two at a time, by Marsaglia's
   * polar form of Box & Muller's transform in f64: twice as fast as with sine and
   * cosine, and fewer functions for two machines to differ in.
   */
  normal(): number {
    const spare = this.#spareNormal;
    if (!Number.isNaN(spare)) {
      this.#spareNormal = NaN;
      return spare;
    }
    nextNormals(this.#state, this.#pair);
    this.#spareNormal = this.#pair[1];
    return this.#pair[0];
  }

  /**
   * Fills an array with what as many calls of `normal()` give, each times the
   * standard deviation; in half the time.
   */
  fillNormal(values: Float32Array, standardDeviation: number): void {
    const state = this.#state, pair = this.#pair, { length } = values;
    let i = 0;
    if (length > 0 && !Number.isNaN(this.#spareNormal)) values[i++] = this.normal() * standardDeviation;
    for (; i + 1 < length; i += 2) {
      nextNormals(state, pair);
      values[i] = pair[0] * standardDeviation;
      values[i + 1] = pair[1] * standardDeviation;
    }
    if (i < length) values[i] = this.normal() * standardDeviation;
  }
}

/** The next 32 bits, as i32. */
function advance(state: Int32Array): number {
  const a = state[0], b = state[1], c = state[2] ^ a, d = state[3] ^ b;
  state[0] = a ^ d;
  state[1] = b ^ c;
  state[2] = c ^ (b << 9);
  state[3] = rotateLeft(d, 11);
  return Math.imul(rotateLeft(Math.imul(b, 5), 7), 9);
}

function nextUniform(state: Int32Array): number {
  const high = advance(state) >>> 5, low = advance(state) >>> 6;
  return (high * 2 ** 26 + low) * 2 ** -53;
}

function nextNormals(state: Int32Array, pair: Float64Array): void {
  let x, y, squaredRadius;
  do { // until (x, y) is a point in the unit disk, but not its centre
    x = 2 * nextUniform(state) - 1;
    y = 2 * nextUniform(state) - 1;
    squaredRadius = x * x + y * y;
  } while (squaredRadius >= 1 || squaredRadius === 0);
  const scale = Math.sqrt(-2 * Math.log(squaredRadius) / squaredRadius);
  pair[0] = x * scale;
  pair[1] = y * scale;
}

/**
 * The stream of a seed and a key. Streams of different keys have nothing to do with each other, so that a
 * weight's first values depend on its name and the seed, not on which weights were initialised before it.
 *
 * The state is the first 128 bits of SHA-256 of `<seed>:<key>` in UTF-8, as four little-endian u32.
 *
 * @param seed A whole number (else RangeError).
 */
export function keyedRandom(seed: number, key: string): Random {
  if (!Number.isSafeInteger(seed)) {
    throw new RangeError(`Cannot use the seed ${seed}: expected a whole number`);
  }
  const { buffer, byteOffset } = sha256(`${seed}:${key}`);
  const digest = new DataView(buffer, byteOffset);
  return new Random([0, 4, 8, 12].map((offset) => digest.getUint32(offset, true)));
}

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
