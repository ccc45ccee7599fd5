import { basename, disk, join } from "../host.ts";
import { InputError } from "../input_error.ts";
import {
  BpeEncoder,
  type BpeModel,
  BYTE_ORDER,
  bytesToPrintable,
  type Merge,
  printableToBytes,
  trainMerges,
} from "./bpe.ts";
import { decodeUtf8, inputExists, readInput, readJsonInput } from "./input_file.ts";
import { describeJson, isJsonObject } from "./json.ts";
import { libraryDefinition, withoutSpaceAround } from "./library_definition.ts";
import { writeTextAtomically } from "./output_file.ts";

/**
 * Text to token ids and back. `decode(encode(text))` is `text`, but that half a
 * surrogate pair becomes U+FFFD.
 */
export interface Tokenizer {
  /** Names the tokenizer in records. */
  readonly name: string;
  /** All ids are below it. */
  readonly vocabularySize: number;
  /** Token ids of a text, without any that mark its start or end. */
  encode(text: string): Uint32Array<ArrayBuffer>;
  /**
   * Text of token ids; bytes that are not UTF-8 become U+FFFD. Throws RangeError for an id that is no token.
   */
  decode(ids: Iterable<number>): string;
  /** What a model folder carries of the tokenizer, in the format of Hugging Face. */
  files(): TokenizerFiles;
}

/** Contents of `tokenizer.json` and `tokenizer_config.json`. */
export interface TokenizerFiles {
  readonly tokenizer: Record<string, unknown>;
  readonly config: Record<string, unknown>;
}

/** The 256 bytes of UTF-8, each its own id. */
export function byteTokenizer(name = "byte"): Tokenizer {
  return {
    name,
    vocabularySize: 256,
    encode: (text) => Uint32Array.from(utf8.encode(text)),
    decode(ids) {
      const bytes = Array.from(ids);
      for (const id of bytes) if (!(id in BYTES)) throw notAToken(name, id);
      return decodeText(Uint8Array.from(bytes));
    },
    files: () => bpeFiles({ tokenBytes: BYTES, merges: [] }, new Map()),
  };
}

/**
 * GPT-2's 50257 tokens. The text `<|endoftext|>` is token 50256, as in Hugging Face's tokenizer of GPT-2.
 *
 * Source: the r50k_base vocabulary, from npm:gpt-tokenizer, which is loaded when this is called.
 */
export async function gpt2Tokenizer(): Promise<Tokenizer> {
  const { default: vocabulary } = await import("gpt-tokenizer/bpeRanks/r50k_base");
  const tokenBytes = vocabulary.map((token) =>
    typeof token === "string" ? utf8.encode(token) : Uint8Array.from(token)
  );
  const special = new Map([["<|endoftext|>", tokenBytes.length]]);
  let merges: readonly Merge[] | undefined;
  const model: BpeModel = {
    tokenBytes,
    // Half a second's work, which nobody waits for who only decodes, or has the text in tokens already.
    get merges() {
      return merges ??= recoverMerges(tokenBytes);
    },
  };
  return new BpeTokenizer("gpt2", model, special);
}

/**
 * Trains byte-pair encoding on a text, deterministically; see `trainMerges`. A short text gives fewer tokens.
 */
export function trainBpe(text: string, vocabularySize: number): Tokenizer {
  return bpeTokenizer(vocabularySize, trainMerges(text, vocabularySize));
}

/** The tokenizer of merges that were trained for a size. */
export function bpeTokenizer(vocabularySize: number, model: BpeModel): Tokenizer {
  return new BpeTokenizer(`bpe-${vocabularySize}`, model, new Map());
}

/**
 * The tokenizer in a folder: `tokenizer.json` and, if there is one, `tokenizer_config.json`, in the format of
 * Hugging Face. Byte-level BPE, which is what GPT-2 has and this project writes, is encoded here; the rest by
 * npm:@huggingface/tokenizers.
 *
 * @throws InputError when the files are missing or broken.
 */
export async function tokenizerFromFolder(folder: string): Promise<Tokenizer> {
  const path = join(folder, "tokenizer.json");
  const configPath = join(folder, "tokenizer_config.json");
  const files = {
    tokenizer: await readJsonInput(path),
    config: await inputExists(configPath) ? await readJsonInput(configPath) : {},
  };
  const name = basename(folder);
  const template = join(folder, "chat_template.jinja");
  if (await inputExists(template)) {
    files.config.chat_template = decodeUtf8(await readInput(template), template);
  }
  const own = byteLevelBpe(name, files.tokenizer, path);
  // As it was read: what it says of special tokens and chats is no part of the encoder.
  return own ? Object.assign(own, { files: () => files }) : await huggingFaceTokenizer(name, files, path);
}

