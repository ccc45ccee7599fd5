import { InputError } from "../input_error.ts";
import { keyedRandom } from "./random.ts";

/** A target that counts neither in the loss nor in its gradient, as in PyTorch. */
export const MASKED_TARGET = -100;

/** Tokens to train on and, if a part was held out, tokens to evaluate on. */
export interface TokenSplit {
  readonly training: Uint32Array;
  readonly heldOut: Uint32Array | null;
}

/**
 * Splits tokens by position: the last `heldOutFraction` of them is held out, and shares no token with the training part.
 *
 * @param heldOutFraction At least 0, which holds nothing out, and below 1.
 * @throws InputError when a part has less than one window of `sequenceLength` tokens and their targets.
 */
export function splitTokens(
  tokens: Uint32Array,
  { sequenceLength, heldOutFraction = 0.1 }: { sequenceLength: number; heldOutFraction?: number },
): TokenSplit {
  if (!(heldOutFraction >= 0 && heldOutFraction < 1)) {
    throw new InputError(
      `Cannot hold out ${heldOutFraction} of the tokens: expected a fraction from 0 to below 1`,
    );
  }
  const heldOutCount = Math.floor(tokens.length * heldOutFraction);
  const trainingCount = tokens.length - heldOutCount;
  requireWindow("training", trainingCount, tokens.length, sequenceLength);
  if (heldOutFraction === 0) return { training: tokens, heldOut: null };
  requireWindow("held-out", heldOutCount, tokens.length, sequenceLength);
  return { training: tokens.subarray(0, trainingCount), heldOut: tokens.subarray(trainingCount) };
}

function requireWindow(part: string, partCount: number, total: number, sequenceLength: number): void {
  if (partCount >= sequenceLength + 1) return;
  throw new InputError(
    `Cannot make a window from ${partCount} ${part} tokens (of ${total} in all): ` +
      `sequence length ${sequenceLength} needs at least ${sequenceLength + 1}`,
  );
}

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

/** Whole windows of T inputs, with targets one further, in N tokens: neighbours share the one token at their border. */
export function countWindows(tokenCount: number, sequenceLength: number): number {
  return Math.max(0, Math.floor((tokenCount - 1) / sequenceLength));
}

/** Where a run is in its data; JSON. */
export interface BatchState {
  /** Sequences taken since the start of the run. */
  readonly sequenceIndex: number;
}

/**
 * An endless series of sequences of T tokens. Which sequence has a given index depends on nothing else, so that B
 * sequences at once are the same as b at a time, B / b times.
 */
export interface BatchSource {
  readonly sequenceLength: number;
  /** Distinct sequences; after so many, an epoch, they come again. */
  readonly windowCount: number;
  /**
   * Fills `inputs` and `targets`, both [microBatchSize, T], with the next sequences; returns how many targets are not
   * masked. Throws RangeError when the arrays have another length.
   */
  next(microBatchSize: number, inputs: Uint32Array, targets: Int32Array): number;
  state(): BatchState;
  /** Continues from a sequence, as counted since the start of the run. */
  seek(sequenceIndex: number): void;
}

/**
 * Sequences for training: window w has the inputs `tokens[w·T, w·T + T)` and the targets one further.
 *
 * In order, sequence s is window s modulo the number of windows. Shuffled, each epoch e takes every window once, in the
 * order of a Fisher–Yates shuffle by `keyedRandom(seed, "epoch <e>")`: the same on every machine.
 *
 * @throws InputError when there is not one whole window.
 */
export function trainingBatches(
  tokens: Uint32Array,
  { sequenceLength, shuffle, seed }: { sequenceLength: number; shuffle: boolean; seed: number },
): BatchSource {
  requireWindow("training", tokens.length, tokens.length, sequenceLength);
  const windowCount = countWindows(tokens.length, sequenceLength);
  const order = shuffle ? new ShuffledOrder(windowCount, seed) : { windowAt: (s: number) => s % windowCount };
  let sequenceIndex = 0;
  return {
    sequenceLength,
    windowCount,
    next(microBatchSize, inputs, targets) {
      requireLength(inputs.length, targets.length, microBatchSize, sequenceLength);
      for (let b = 0; b < microBatchSize; b++) {
        copyWindow(tokens, order.windowAt(sequenceIndex + b), sequenceLength, b, inputs, targets);
      }
      sequenceIndex += microBatchSize;
      return microBatchSize * sequenceLength;
    },
    state: () => ({ sequenceIndex }),
    seek(index) {
      if (!Number.isSafeInteger(index) || index < 0) {
        throw new RangeError(`Cannot continue from sequence ${index}: expected a whole number, not below 0`);
      }
      sequenceIndex = index;
    },
  };
}

