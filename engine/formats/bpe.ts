// Byte-level byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909; on bytes
// as in GPT-2, Radford et al. 2019).
//
// A text is cut into words, a word into bytes, and neighbouring tokens are merged
// by a list of pairs, the earliest pair in the list first. No merge crosses the
// border of a word, so a token never spans a space and what follows the next.

/** One entry of the merge list: tokens `left` and `right`, side by side, become `merged`. */
export interface Merge {
  readonly left: number;
  readonly right: number;
  readonly merged: number;
}

/** A trained encoding. */
export interface BpeModel {
  /** The bytes of each token, indexed by id; all 256 single bytes are among them. */
  readonly tokenBytes: readonly Uint8Array[];
  /** Merges in order of precedence. */
  readonly merges: readonly Merge[];
}

/**
 * The words of a text by GPT-2's pattern (openai/gpt-2, src/encoder.py), in which
 * a space belongs to the word after it:
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * By hand, for two reasons. `\s` is Unicode's White_Space there; JavaScript's has U+FEFF and lacks U+0085.
 * And V8 gives up on a run of some million characters above U+00FF, each of which it keeps to come back to.
 */
export function* words(text: string): Generator<string> {
  let start = 0;
  while (start < text.length) {
    const end = endOfWord(text, start);
    yield text.slice(start, end);
    start = end;
  }
}

const CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

function endOfWord(text: string, start: number): number {
  const contraction = text[start] === "'" && CONTRACTIONS.find((end) => text.startsWith(end, start));
  if (contraction) return start + contraction.length;
  // A text that ends in a space has no character after it, which is none of the kinds that follow.
  const first = text[start] === " " && start + 1 < text.length ? start + 1 : start;
  const kind = kindOf(text.codePointAt(first)!);
  if (kind !== SPACE) return endOfRun(text, first, kind);
  const end = endOfRun(text, start, SPACE);
  // The last of several is left for the word after them. White space is below U+10000: one position each.
  return end < text.length && end - start > 1 ? end - 1 : end;
}

/** Position of the first character from `start` on that is of another kind. */
function endOfRun(text: string, start: number, kind: number): number {
  let end = start;
  while (end < text.length) {
    const code = text.codePointAt(end)!;
    if (kindOf(code) !== kind) break;
    end += code < 0x10000 ? 1 : 2;
  }
  return end;
}

const [LETTER, NUMBER, SPACE, OTHER] = [1, 2, 3, 4];
/** The kind of each code point, 0 where nobody has asked for it. */
const KINDS = new Uint8Array(0x110000);

function kindOf(code: number): number {
  return KINDS[code] ||= foundKind(String.fromCodePoint(code));
}

function foundKind(char: string): number {
  if (/\p{L}/u.test(char)) return LETTER;
  if (/\p{N}/u.test(char)) return NUMBER;
  return /\p{White_Space}/u.test(char) ? SPACE : OTHER;
}

/**
 * Words kept with their tokens; when there are more, or they are longer, they are encoded again each time.
 */
const CACHED_WORDS = 100_000;
const CACHED_WORD_LENGTH = 64;

/** Encodes text by a list of merges, which may grow between calls. */
export class BpeEncoder {
  #byteIds = new Uint32Array(256);
  #rankOfPair = new Map<number, number>();
  #mergedIds: number[] = [];
  #cache = new Map<string, readonly number[]>();

  constructor({ tokenBytes, merges }: BpeModel) {
    tokenBytes.forEach((bytes, id) => {
      if (bytes.length === 1) this.#byteIds[bytes[0]] = id;
    });
    for (const merge of merges) this.addMerge(merge);
  }

