import { isJsonObject } from "./json.ts";

/** A part of a `tokenizer.json`: `type` and settings. */
type Part = Record<string, unknown>;

/** Words that GPT-2's pattern finds; in Oniguruma's syntax, as in `tokenizer.json`. */
const GPT2_WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
/**
 * What BERT and `Punctuation` take for punctuation: Unicode's, and all of ASCII
 * that is neither letter nor digit.
 */
const PUNCTUATION = "\\p{P}!-/:-@\\[-`{-~";
/** `\w` of Rust's regular expressions. */
const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200C\\u200D";
const CHINESE =
  "[\\u4E00-\\u9FFF\\u3400-\\u4DBF\\uF900-\\uFAFF\\x{20000}-\\x{2A6DF}\\x{2A700}-\\x{2B73F}\\x{2B740}-\\x{2B81F}" +
  "\\x{2B920}-\\x{2CEAF}\\x{2F800}-\\x{2FA1F}]";

/**
 * A `tokenizer.json` as npm:@huggingface/tokenizers 0.2.0 must be told it in
 * order to do what the Rust library does.
 *
 * It has some parts in JavaScript's own regular expressions, with JavaScript's `\s`,
 * `\w` and `\d`, and others that split without regard to `behavior`. They are written
 * here as patterns, which it translates from Oniguruma's syntax. What JavaScript
 * knows of newer characters than the Rust library's tables stays different.
 *
 * Source: tokenizers 0.23.3, src/normalizers and src/pre_tokenizers.
 */
export function libraryDefinition(definition: Record<string, unknown>): Record<string, unknown> {
  const { normalizer, pre_tokenizer: words, added_tokens: added } = definition;
  return {
    ...definition,
    normalizer: isJsonObject(normalizer) ? normalizerOf(normalizer) : normalizer,
    pre_tokenizer: isJsonObject(words) ? wordsOf(words) : words,
    // Its trimming is JavaScript's: `withoutSpaceAround` does it.
    added_tokens: Array.isArray(added)
      ? added.map((token) => isJsonObject(token) ? { ...token, lstrip: false, rstrip: false } : token)
      : added,
  };
}

/** Takes away white space beside added tokens that have it as theirs. Undefined where there are none such. */
export function withoutSpaceAround(
  { added_tokens: added }: Record<string, unknown>,
): ((text: string) => string) | undefined {
  if (!Array.isArray(added)) return undefined;
  const tokens = new Map<string, Part>();
  for (const token of added) {
    if (isJsonObject(token) && typeof token.content === "string" && token.content !== "") {
      tokens.set(token.content, token);
    }
  }
  if (![...tokens.values()].some(({ lstrip, rstrip }) => lstrip || rstrip)) return undefined;
  const longestFirst = [...tokens.keys()].sort((a, b) => b.length - a.length).map((content) =>
    RegExp.escape(content)
  );
  const pieces = new RegExp(`(${longestFirst.join("|")})`, "u");
  return (text) => {
    const parts = text.split(pieces);
    // Odd places hold tokens.
    for (let i = 1; i < parts.length; i += 2) {
      const { lstrip, rstrip } = tokens.get(parts[i])!;
      if (lstrip) parts[i - 1] = parts[i - 1].replace(/(?<!\p{White_Space})\p{White_Space}+$/u, "");
      if (rstrip) parts[i + 1] = parts[i + 1].replace(/^\p{White_Space}+/u, "");
    }
    return parts.join("");
  };
}

function normalizerOf(part: Part): Part {
  switch (part.type) {
    case "Sequence":
      return { ...part, normalizers: partsOf(part.normalizers).map(normalizerOf) };
    case "BertNormalizer": {
      const { clean_text, handle_chinese_chars, lowercase } = part;
      const stripAccents = part.strip_accents ?? lowercase;
      const only = (settings: Part) => ({
        type: "BertNormalizer",
        clean_text: false,
        handle_chinese_chars: false,
        strip_accents: false,
        lowercase: false,
        ...settings,
      });
      return sequenceOf("normalizers", [
        ...clean_text ? [only({ clean_text: true })] : [],
        ...handle_chinese_chars ? [replacement(CHINESE, " $& ")] : [],
        ...stripAccents ? [only({ strip_accents: true })] : [],
        ...lowercase ? lowerCase() : [],
      ]);
    }
    case "Lowercase":
      return sequenceOf("normalizers", lowerCase());
    case "Strip":
      return sequenceOf("normalizers", [
        ...part.strip_left ? [replacement("\\A\\s+", "")] : [],
        ...part.strip_right ? [replacement("(?<!\\s)\\s+\\z", "")] : [],
      ]);
    case "Replace":
      // JavaScript reads `$&` and the like in what it puts in.
      return { ...part, content: String(part.content ?? "").replaceAll("$", "$$$$") };
    default:
      return part;
  }
}

