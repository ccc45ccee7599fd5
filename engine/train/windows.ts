import { InputError } from "../input_error.ts";
import type { Layout } from "./layout.ts";
import { requireFraction, type Sequences, type Split } from "./sequences.ts";

/**
 * Whole windows of T inputs, with targets one further, in N tokens: neighbours
 * share the one token at their border.
 */
export function countWindows(tokenCount: number, sequenceLength: number): number {
  return Math.max(0, Math.floor((tokenCount - 1) / sequenceLength));
}

/**
 * Windows of a stream of tokens: window w has the inputs `tokens[w·T, w·T + T)` and the targets one further.
 *
 * @param what The data, as the error names it.
 * @throws {InputError} when there is not one whole window.
 */
export function nextTokenWindows(tokens: Uint32Array, sequenceLength: number, what = "training"): Sequences {
  requireWindow(what, tokens.length, tokens.length, sequenceLength);
  return {
    sequenceLength,
    count: countWindows(tokens.length, sequenceLength),
    counts: () => ({ targets: sequenceLength, tokens: sequenceLength }),
    write(index, row, into) {
      const from = index * sequenceLength, to = row * sequenceLength;
      for (let t = 0; t < sequenceLength; t++) {
        into.tokens[to + t] = tokens[from + t];
        into.targets[to + t] = tokens[from + t + 1];
      }
    },
  };
}

/**
 * Next-token windows of a stream, split by position: the last `heldOutFraction` of the tokens is held out,
 * and shares no token with the training part.
 *
 * @param heldOutFraction At least 0, which holds nothing out, and below 1.
 * @throws {InputError} when a part has less than one window of `sequenceLength` tokens and their targets.
 */
export function splitWindows(
  tokens: Uint32Array,
  { sequenceLength, heldOutFraction }: { sequenceLength: number; heldOutFraction: number },
): Split {
  requireFraction(heldOutFraction);
  const heldOutCount = Math.floor(tokens.length * heldOutFraction);
  const trainingCount = tokens.length - heldOutCount;
  requireWindow("training", trainingCount, tokens.length, sequenceLength);
  if (heldOutFraction > 0) requireWindow("held-out", heldOutCount, tokens.length, sequenceLength);
  return {
    training: nextTokenWindows(tokens.subarray(0, trainingCount), sequenceLength),
    heldOut: heldOutFraction === 0
      ? null
      : nextTokenWindows(tokens.subarray(trainingCount), sequenceLength, "held-out"),
  };
}

function requireWindow(part: string, partCount: number, total: number, sequenceLength: number): void {
  if (partCount >= sequenceLength + 1) return;
  throw new InputError(
    `Cannot make a window from ${partCount} ${part} tokens (of ${total} in all): ` +
      `sequence length ${sequenceLength} needs at least ${sequenceLength + 1}`,
  );
}

/**
 * A stream cut into whole windows that have no targets yet, each between the
 * tokens that a model wants around a text.
 *
 * @throws {InputError} when there is not one whole window.
 */
export function windowLayout(
  tokens: Uint32Array,
  { sequenceLength, start, end, what }: {
    sequenceLength: number;
    /** Tokens before and after each window's own. */
    start: readonly number[];
    end: readonly number[];
    what: string;
  },
): Layout {
  const own = sequenceLength - start.length - end.length;
  const count = own > 0 ? Math.floor(tokens.length / own) : 0;
  if (count === 0) {
    throw new InputError(
      `Cannot make a window of ${what} from its ${tokens.length} tokens: sequence length ${sequenceLength} needs ` +
        `${Math.max(own, 1)} and has room for ${Math.max(own, 0)}`,
    );
  }
  return {
    sequenceLength,
    count,
    tokenCount: () => sequenceLength,
    place(index, row, { tokens: into }) {
      const to = row * sequenceLength;
      into.set(start, to);
      into.set(tokens.subarray(index * own, (index + 1) * own), to + start.length);
      into.set(end, to + start.length + own);
    },
  };
}
