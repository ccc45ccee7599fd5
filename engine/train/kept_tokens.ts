import { type Merge, modelOfMerges, trainMerges } from "../formats/bpe.ts";
import { writeTextAtomically } from "../formats/output_file.ts";
import { bpeTokenizer, type Tokenizer } from "../formats/tokenizer.ts";
import { cacheFolder, disk, join, sha256 as hashOf } from "../host.ts";
import type { TextData } from "./corpus.ts";

/** A text in tokens, and the tokenizer that was trained on it. */
export interface TokenizedText {
  tokenizer: Tokenizer;
  tokens: Uint32Array<ArrayBuffer>;
}

/** A text, with its SHA-256 in hexadecimal. */
type HashedText = Pick<TextData, "text" | "sha256">;

/**
 * Version of the files: to be raised when merges are trained, or text is encoded,
 * in another way. Files of others are not read.
 */
const FORMAT = 2;

/** Texts shorter than this are encoded in less time than a file takes. */
const LEAST_CHARACTERS = 2 ** 16;
/** Texts longer than this would make files of hundreds of megabytes. */
const MOST_CHARACTERS = 2 ** 26;

/** Where tokens are kept, and of which texts. */
export interface KeepSettings {
  /** Default: `tokens` in the cache folder. */
  folder?: string;
  mostCharacters?: number;
}

/**
 * Byte-pair encoding trained on a text, and its tokens, from the cache folder where they were made before:
 * every cell of a benchmark has the same text, and making them takes longer than some cells train. What is
 * wrong with a file costs time, never a run.
 */
export async function tokenizedByBpe(
  data: HashedText,
  vocabularySize: number,
  settings: KeepSettings = {},
): Promise<TokenizedText> {
  let tokenizer: Tokenizer | undefined;
  const { merges, tokens } = await kept(data, `bpe${vocabularySize}`, settings, () => {
    const model = trainMerges(data.text, vocabularySize);
    tokenizer = bpeTokenizer(vocabularySize, model);
    return { merges: model.merges, tokens: tokenizer.encode(data.text) };
  });
  tokenizer ??= bpeTokenizer(vocabularySize, modelOfMerges(merges));
  return { tokenizer, tokens };
}

/** A text in GPT-2's tokens, likewise. @param tokenizer GPT-2's. */
export async function tokensOfGpt2(
  data: HashedText,
  tokenizer: Tokenizer,
  settings: KeepSettings = {},
): Promise<Uint32Array<ArrayBuffer>> {
  const { tokens } = await kept(data, "gpt2", settings, () => {
    return { merges: [], tokens: tokenizer.encode(data.text) };
  });
  return tokens;
}

/** What a file holds: the merges of a tokenizer that was trained on the text, and the text in its tokens. */
interface Kept {
  merges: readonly Merge[];
  tokens: Uint32Array<ArrayBuffer>;
}

/** What was kept, or what `make` gives, which is then kept. */
async function kept(
  { text, sha256 }: HashedText,
  name: string,
  { folder = join(cacheFolder(), "tokens"), mostCharacters = MOST_CHARACTERS }: KeepSettings,
  make: () => Kept,
): Promise<Kept> {
  if (text.length < LEAST_CHARACTERS || text.length > mostCharacters) return make();
  const path = join(folder, `${name}-${sha256}.json`);
  const found = await readKept(path);
  if (found) return found;
  const made = make();
  await keep(path, made);
  return made;
}

/** What a file holds; null where it is missing, unreadable or not whole. */
async function readKept(path: string): Promise<Kept | null> {
  try {
    const { format, check, merges, tokens } = JSON.parse(await disk.readTextFile(path));
    return format === FORMAT && check === checkOf({ merges, tokens })
      ? { merges, tokens: Uint32Array.from(tokens) }
      : null;
  } catch {
    return null;
  }
}

/** A cache that cannot be written is no reason not to train. */
async function keep(path: string, { merges, tokens }: Kept): Promise<void> {
  try {
    const listed = { merges, tokens: Array.from(tokens) };
    await disk.mkdir(join(path, ".."), { recursive: true });
    await writeTextAtomically(path, JSON.stringify({ format: FORMAT, check: checkOf(listed), ...listed }));
  } catch {
    // The next run makes them again.
  }
}

function checkOf({ merges, tokens }: { merges: readonly Merge[]; tokens: readonly number[] }): string {
  return hashOf(JSON.stringify([merges, tokens])).toHex();
}