  /** Appends a merge of lower precedence than all before it. */
  addMerge({ left, right, merged }: Merge): void {
    const key = pairKey(left, right);
    if (this.#rankOfPair.has(key)) return; // a pair that is listed twice has its first precedence
    this.#rankOfPair.set(key, this.#mergedIds.length);
    this.#mergedIds.push(merged);
    this.#cache.clear();
  }

  /** Appends the tokens of `text` to `ids`. Half of a surrogate pair counts as U+FFFD. */
  encodeInto(text: string, ids: number[]): void {
    for (const word of words(text)) {
      for (const id of this.#encodeWord(word)) ids.push(id);
    }
  }

  /** Merges the bytes of one word. */
  encodeBytes(bytes: Uint8Array): number[] {
    const symbols = Array.from(bytes, (byte) => this.#byteIds[byte]);
    if (symbols.length < 2) return symbols;
    // The heap holds each pair that can be merged as precedence · length +
    // position: earliest merge, then leftmost.
    const length = symbols.length;
    const heap = new Heap<number>((a, b) => a < b);
    const next = Array.from(symbols, (_, i) => i + 1);
    const previous = Array.from(symbols, (_, i) => i - 1);
    const push = (i: number) => {
      if (i < 0 || next[i] === length) return;
      const rank = this.#rankOfPair.get(pairKey(symbols[i], symbols[next[i]]));
      if (rank !== undefined) heap.push(rank * length + i);
    };
    for (let i = 0; i < length; i++) push(i);
    while (heap.size > 0) {
      const entry = heap.pop();
      const i = entry % length;
      const rank = (entry - i) / length;
      const right = next[i];
      // Entries are not taken out when a neighbour is merged; they are recognised as stale here.
      if (symbols[i] < 0 || right === length) continue;
      if (this.#rankOfPair.get(pairKey(symbols[i], symbols[right])) !== rank) continue;
      symbols[i] = this.#mergedIds[rank];
      symbols[right] = -1;
      next[i] = next[right];
      if (next[i] < length) previous[next[i]] = i;
      push(previous[i]);
      push(i);
    }
    return symbols.filter((symbol) => symbol >= 0);
  }

  #encodeWord(word: string): readonly number[] {
    const cached = this.#cache.get(word);
    if (cached !== undefined) return cached;
    const ids = this.encodeBytes(utf8.encode(word));
    if (word.length <= CACHED_WORD_LENGTH) {
      if (this.#cache.size === CACHED_WORDS) this.#cache.clear();
      this.#cache.set(word, ids);
    }
    return ids;
  }
}

const utf8 = new TextEncoder();

/** Distinct for all ids below 2²⁶, and exact in an f64. */
function pairKey(left: number, right: number): number {
  return left * 2 ** 26 + right;
}

/**
 * Trains merges on a text until there are `vocabularySize` tokens or no pair is left. Deterministic: of pairs
 * that are equally frequent the one with the smaller ids is merged first, as in Hugging Face's trainer.
 *
 * @param vocabularySize At least 256, the tokens of one byte (else RangeError).
 */
export function trainMerges(text: string, vocabularySize: number): BpeModel {
  if (!Number.isSafeInteger(vocabularySize) || vocabularySize < 256) {
    throw new RangeError(
      `Cannot train ${vocabularySize} tokens: expected a whole number of at least 256, one per byte`,
    );
  }
  const tokenBytes: Uint8Array[] = BYTE_ORDER.map((byte) => Uint8Array.of(byte));
  const printable = tokenBytes.map(bytesToPrintable);
  const idOfPrintable = new Map(printable.map((text, id) => [text, id]));
  const merges: Merge[] = [];
  const pairs = new PairCounts(text);
  while (tokenBytes.length < vocabularySize) {
    const best = pairs.takeMostFrequent();
    if (best === undefined) break;
    const { left, right } = best;
    const text = printable[left] + printable[right];
    let merged = idOfPrintable.get(text); // two merges can give the same bytes: they give the same token
    if (merged === undefined) {
      merged = tokenBytes.push(joined(tokenBytes[left], tokenBytes[right])) - 1;
      printable.push(text);
      idOfPrintable.set(text, merged);
    }
    merges.push({ left, right, merged });
    pairs.merge(best, merged);
  }
  return { tokenBytes, merges };
}

/** The model of a list of merges, as `trainMerges` makes it. */
export function modelOfMerges(merges: readonly Merge[]): BpeModel {
  const tokenBytes: Uint8Array[] = BYTE_ORDER.map((byte) => Uint8Array.of(byte));
  for (const { left, right, merged } of merges) {
    tokenBytes[merged] ??= joined(tokenBytes[left], tokenBytes[right]);
  }
  return { tokenBytes, merges };
}

/** A token in a run of one character is as long as the run: too long to be passed as arguments. */
function joined(left: Uint8Array, right: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(left.length + right.length);
  bytes.set(left);
  bytes.set(right, left.length);
  return bytes;
}

interface Pair {
  readonly left: number;
  readonly right: number;
  /** How often the pair is in the text. */
  count: number;
  /** Where its left symbol may be; positions that no longer hold the pair are not taken out. */
  positions: number[];
}

/** A pair with the count it had when it was queued. */
interface QueuedPair {
  readonly pair: Pair;
  readonly count: number;
}

/**
 * How often each pair of tokens is in a text, kept up to date while pairs are
 * merged. Works on distinct words.
 */
class PairCounts {
  /**
   * The symbols of all distinct words, one after the other; -1 where a symbol was
   * merged into the one before it.
   */
  #symbols: Int32Array;
  /** Position of the next and the previous symbol of the same word, -1 at its ends. */
  #next: Int32Array;
  #previous: Int32Array;
  /** How often the word at this position is in the text. */
  #weights: Uint32Array;
  #pairs = new Map<number, Pair>();
  #queue = new Heap<QueuedPair>(moreFrequent);

  constructor(text: string) {
    const countOfWord = new Map<string, number>();
    for (const word of words(text)) countOfWord.set(word, (countOfWord.get(word) ?? 0) + 1);
    const distinct = Array.from(countOfWord, ([word, count]) => ({ bytes: utf8.encode(word), count }));
    const length = distinct.reduce((sum, { bytes }) => sum + bytes.length, 0);
    this.#symbols = new Int32Array(length);
    this.#next = Int32Array.from({ length }, (_, i) => i + 1);
    this.#previous = Int32Array.from({ length }, (_, i) => i - 1);
    this.#weights = new Uint32Array(length);
    let start = 0;
    for (const { bytes, count } of distinct) {
      const end = start + bytes.length;
      bytes.forEach((byte, i) => this.#symbols[start + i] = ID_OF_BYTE[byte]);
      this.#weights.fill(count, start, end);
      this.#previous[start] = -1;
      this.#next[end - 1] = -1;
      start = end;
    }
    for (let i = 0; i < length; i++) this.#count(i);
    for (const pair of this.#pairs.values()) this.#queue.push({ pair, count: pair.count });
  }

  /** The most frequent pair, or undefined when none is left. Each pair is returned once. */
  takeMostFrequent(): Pair | undefined {
    while (this.#queue.size > 0) {
      const { pair, count } = this.#queue.pop();
      if (this.#pairs.get(pairKey(pair.left, pair.right)) !== pair) continue; // queued twice, and taken
      if (pair.count !== count) {
        if (pair.count > 0) this.#queue.push({ pair, count: pair.count });
        continue;
      }
      this.#pairs.delete(pairKey(pair.left, pair.right));
      return pair;
    }
    return undefined;
  }

  /**
   * Replaces a pair by one symbol, from left to right in every word, and counts
   * the pairs that arise and vanish.
   */
  merge({ left, right, positions }: Pair, merged: number): void {
    const changed = new Set<Pair>();
    for (const i of Int32Array.from(positions).sort()) {
      const j = this.#next[i];
      if (this.#symbols[i] !== left || j < 0 || this.#symbols[j] !== right) continue;
      this.#uncount(this.#previous[i]);
      this.#uncount(j);
      this.#symbols[i] = merged;
      this.#symbols[j] = -1;
      this.#next[i] = this.#next[j];
      if (this.#next[i] >= 0) this.#previous[this.#next[i]] = i;
      for (const pair of [this.#count(this.#previous[i]), this.#count(i)]) if (pair) changed.add(pair);
    }
    for (const pair of changed) if (pair.count > 0) this.#queue.push({ pair, count: pair.count });
  }

  /** Adds the pair whose left symbol is at `i`, and returns it. */
  #count(i: number): Pair | undefined {
    if (i < 0 || this.#next[i] < 0) return undefined;
    const left = this.#symbols[i], right = this.#symbols[this.#next[i]];
    const key = pairKey(left, right);
    let pair = this.#pairs.get(key);
    if (pair === undefined) {
      pair = { left, right, count: 0, positions: [] };
      this.#pairs.set(key, pair);
    }
    pair.count += this.#weights[i];
    pair.positions.push(i);
    return pair;
  }

  #uncount(i: number): void {
    if (i < 0 || this.#next[i] < 0) return;
    const pair = this.#pairs.get(pairKey(this.#symbols[i], this.#symbols[this.#next[i]]));
    if (pair) pair.count -= this.#weights[i];
  }
}

function moreFrequent(a: QueuedPair, b: QueuedPair): boolean {
  if (a.count !== b.count) return a.count > b.count;
  return pairKey(a.pair.left, a.pair.right) < pairKey(b.pair.left, b.pair.right);
}

/** A binary heap: `pop` returns an item that none other comes `before`. */
class Heap<T> {
  #items: T[] = [];
  #before: (a: T, b: T) => boolean;

  constructor(before: (a: T, b: T) => boolean) {
    this.#before = before;
  }

  get size(): number {
    return this.#items.length;
  }

  push(item: T): void {
    const items = this.#items;
    let i = items.push(item) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#before(item, items[parent])) break;
      items[i] = items[parent];
      i = parent;
    }
    items[i] = item;
  }

  /** Takes the first item out; the heap must not be empty. */
  pop(): T {
    const items = this.#items;
    const first = items[0];
    const item = items.pop()!;
    if (items.length === 0) return first;
    let i = 0;
    for (let child = 1; child < items.length; child = 2 * i + 1) {
      if (child + 1 < items.length && this.#before(items[child + 1], items[child])) child++;
      if (!this.#before(items[child], item)) break;
      items[i] = items[child];
      i = child;
    }
    items[i] = item;
    return first;
  }
}

/**
 * The 256 bytes in the order of GPT-2's first 256 tokens, which is also that of Hugging Face's trainer: those
 * that are printable in Latin-1, then the others.
 */
export const BYTE_ORDER: readonly number[] = byteOrder();

/** Position of each byte in `BYTE_ORDER`. */
const ID_OF_BYTE = Uint8Array.from({ length: 256 }, (_, byte) => BYTE_ORDER.indexOf(byte));

function byteOrder(): number[] {
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  return [...bytes.filter(isPrintable), ...bytes.filter((byte) => !isPrintable(byte))];
}

function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
}

/**
 * The character that stands for a byte in `tokenizer.json`: printable bytes for themselves, the others, in
 * order, for the characters from U+0100 on.
 */
const CHAR_OF_BYTE: readonly string[] = Array.from({ length: 256 }, (_, byte) => {
  const printableCount = 188;
  return String.fromCharCode(isPrintable(byte) ? byte : 0x100 + ID_OF_BYTE[byte] - printableCount);
});
const BYTE_OF_CHAR = new Map(CHAR_OF_BYTE.map((char, byte) => [char, byte]));

/** Bytes as the printable text that stands for them in `tokenizer.json`. */
export function bytesToPrintable(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => CHAR_OF_BYTE[byte]).join("");
}

/** Reverse of `bytesToPrintable`; undefined when a character stands for no byte. */
export function printableToBytes(text: string): Uint8Array | undefined {
  const bytes = Array.from(text, (char) => BYTE_OF_CHAR.get(char));
  return bytes.includes(undefined) ? undefined : Uint8Array.from(bytes as number[]);
}