/** The windows of an epoch in random order. Holds one epoch, and shuffles when another one is asked for. */
class ShuffledOrder {
  #order: Uint32Array;
  #seed: number;
  #epoch = -1;

  constructor(windowCount: number, seed: number) {
    this.#order = new Uint32Array(windowCount);
    this.#seed = seed;
  }

  windowAt(sequenceIndex: number): number {
    const windowCount = this.#order.length;
    const epoch = Math.floor(sequenceIndex / windowCount);
    if (epoch !== this.#epoch) this.#shuffle(epoch);
    return this.#order[sequenceIndex % windowCount];
  }

  #shuffle(epoch: number): void {
    const order = this.#order;
    const random = keyedRandom(this.#seed, `epoch ${epoch}`);
    for (let i = 0; i < order.length; i++) order[i] = i; // from scratch, not from the epoch before: any epoch can be first
    for (let i = order.length - 1; i > 0; i--) {
      const j = random.below(i + 1);
      const swapped = order[i];
      order[i] = order[j];
      order[j] = swapped;
    }
    this.#epoch = epoch;
  }
}

function requireLength(
  inputs: number,
  targets: number,
  microBatchSize: number,
  sequenceLength: number,
): void {
  const expected = microBatchSize * sequenceLength;
  if (inputs === expected && targets === expected) return;
  throw new RangeError(
    `Cannot fill ${inputs} inputs and ${targets} targets: ` +
      `expected ${microBatchSize} sequences of ${sequenceLength} tokens, ${expected}, in each`,
  );
}

/** Copies window `window` of `tokens` to row `row` of `inputs` and `targets`, [B, T]. */
function copyWindow(
  tokens: Uint32Array,
  window: number,
  sequenceLength: number,
  row: number,
  inputs: Uint32Array,
  targets: Int32Array,
): void {
  const from = window * sequenceLength, to = row * sequenceLength;
  for (let t = 0; t < sequenceLength; t++) {
    inputs[to + t] = tokens[from + t];
    targets[to + t] = tokens[from + t + 1];
  }
}

/** Sequences to evaluate on; the arrays are only valid until the next batch is asked for. */
export interface EvaluationBatch {
  /** [B, T]. */
  readonly inputs: Uint32Array<ArrayBuffer>;
  /** [B, T]. */
  readonly targets: Int32Array<ArrayBuffer>;
  readonly unmaskedTargets: number;
}

/**
 * The windows of the held-out tokens, once each and in order. All batches have the same size: rows of the last one that
 * have no window are token 0 with masked targets.
 *
 * @param maxSequences Stops after so many windows.
 * @throws InputError when there is not one whole window.
 */
export function* heldOutBatches(
  tokens: Uint32Array,
  { sequenceLength, microBatchSize, maxSequences = Infinity }: {
    sequenceLength: number;
    microBatchSize: number;
    maxSequences?: number;
  },
): Generator<EvaluationBatch> {
  requireWindow("held-out", tokens.length, tokens.length, sequenceLength);
  const windowCount = Math.min(maxSequences, countWindows(tokens.length, sequenceLength));
  const inputs = new Uint32Array(microBatchSize * sequenceLength);
  const targets = new Int32Array(microBatchSize * sequenceLength);
  for (let firstWindow = 0; firstWindow < windowCount; firstWindow += microBatchSize) {
    const rowCount = Math.min(microBatchSize, windowCount - firstWindow);
    for (let row = 0; row < rowCount; row++) {
      copyWindow(tokens, firstWindow + row, sequenceLength, row, inputs, targets);
    }
    inputs.fill(0, rowCount * sequenceLength);
    targets.fill(MASKED_TARGET, rowCount * sequenceLength);
    yield { inputs, targets, unmaskedTargets: rowCount * sequenceLength };
  }
}

/**
 * Sorts positions by the token at them, so that the gradient of an embedding can be summed token by token in a fixed
 * order. Owns its scratch memory: one sorter per micro-batch shape, no allocation per sort.
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
   * Fills `order` [N] with the positions 0 … N − 1, those of smaller tokens first and those of equal tokens in ascending
   * order. Radix sort by the bytes of the token, low to high: N·(bytes of the vocabulary size), whatever its size.
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
