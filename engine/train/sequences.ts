import { InputError } from "../input_error.ts";
import { keyedRandom } from "./random.ts";

/** A target that counts neither in the loss nor in its gradient, as in PyTorch. */
export const MASKED_TARGET = -100;

/** Arrays of a micro-batch, row after row. What a kind of data has no use for, it leaves as it is. */
export interface BatchArrays {
  /** Ids [B, T]. */
  readonly tokens: Uint32Array;
  /** [B, T], or [B] where a sequence has one target; `MASKED_TARGET` where nothing is to be predicted. */
  readonly targets: Int32Array;
  /** [B, T]: 0, or 1 in the second text of a pair. */
  readonly tokenTypes: Uint32Array;
  /** [B, T]: which document of its sequence a token belongs to; `PADDING_SEGMENT` at padding. */
  readonly segments: Uint32Array;
  /** [B, T]: places within the document. */
  readonly positions: Uint32Array;
}

/** How much there is in some sequences. */
export interface Counts {
  /** Targets that are not masked. */
  readonly targets: number;
  /** Tokens that are not padding. */
  readonly tokens: number;
}

/** Finitely many sequences of T tokens, padded where they have fewer. */
export interface Sequences {
  /** T. */
  readonly sequenceLength: number;
  readonly count: number;
  /** How much a sequence holds: the same however often and in whatever order sequences are taken. */
  counts(index: number): Counts;
  /**
   * Writes a sequence into row `row`.
   *
   * @param draw Names the pass over the data, such as `epoch 3`: what is random, such as hidden tokens,
   * depends on it, the seed and the index alone.
   */
  write(index: number, row: number, into: BatchArrays, draw: string): void;
}

/** Sequences to train on and, if a part was held out, to evaluate on. */
export interface Split {
  readonly training: Sequences;
  readonly heldOut: Sequences | null;
}

/** Sequences in a row of a batch have so many targets: T, or one. */
export function targetsPerRow({ tokens, targets }: BatchArrays, sequenceLength: number): number {
  return targets.length / (tokens.length / sequenceLength);
}

/** Where a run is in its data; JSON. */
export interface BatchState {
  /** Sequences taken since the start of the run. */
  readonly sequenceIndex: number;
}

/**
 * An endless series of sequences of T tokens. Which sequence has a given index depends on nothing else, so
 * that B sequences at once are the same as b at a time, B / b times.
 */
export interface BatchSource {
  readonly sequenceLength: number;
  /** Distinct sequences; after so many, an epoch, they come again. */
  readonly sequenceCount: number;
  /** How much the next `count` sequences hold, without taking them. */
  counts(count: number): Counts;
  /**
   * Fills the rows of a micro-batch with the next sequences. Throws RangeError
   * when the arrays have another length.
   */
  next(microBatchSize: number, into: BatchArrays): void;
  state(): BatchState;
  /** Continues from a sequence, as counted since the start of the run. */
  seek(sequenceIndex: number): void;
}

/**
 * Sequences for training. In order, the s-th is sequence s modulo their number.
 * Shuffled, each epoch e takes every sequence once, in the order of a Fisher–Yates
 * shuffle by `keyedRandom(seed, "epoch <e>")`: the same on every machine.
 */
