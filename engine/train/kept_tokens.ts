import { createHash } from "node:crypto";
import { join } from "node:path";
import { type Merge, modelOfMerges, trainMerges } from "../formats/bpe.ts";
import { writeTextAtomically } from "../formats/output_file.ts";
import { bpeTokenizer, gpt2Tokenizer, type Tokenizer } from "../formats/tokenizer.ts";
import { cacheFolder } from "../runtime/cache_folder.ts";
import type { TextData } from "./corpus.ts";

/** A text in tokens, and the tokenizer that encodes it. */
export interface TokenizedText {
  tokenizer: Tokenizer;
  tokens: Uint32Array<ArrayBuffer>;
}

/** A text, with its SHA-256 in hexadecimal. */
type HashedText = Pick<TextData, "text" | "sha256">;

/** Version of the files: to be raised when merges are trained, or text is encoded, in another way. Files of others are not read. */
const FORMAT = 1;

/** Texts shorter than this are encoded in less time than a file takes. */
const LEAST_CHARACTERS = 2 ** 16;

/** Where tokens are kept. */
const defaultFolder = () => join(cacheFolder(), "tokens");

/**
 * Byte-pair encoding trained on a text, and its tokens, from the cache folder where they were made before: every cell of a
 * benchmark has the same text, and making them takes longer than some cells train. What is wrong with a file costs time, never a run.
 *
 * @param folder Where to keep them; default: `tokens` in the cache folder.
 */
export async function tokenizedByBpe(
  data: HashedText,
  vocabularySize: number,
  folder = defaultFolder(),
): Promise<TokenizedText> {
  let tokenizer: Tokenizer | undefined;
  const { merges, tokens } = await kept(
    data,
    join(folder, `bpe${vocabularySize}-${data.sha256}.json`),
    () => {
      const model = trainMerges(data.text, vocabularySize);
      tokenizer = bpeTokenizer(vocabularySize, model);
      return { merges: model.merges, tokens: Array.from(tokenizer.encode(data.text)) };
    },
  );
  tokenizer ??= bpeTokenizer(vocabularySize, modelOfMerges(merges));
  return { tokenizer, tokens: Uint32Array.from(tokens) };
}

/** The same with GPT-2's tokenizer. */
export async function tokenizedByGpt2(data: HashedText, folder = defaultFolder()): Promise<TokenizedText> {
  const tokenizer = await gpt2Tokenizer();
  const { tokens } = await kept(data, join(folder, `gpt2-${data.sha256}.json`), () => {
    return { merges: [], tokens: Array.from(tokenizer.encode(data.text)) };
  });
  return { tokenizer, tokens: Uint32Array.from(tokens) };
}

/** What a file holds, or what `make` gives, which is then kept. */
async function kept({ text }: HashedText, path: string, make: () => Kept): Promise<Kept> {
  const worthwhile = text.length >= LEAST_CHARACTERS;
  const found = worthwhile ? await readKept(path) : null;
  if (found) return found;
  const made = make();
  if (worthwhile) await keep(path, made);
  return made;
}

interface Kept {
  /** Of a tokenizer that was trained on the text. */
  merges: readonly Merge[];
  tokens: readonly number[];
}

/** What a file holds; null where it is missing, unreadable or not whole. */
async function readKept(path: string): Promise<Kept | null> {
  try {
    const { format, check, merges, tokens } = JSON.parse(await Deno.readTextFile(path));
    return format === FORMAT && check === checkOf({ merges, tokens }) ? { merges, tokens } : null;
  } catch {
    return null;
  }
}

/** A cache that cannot be written is no reason not to train. */
async function keep(path: string, kept: Kept): Promise<void> {
  try {
    await Deno.mkdir(join(path, ".."), { recursive: true });
    await writeTextAtomically(path, JSON.stringify({ format: FORMAT, check: checkOf(kept), ...kept }));
  } catch {
    // The next run makes them again.
  }
}

function checkOf({ merges, tokens }: Kept): string {
  return createHash("sha256").update(JSON.stringify([merges, tokens])).digest("hex");
}
