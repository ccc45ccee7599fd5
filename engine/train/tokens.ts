import { InputError } from "../input_error.ts";

/**
 * Refuses tokens that a model has no embedding for.
 *
 * @param what The data, as the error names it.
 * @throws InputError with the first position whose token is not below `vocabularySize`.
 */
export function requireTokensBelow(vocabularySize: number, tokens: Uint32Array, what: string): void {
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] >= vocabularySize) {
      throw new InputError(
        `Cannot use ${what}: token ${i} is ${
          tokens[i]
        }, but the model's vocabulary has ${vocabularySize} tokens`,
      );
    }
  }
}

/**
 * Sorts positions by the token at them, so that the gradient of an embedding can be summed token by token in
 * a fixed order. Owns its scratch memory: one sorter per micro-batch shape, no allocation per sort.
 */
export class TokenSorter {
  #digits: number;
  #scratch: Uint32Array;
  #starts = new Uint32Array(256);

  /** @param capacity The most tokens of one sort, N = B·T. */
  constructor({ vocabularySize, capacity }: { vocabularySize: number; capacity: number }) {
    this.#digits = Math.max(1, Math.ceil(Math.log2(Math.max(2, vocabularySize)) / 8));
    this.#scratch = new Uint32Array(capacity);
  }

  /**
   * Fills `order` [N] with the positions 0 … N − 1, those of smaller tokens first
   * and those of equal tokens in ascending order. Radix sort by the bytes of the
   * token, low to high: N·(bytes of the vocabulary size), whatever its size.
   *
   * @throws RangeError when `order` is not as long as `tokens`, or both are longer than the capacity.
   */
  sort(tokens: Uint32Array, order: Uint32Array): void {
    const count = tokens.length;
    if (order.length !== count || count > this.#scratch.length) {
      throw new RangeError(
        `Cannot sort ${count} tokens into ${order.length} positions: expected equal lengths of at most ${this.#scratch.length}`,
      );
    }
    // Passes alternate between the two arrays; the first starts where the last one then ends in `order`.
    let from = this.#digits % 2 === 0 ? order : this.#scratch;
    let to = from === order ? this.#scratch : order;
    for (let i = 0; i < count; i++) from[i] = i;
    for (let digit = 0; digit < this.#digits; digit++) {
      this.#sortByDigit(tokens, 8 * digit, from, to);
      [from, to] = [to, from];
    }
  }

  #sortByDigit(tokens: Uint32Array, shift: number, from: Uint32Array, to: Uint32Array): void {
    const starts = this.#starts.fill(0);
    const count = tokens.length;
    for (let i = 0; i < count; i++) starts[(tokens[i] >>> shift) & 0xff]++;
    for (let value = 0, start = 0; value < 256; value++) {
      const size = starts[value];
      starts[value] = start;
      start += size;
    }
    for (let i = 0; i < count; i++) {
      const position = from[i];
      to[starts[(tokens[position] >>> shift) & 0xff]++] = position;
    }
  }
}
