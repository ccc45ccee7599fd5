import { PADDING_SEGMENT } from "../../kernels/attention_shapes.ts";
import type { Layout } from "./layout.ts";
import { MASKED_TARGET, type Sequences } from "./sequences.ts";

/** A text that stands for itself, in tokens. */
export interface Document {
  readonly tokens: Uint32Array;
  /**
   * 1 for tokens to be predicted, 0 for those of a prompt; null: all of them. The
   * first token is never predicted.
   */
  readonly trained: Uint8Array | null;
  /** Where the second of two texts begins; absent where there is one. */
  readonly secondText?: number;
  /** Where it comes from, as errors name it: `notes.jsonl:17`. */
  readonly place: string;
}

/** Documents that share a sequence. */
export type Bin = readonly Document[];

/** Each document in a sequence of its own. */
export function oneDocumentEach(documents: readonly Document[]): Bin[] {
  return documents.map((document) => [document]);
}

/**
 * Puts documents together so that few tokens of a sequence stay empty: best-fit decreasing, which takes the
 * longest first and puts each where it leaves the least room (Johnson et al. 1974, doi:10.1137/0203025). Bins
 * are in the order of their first documents, and the documents of a bin in the order given.
 *
 * @param documents None longer than `sequenceLength`.
 */
export function packDocuments(documents: readonly Document[], sequenceLength: number): Bin[] {
  const byLength = documents.map((_, i) => i).sort((a, b) =>
    documents[b].tokens.length - documents[a].tokens.length || a - b
  );
  const bins: number[][] = [];
  /** Bins by the room they have left. */
  const withRoom: number[][] = Array.from({ length: sequenceLength + 1 }, () => []);
  for (const i of byLength) {
    const { length } = documents[i].tokens;
    let room = length;
    while (room <= sequenceLength && withRoom[room].length === 0) room++;
    const bin = room <= sequenceLength ? withRoom[room].pop()! : bins.push([]) - 1;
    bins[bin].push(i);
    withRoom[(room <= sequenceLength ? room : sequenceLength) - length].push(bin);
  }
  for (const bin of bins) bin.sort((a, b) => a - b);
  return bins.sort(([a], [b]) => a - b).map((bin) => bin.map((i) => documents[i]));
}

/**
 * Documents side by side, the rest of each sequence padded with token 0. Positions
 * and segments start again with every document; padding goes on counting, so that
 * the positions of a single document are those of a full sequence.
 */
export function documentLayout(bins: readonly Bin[], sequenceLength: number): Layout {
  return {
    sequenceLength,
    count: bins.length,
    tokenCount: (index) => tokenCount(bins[index]),
    place(index, row, { tokens, tokenTypes, segments, positions }) {
      const end = (row + 1) * sequenceLength;
      let at = row * sequenceLength;
      let start = at;
      tokens.fill(0, at, end);
      tokenTypes.fill(0, at, end);
      segments.fill(PADDING_SEGMENT, at, end);
      for (const [segment, document] of bins[index].entries()) {
        start = at;
        tokens.set(document.tokens, at);
        segments.fill(segment, at, at += document.tokens.length);
        if (document.secondText !== undefined) tokenTypes.fill(1, start + document.secondText, at);
        for (let t = start; t < at; t++) positions[t] = t - start;
      }
      for (; at < end; at++) positions[at] = at - start;
    },
  };
}

/** Documents in which every token is to be predicted from those before it in the same document. */
export function nextTokenDocuments(bins: readonly Bin[], sequenceLength: number): Sequences {
  const layout = documentLayout(bins, sequenceLength);
  const targetCounts = bins.map((bin) => bin.reduce((sum, document) => sum + targetCount(document), 0));
  return {
    sequenceLength,
    count: bins.length,
    counts: (index) => ({ targets: targetCounts[index], tokens: layout.tokenCount(index) }),
    write(index, row, into) {
      layout.place(index, row, into);
      let at = row * sequenceLength;
      into.targets.fill(MASKED_TARGET, at, at + sequenceLength);
      for (const { tokens, trained } of bins[index]) {
        for (let t = 1; t < tokens.length; t++) {
          if (trained === null || trained[t]) into.targets[at + t - 1] = tokens[t];
        }
        at += tokens.length;
      }
    },
  };
}

/** Tokens of a document that are predicted. */
export function targetCount({ tokens, trained }: Document): number {
  if (trained === null) return Math.max(0, tokens.length - 1);
  return trained.subarray(1).reduce((sum, one) => sum + one, 0);
}

function tokenCount(bin: Bin): number {
  return bin.reduce((sum, { tokens }) => sum + tokens.length, 0);
}