/** A character at a time: at the end of a word JavaScript has another sigma. */
function lowerCase(): Part[] {
  return [replacement("Σ", "σ"), { type: "Lowercase" }];
}

function wordsOf(part: Part): Part {
  switch (part.type) {
    case "Sequence":
      return { ...part, pretokenizers: partsOf(part.pretokenizers).map(wordsOf) };
    case "ByteLevel":
      if (part.use_regex === false) return part;
      return sequenceOf("pretokenizers", [
        ...part.add_prefix_space ? [replacement("\\A[^ ]", " $&")] : [],
        split(GPT2_WORDS, "Isolated"),
        { ...part, add_prefix_space: false, use_regex: false },
      ]);
    case "BertPreTokenizer":
      return { ...split(`[^\\s${PUNCTUATION}]+|[${PUNCTUATION}]`, "Isolated"), invert: true };
    case "Whitespace":
      return { ...split(`[${WORD}]+|[^${WORD}\\s]+`, "Removed"), invert: true };
    case "WhitespaceSplit":
      return split("\\s+", "Removed");
    case "Digits":
      return split("\\p{N}", part.individual_digits ? "Isolated" : "Contiguous");
    case "Punctuation":
      return split(`[${PUNCTUATION}]`, part.behavior ?? "Isolated");
    case "Split": {
      const { String: text, Regex: pattern } = part.pattern as Part;
      const own = typeof pattern === "string" ? pattern : escaped(String(text));
      // Inverted, what is between matches is what is taken out: the matches are the pieces.
      return part.invert && part.behavior !== "Isolated"
        ? { ...split(own, "Isolated"), invert: true }
        : split(own, part.behavior);
    }
    case "Metaspace": {
      const { replacement = "▁", add_prefix_space, prepend_scheme } = part;
      const scheme = prepend_scheme ?? (add_prefix_space === false ? "never" : "always");
      const marked = { ...part, prepend_scheme: scheme };
      if (part.split === false) return marked;
      return sequenceOf("pretokenizers", [marked, split(escaped(String(replacement)), "MergedWithNext")]);
    }
    default:
      return part;
  }
}

/**
 * A loop over one character or class that gives nothing back, as `\\s++`; JavaScript has none, and the
 * library leaves out the `+`.
 */
const POSSESSIVE = /((?:\\[px]\{[^}]*\}|\\[^px]|\[(?:\\.|[^\]\\])*\]|[^\\()[\]{}|?*+])[+*?])\+/gu;

/** A pattern of one character: itself, or a class of others than itself. */
const SINGLE = /^(?:[^\\.^$|()[\]{}*+?]|\\[dswh]|\\[^A-Za-z0-9]|\[[^[\]\\]*(?:\\.[^[\]\\]*)*\])$/u;

/** A `Split` by matches of a pattern, which the library either leaves out or takes as pieces of their own. */
function split(pattern: string, behavior: unknown): Part {
  let groups = 0;
  const atomic = (pattern: string) =>
    pattern.replaceAll(POSSESSIVE, (_, loop) => `(?=(?<p${++groups}>${loop}))\\k<p${groups}>`);
  const one = () => `(?:${atomic(pattern)})`;
  const between = () => `(?:(?!${one()})[\\s\\S])`;
  const by = (Regex: string, behavior: string, invert: boolean) => ({
    type: "Split",
    pattern: { Regex },
    behavior,
    invert,
  });
  switch (behavior) {
    case "Removed":
      return by(pattern, "Removed", false); // JavaScript would give what is in groups as pieces
    case "Contiguous":
      return by(`${one()}+`, "Isolated", false);
    case "MergedWithPrevious":
      // Where a match is one character, pieces end behind it: V8 keeps every
      // character of a loop to come back to.
      if (SINGLE.test(pattern)) return by(`(?<=${pattern})`, "Removed", false);
      return by(`${between()}*${one()}|${between()}+`, "Removed", true);
    case "MergedWithNext":
      if (SINGLE.test(pattern)) return by(`(?=${pattern})`, "Removed", false);
      return by(`${one()}${between()}*|${between()}+`, "Removed", true);
    default:
      return by(atomic(pattern), "Isolated", false);
  }
}

function sequenceOf(list: "normalizers" | "pretokenizers", parts: Part[]): Part {
  return { type: "Sequence", [list]: parts };
}

function replacement(Regex: string, content: string): Part {
  return { type: "Replace", pattern: { Regex }, content };
}

function partsOf(list: unknown): Part[] {
  return Array.isArray(list) ? list.filter(isJsonObject) : [];
}

/** A text as a pattern of Oniguruma that matches it alone. */
function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\\-]/g, "\\$&");
}