/** Writes `tokenizer.json` and `tokenizer_config.json` into a folder, which is made if there is none. */
export async function saveTokenizer(folder: string, tokenizer: Tokenizer): Promise<void> {
  const { tokenizer: definition, config } = tokenizer.files();
  await disk.mkdir(folder, { recursive: true });
  await writeTextAtomically(join(folder, "tokenizer.json"), JSON.stringify(definition) + "\n");
  await writeTextAtomically(join(folder, "tokenizer_config.json"), JSON.stringify(config, null, 2) + "\n");
}

const utf8 = new TextEncoder();
const BYTES: readonly Uint8Array[] = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));

function decodeText(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

function notAToken(tokenizerName: string, id: number): RangeError {
  return new RangeError(`Cannot decode token ${id}: the tokenizer ${tokenizerName} has no such id`);
}

class BpeTokenizer implements Tokenizer {
  readonly name: string;
  readonly vocabularySize: number;
  #model: BpeModel;
  /** Ids of texts that are one token wherever they are, whatever the merges say. */
  #special: ReadonlyMap<string, number>;
  #encoder: BpeEncoder | null = null; // made when something is encoded
  #decodeTable: Uint8Array[];

  constructor(name: string, model: BpeModel, special: ReadonlyMap<string, number>) {
    this.name = name;
    this.#model = model;
    this.#special = special;
    this.#decodeTable = [...model.tokenBytes];
    for (const [text, id] of special) this.#decodeTable[id] = utf8.encode(text);
    this.vocabularySize = this.#decodeTable.length;
  }

  encode(text: string): Uint32Array<ArrayBuffer> {
    const encoder = this.#encoder ??= new BpeEncoder(this.#model);
    const ids: number[] = [];
    for (const part of this.#split(text)) {
      const special = this.#special.get(part);
      if (special !== undefined) ids.push(special);
      else encoder.encodeInto(part, ids);
    }
    return Uint32Array.from(ids);
  }

  decode(ids: Iterable<number>): string {
    const parts = Array.from(ids, (id) => {
      const bytes = this.#decodeTable[id];
      if (bytes === undefined) throw notAToken(this.name, id);
      return bytes;
    });
    const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
    let end = 0;
    for (const part of parts) {
      joined.set(part, end);
      end += part.length;
    }
    return decodeText(joined);
  }

  files(): TokenizerFiles {
    return bpeFiles(this.#model, this.#special);
  }

  /** The text in pieces, each either a special token or free of them. */
  #split(text: string): string[] {
    if (this.#special.size === 0) return [text];
    const longestFirst = [...this.#special.keys()].sort((a, b) => b.length - a.length);
    return text.split(new RegExp(`(${longestFirst.map((special) => RegExp.escape(special)).join("|")})`));
  }
}

/**
 * The merges that a vocabulary in the order of its training came from: each token is two tokens before it.
 */
function recoverMerges(tokenBytes: readonly Uint8Array[]): Merge[] {
  const singleBytes = BYTE_ORDER.length;
  const merges: Merge[] = [];
  const encoder = new BpeEncoder({ tokenBytes: tokenBytes.slice(0, singleBytes), merges: [] });
  for (let merged = singleBytes; merged < tokenBytes.length; merged++) {
    const [left, right] = encoder.encodeBytes(tokenBytes[merged]);
    merges.push({ left, right, merged });
    encoder.addMerge({ left, right, merged });
  }
  return merges;
}

/**
 * A byte-level BPE in the format of Hugging Face; special tokens are matched in
 * the text before anything else.
 */
function bpeFiles({ tokenBytes, merges }: BpeModel, special: ReadonlyMap<string, number>): TokenizerFiles {
  const printable = tokenBytes.map(bytesToPrintable);
  const vocabulary: [string, number][] = printable.map((text, id) => [text, id]);
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const [endOfText] = special.keys();
  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: Array.from(special, ([content, id]) => ({ id, content, ...flags })),
      normalizer: null,
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      post_processor: null,
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab: Object.fromEntries([...vocabulary, ...special]),
        // One string per merge: readers of every version know this form, and no token contains a space.
        merges: merges.map(({ left, right }) => `${printable[left]} ${printable[right]}`),
      },
    },
    config: {
      tokenizer_class: "PreTrainedTokenizerFast",
      clean_up_tokenization_spaces: false,
      ...(endOfText === undefined
        ? {}
        : { bos_token: endOfText, eos_token: endOfText, unk_token: endOfText }),
    },
  };
}

/**
 * The tokenizer of a `tokenizer.json`, or null when it is anything else than
 * byte-level BPE over all 256 bytes.
 */