export function trainingBatches(
  sequences: Sequences,
  { shuffle, seed }: { shuffle: boolean; seed: number },
): BatchSource {
  const { count: sequenceCount, sequenceLength } = sequences;
  const order = shuffle ? new ShuffledOrder(sequenceCount, seed) : { at: (s: number) => s % sequenceCount };
  let sequenceIndex = 0;
  return {
    sequenceLength,
    sequenceCount,
    counts: (count) =>
      sum(Array.from({ length: count }, (_, i) => sequences.counts(order.at(sequenceIndex + i)))),
    next(microBatchSize, into) {
      requireLength(into, microBatchSize, sequenceLength);
      for (let b = 0; b < microBatchSize; b++) {
        const epoch = Math.floor((sequenceIndex + b) / sequenceCount);
        sequences.write(order.at(sequenceIndex + b), b, into, `epoch ${epoch}`);
      }
      sequenceIndex += microBatchSize;
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

function sum(parts: readonly Counts[]): Counts {
  let [targets, tokens] = [0, 0];
  for (const part of parts) {
    targets += part.targets;
    tokens += part.tokens;
  }
  return { targets, tokens };
}

/** The sequences of an epoch in random order. Holds one epoch, and shuffles when another one is asked for. */
class ShuffledOrder {
  #order: Uint32Array;
  #seed: number;
  #epoch = -1;

  constructor(count: number, seed: number) {
    this.#order = new Uint32Array(count);
    this.#seed = seed;
  }

  at(sequenceIndex: number): number {
    const count = this.#order.length;
    const epoch = Math.floor(sequenceIndex / count);
    if (epoch !== this.#epoch) this.#shuffle(epoch);
    return this.#order[sequenceIndex % count];
  }

  #shuffle(epoch: number): void {
    const order = this.#order;
    const random = keyedRandom(this.#seed, `epoch ${epoch}`);
    // Every shuffle starts from the plain order, not from the epoch before: any epoch can be first.
    for (let i = 0; i < order.length; i++) order[i] = i;
    for (let i = order.length - 1; i > 0; i--) {
      const j = random.below(i + 1);
      const swapped = order[i];
      order[i] = order[j];
      order[j] = swapped;
    }
    this.#epoch = epoch;
  }
}

function requireLength(into: BatchArrays, microBatchSize: number, sequenceLength: number): void {
  const { tokens, targets } = into;
  const expected = microBatchSize * sequenceLength;
  if (tokens.length === expected && (targets.length === expected || targets.length === microBatchSize)) {
    return;
  }
  throw new RangeError(
    `Cannot fill ${tokens.length} tokens and ${targets.length} targets: ` +
      `expected ${microBatchSize} sequences of ${sequenceLength} tokens, ${expected}`,
  );
}

/**
 * Writes the first sequences, once each and in order, batch by batch; all batches have the same size: rows of
 * the last one that have no sequence are token 0 with masked targets.
 *
 * @param maxSequences Stops after so many.
 * @returns What each batch holds; the arrays are only valid until the next batch is asked for.
 */
export function* heldOutBatches(
  sequences: Sequences,
  into: BatchArrays,
  { microBatchSize, maxSequences = Infinity }: { microBatchSize: number; maxSequences?: number },
): Generator<Counts> {
  const { sequenceLength } = sequences;
  requireLength(into, microBatchSize, sequenceLength);
  const count = Math.min(maxSequences, sequences.count);
  for (let first = 0; first < count; first += microBatchSize) {
    const rows = Math.min(microBatchSize, count - first);
    for (let row = 0; row < rows; row++) sequences.write(first + row, row, into, "evaluation");
    into.tokens.fill(0, rows * sequenceLength);
    into.targets.fill(MASKED_TARGET, rows * targetsPerRow(into, sequenceLength));
    yield sum(Array.from({ length: rows }, (_, row) => sequences.counts(first + row)));
  }
}

/** Some of the sequences, from `first` on. */
export function part(sequences: Sequences, first: number, count: number): Sequences {
  return {
    sequenceLength: sequences.sequenceLength,
    count,
    counts: (index) => sequences.counts(first + index),
    write: (index, row, into, draw) => sequences.write(first + index, row, into, draw),
  };
}

/**
 * Splits sequences by position: the last `heldOutFraction` of them are held out.
 *
 * @param heldOutFraction At least 0, which holds nothing out, and below 1.
 * @throws {InputError} when a part has no sequence.
 */
export function splitSequences(
  sequences: Sequences,
  { heldOutFraction, what }: { heldOutFraction: number; what: string },
): Split {
  const heldOutCount = heldOutPart(sequences.count, heldOutFraction, what);
  const trainingCount = sequences.count - heldOutCount;
  return {
    training: part(sequences, 0, trainingCount),
    heldOut: heldOutCount === 0 ? null : part(sequences, trainingCount, heldOutCount),
  };
}

/** How many of `count` things at the end are held out. @throws {InputError} when a part has nothing. */
export function heldOutPart(count: number, heldOutFraction: number, what: string): number {
  requireFraction(heldOutFraction);
  const heldOutCount = Math.floor(count * heldOutFraction);
  if (heldOutFraction > 0 && heldOutCount === 0) {
    throw new InputError(`Cannot hold out ${heldOutFraction} of ${what}: that is less than one of ${count}`);
  }
  if (count - heldOutCount > 0) return heldOutCount;
  throw new InputError(`Cannot train on ${what}: ${count} in all leave none to train on`);
}

/** @throws {InputError} for anything but a number from 0 to below 1. */
export function requireFraction(heldOutFraction: number): void {
  if (heldOutFraction >= 0 && heldOutFraction < 1) return;
  throw new InputError(
    `Cannot hold out ${heldOutFraction} of the data: expected a fraction from 0 to below 1`,
  );
}
