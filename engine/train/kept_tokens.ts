import { createHash } from "node:crypto";
import { join } from "node:path";
import { type Merge, modelOfMerges, trainMerges } from "../formats/bpe.ts";
import { writeTextAtomically } from "../formats/output_file.ts";
import { bpeTokenizer, type Tokenizer } from "../formats/tokenizer.ts";
import { cacheFolder } from "../runtime/cache_folder.ts";
import type { TextData } from "./corpus.ts";

/** A text in tokens, and the tokenizer that was trained on it. */
export interface TokenizedText {
  tokenizer: Tokenizer;
  tokens: Uint32Array<ArrayBuffer>;
}

/** Version of the files: to be raised when merges are trained, or text is encoded, in another way. Files of others are not read. */
const FORMAT = 1;

/** Texts shorter than this are encoded in less time than a file takes. */
const LEAST_CHARACTERS = 2 ** 16;

/**
 * Byte-pair encoding trained on a text, and its tokens, from the cache folder where they were made before: every cell of a
 * benchmark has the same text, and making them takes longer than some cells train. What is wrong with a file costs time, never a run.
 *
 * @param folder Where to keep them; default: `tokens` in the cache folder.
 */
export async function tokenizedByBpe(
  { text, sha256 }: Pick<TextData, "text" | "sha256">,
  vocabularySize: number,
  folder = join(cacheFolder(), "tokens"),
): Promise<TokenizedText> {
  const path = join(folder, `bpe${vocabularySize}-${sha256}.json`);
  const worthwhile = text.length >= LEAST_CHARACTERS;
  const kept = worthwhile ? await readKept(path) : null;
  if (kept) {
    return {
      tokenizer: bpeTokenizer(vocabularySize, modelOfMerges(kept.merges)),
      tokens: Uint32Array.from(kept.tokens),
    };
  }
  const model = trainMerges(text, vocabularySize);
  const tokenizer = bpeTokenizer(vocabularySize, model);
  const tokens = tokenizer.encode(text);
  if (worthwhile) await keep(path, { merges: model.merges, tokens: Array.from(tokens) });
  return { tokenizer, tokens };
}

interface Kept {
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
