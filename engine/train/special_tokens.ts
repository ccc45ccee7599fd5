import type { Tokenizer } from "../formats/tokenizer.ts";

/** Ids that mark places in a text rather than stand for a part of it; null where there is none. */
export interface SpecialTokens {
  /** `[CLS]` and `[SEP]`: stand before and after a text. */
  readonly classify: number | null;
  readonly separate: number | null;
  /** Whether two stand between two texts, as RoBERTa has them. */
  readonly separatesTwice: boolean;
  /** `[MASK]`: stands for a hidden token. */
  readonly mask: number | null;
  /** Stands before a text in models that were trained so, as `<s>`. */
  readonly begin: number | null;
  /** Stands after a text, as `<|endoftext|>` and `</s>`. */
  readonly end: number | null;
}

/**
 * A tokenizer's special tokens, by what its configuration calls them, else by the names that BERT's have, or
 * RoBERTa's where the tokenizer is one.
 */
export function specialTokens(tokenizer: Tokenizer): SpecialTokens {
  const { config } = tokenizer.files();
  const find = (field: string, usual: string | null): number | null => {
    const text = contentOf(config[field]) ?? usual;
    if (text === null) return null;
    const ids = tokenizer.encode(text);
    // Several ids, or one that stands for something else, such as an unknown
    // word: the tokenizer has no such token.
    return ids.length === 1 && tokenizer.decode(ids) === text ? ids[0] : null;
  };
  const separatesTwice = lastSteps(tokenizer).some((step) => step?.type === "RobertaProcessing");
  const [classify, separate, mask] = separatesTwice
    ? ["<s>", "</s>", "<mask>"]
    : ["[CLS]", "[SEP]", "[MASK]"];
  return {
    classify: find("cls_token", classify),
    separate: find("sep_token", separate),
    separatesTwice,
    mask: find("mask_token", mask),
    begin: marksBegin(tokenizer) ? find("bos_token", null) : null,
    end: find("eos_token", null),
  };
}

/**
 * Whether texts begin with a token of their own: said by name, else by what the tokenizer puts around a text.
 */
function marksBegin(tokenizer: Tokenizer): boolean {
  const { config } = tokenizer.files();
  if (typeof config.add_bos_token === "boolean") return config.add_bos_token;
  const begin = contentOf(config.bos_token);
  return begin !== null &&
    lastSteps(tokenizer).some((step) => step?.single?.[0]?.SpecialToken?.id === begin);
}

/** What tokenizer.json has in `post_processor`, for texts with tokens around them: one step, or several. */
function lastSteps(tokenizer: Tokenizer): TemplateStep[] {
  const { post_processor: last } = tokenizer.files().tokenizer;
  return [last, ...(last as { processors?: unknown[] } | null)?.processors ?? []] as TemplateStep[];
}
type TemplateStep =
  | { type?: unknown; single?: { SpecialToken?: { id?: unknown } }[] }
  | null
  | undefined;

/** Configurations hold a token as its text, or as an object with it. */
function contentOf(token: unknown): string | null {
  if (typeof token === "string") return token;
  const content = (token as { content?: unknown } | null | undefined)?.content;
  return typeof content === "string" ? content : null;
}

/**
 * BERT's special tokens where the tokenizer has none of them, as byte and `bpe<size>` tokenizers: the last
 * three ids of the model's vocabulary, if no token of the tokenizer has them.
 */
export function withSpareTokens(
  special: SpecialTokens,
  { tokenCount, vocabularySize }: { tokenCount: number; vocabularySize: number },
): SpecialTokens {
  const has = special.classify !== null || special.separate !== null || special.mask !== null;
  if (has || vocabularySize - tokenCount < SPARE_TOKENS) return special;
  return {
    ...special,
    classify: vocabularySize - 3,
    separate: vocabularySize - 2,
    mask: vocabularySize - 1,
  };
}

/** How many ids `withSpareTokens` needs. */
export const SPARE_TOKENS = 3;
