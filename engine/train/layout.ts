import type { Random } from "./random.ts";
import { keyedRandom } from "./random.ts";
import { PADDING_SEGMENT } from "../../kernels/attention_shapes.ts";
import { type BatchArrays, MASKED_TARGET, type Sequences } from "./sequences.ts";

/** Sequences before it is said what is to be predicted of them. */
export interface Layout {
  /** T. */
  readonly sequenceLength: number;
  readonly count: number;
  /** Tokens of a sequence that are not padding. */
  tokenCount(index: number): number;
  /** Writes all of a sequence but its targets into row `row`. */
  place(index: number, row: number, into: Omit<BatchArrays, "targets">): void;
}

/** Sequences with one target each: the number of their label. @param labels One a sequence. */
export function labelledSequences(layout: Layout, labels: ArrayLike<number>): Sequences {
  return {
    sequenceLength: layout.sequenceLength,
    count: layout.count,
    counts: (index) => ({ targets: 1, tokens: layout.tokenCount(index) }),
    write(index, row, into) {
      layout.place(index, row, into);
      into.targets[row] = labels[index];
    },
  };
}

/** What hiding tokens depends on. */
export interface MaskSettings {
  seed: number;
  /** Id of `[MASK]`. */
  maskToken: number;
  /** Tokens that are never hidden: those that mark the start and end of a text. */
  specialTokens: ReadonlySet<number>;
  /** Random tokens are below it. */
  vocabularySize: number;
}

/** Of the tokens of a sequence, so many are to be predicted. */
const PREDICTED_SHARE = 0.15;
/**
 * Of those, so many are shown as `[MASK]`, and so many up to here as a random
 * token; the rest is shown as it is.
 */
const MASKED_SHARE = 0.8;
const REPLACED_UP_TO = 0.9;

/**
 * Sequences in which some tokens are hidden and to be predicted. Devlin et al. 2018, arXiv:1810.04805,
 * section 3.1: 15 % of the tokens, rounded and at least one; 80 % of those become `[MASK]`, 10 % a random
 * token and 10 % stay. Every pass over the data hides others (Liu et al. 2019, arXiv:1907.11692), which
 * depend on seed, pass and sequence alone.
 */
export function hiddenTokenSequences(layout: Layout, settings: MaskSettings): Sequences {
  const { sequenceLength, count } = layout;
  const scratch = emptyBatch(1, sequenceLength);
  const candidates = (into: BatchArrays, row: number): number[] => {
    const places = [];
    for (let at = row * sequenceLength; at < (row + 1) * sequenceLength; at++) {
      const hideable = into.segments[at] !== PADDING_SEGMENT && !settings.specialTokens.has(into.tokens[at]);
      if (hideable) places.push(at);
    }
    return places;
  };
  return {
    sequenceLength,
    count,
    counts(index) {
      layout.place(index, 0, scratch);
      return {
        targets: predictedCount(candidates(scratch, 0).length),
        tokens: layout.tokenCount(index),
      };
    },
    write(index, row, into, draw) {
      layout.place(index, row, into);
      into.targets.fill(MASKED_TARGET, row * sequenceLength, (row + 1) * sequenceLength);
      const random = keyedRandom(settings.seed, `hidden tokens, ${draw}, sequence ${index}`);
      const places = candidates(into, row);
      const predicted = predictedCount(places.length);
      for (let i = 0; i < predicted; i++) {
        const at = takeRandom(places, i, random);
        into.targets[at] = into.tokens[at];
        const share = random.uniform();
        if (share < MASKED_SHARE) into.tokens[at] = settings.maskToken;
        else if (share < REPLACED_UP_TO) into.tokens[at] = random.below(settings.vocabularySize);
      }
    },
  };
}

function predictedCount(candidates: number): number {
  return candidates === 0 ? 0 : Math.max(1, Math.round(PREDICTED_SHARE * candidates));
}

/**
 * Swaps a random one of the items from `i` on to place `i` and returns it: a shuffle, as far as it is needed.
 */
function takeRandom(items: number[], i: number, random: Random): number {
  const j = i + random.below(items.length - i);
  [items[i], items[j]] = [items[j], items[i]];
  return items[i];
}

/** Arrays of a batch of `rows` sequences with a target per token. */
export function emptyBatch(rows: number, sequenceLength: number): BatchArrays {
  const ids = () => new Uint32Array(rows * sequenceLength);
  return {
    tokens: ids(),
    targets: new Int32Array(rows * sequenceLength),
    tokenTypes: ids(),
    segments: ids(),
    positions: ids(),
  };
}