function byteLevelBpe(name: string, definition: Record<string, unknown>, path: string): Tokenizer | null {
  const { normalizer, pre_tokenizer: words, decoder, model, added_tokens: added = [] } = definition;
  if (normalizer || !isJsonObject(words) || !isJsonObject(decoder) || !isJsonObject(model)) return null;
  if (words.type !== "ByteLevel" || words.add_prefix_space || words.use_regex === false) return null;
  if (decoder.type !== "ByteLevel" || model.type !== "BPE") return null;
  const options = [
    "dropout",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "byte_fallback",
    "ignore_merges",
  ];
  if (options.some((option) => model[option])) return null;
  const special = parseSpecialTokens(added);
  const parsed = special && parseModel(model, special, path);
  if (!special || !parsed) return null;
  const isBytes = parsed.merges.length === 0 && special.size === 0 &&
    parsed.tokenBytes.every((bytes, id) => bytes.length === 1 && bytes[0] === id);
  return isBytes ? byteTokenizer(name) : new BpeTokenizer(name, parsed, special);
}

/** Null when a token is matched in any way but literally. */
function parseSpecialTokens(added: unknown): Map<string, number> | null {
  if (!Array.isArray(added)) return null;
  const special = new Map<string, number>();
  for (const token of added) {
    if (
      !isJsonObject(token) || !isTokenId(token.id) || typeof token.content !== "string" ||
      token.content === ""
    ) return null;
    if (token.single_word || token.lstrip || token.rstrip) return null;
    special.set(token.content, token.id);
  }
  return special;
}

function parseModel(
  model: Record<string, unknown>,
  special: ReadonlyMap<string, number>,
  path: string,
): BpeModel | null {
  if (!isJsonObject(model.vocab) || !Array.isArray(model.merges)) {
    throw new InputError(`Cannot read ${path}: expected an object in model.vocab and a list in model.merges`);
  }
  const vocabulary = new Map(Object.entries(model.vocab).filter(([text]) => !special.has(text)));
  const tokenBytes: Uint8Array[] = [];
  for (const [text, id] of vocabulary) {
    if (!isTokenId(id)) {
      throw new InputError(
        `Cannot read ${path}: token ${JSON.stringify(text)} has id ${
          describeJson(id)
        }, expected a whole number`,
      );
    }
    if (tokenBytes[id]) {
      throw new InputError(`Cannot read ${path}: two tokens in model.vocab have the id ${id}`);
    }
    const bytes = printableToBytes(text);
    if (bytes === undefined) return null;
    tokenBytes[id] = bytes;
  }
  if (!BYTES.every((byte) => vocabulary.has(bytesToPrintable(byte)))) return null;
  const merges = model.merges.map((merge: unknown) => {
    const [left, right] = Array.isArray(merge) ? merge : String(merge).split(" ");
    const ids = [left, right, left + right].map((text) => vocabulary.get(text));
    if (ids.every(isTokenId)) return { left: ids[0], right: ids[1], merged: ids[2] };
    throw new InputError(
      `Cannot read ${path}: merge ${describeJson(merge)} is not of two tokens in model.vocab to a third`,
    );
  });
  return { tokenBytes, merges };
}

/** Ids are array indices here, so one absurd id must not make an absurd array. */
function isTokenId(id: unknown): id is number {
  return Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) < 2 ** 24;
}

async function huggingFaceTokenizer(name: string, files: TokenizerFiles, path: string): Promise<Tokenizer> {
  const library = await import("@huggingface/tokenizers");
  const { tokenizer, ids } = explaining(path, () => {
    // Two settings of old slow tokenizers, by which the library would change
    // texts before all that tokenizer.json says.
    const { remove_space: _space, do_lowercase_and_remove_accent: _case, ...config } = files.config;
    const tokenizer = new library.Tokenizer(libraryDefinition(files.tokenizer), config);
    return { tokenizer, ids: [...tokenizer.get_vocab(true).values()] };
  });
  const prepared = withoutSpaceAround(files.tokenizer) ?? ((text: string) => text);
  return {
    name,
    vocabularySize: ids.reduce((largest, id) => Math.max(largest, id), -1) + 1,
    encode: (text) => Uint32Array.from(tokenizer.encode(prepared(text), { add_special_tokens: false }).ids),
    decode(ids) {
      const known = Array.from(ids);
      for (const id of known) if (tokenizer.id_to_token(id) === undefined) throw notAToken(name, id);
      if (known.length === 0) return ""; // the library refuses an empty list
      return tokenizer.decode(known, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
    },
    files: () => files,
  };
}

/**
 * The library checks little of what it reads and throws errors of many kinds; all of them mean a broken file.
 */
function explaining<T>(path: string, build: () => T): T {
  try {
    return build();
  } catch (error) {
    throw new InputError(`Cannot read ${path} as a tokenizer: ${(error as Error).message}`);
  }
}
