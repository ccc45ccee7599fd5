import { Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers";
import assert from "node:assert/strict";
import { modelOfMerges, trainMerges, words } from "../../../engine/formats/bpe.ts";
import {
  bpeTokenizer,
  byteTokenizer,
  gpt2Tokenizer,
  saveTokenizer,
  type Tokenizer,
  tokenizerFromFolder,
  trainBpe,
} from "../../../engine/formats/tokenizer.ts";
import { keyedRandom } from "../../../engine/train/random.ts";
import { assertInputError, fixture, TemporaryFolder } from "./temporary_folder.ts";

interface Encoding {
  text: string;
  byteLevel: number[];
  metaspace: number[];
}

const EXCERPT = Deno.readTextFileSync(fixture("excerpt.txt"));
const ENCODINGS: Encoding[] = JSON.parse(Deno.readTextFileSync(fixture("encodings.json")));
const whiteSpace = (name: string) => JSON.parse(Deno.readTextFileSync(fixture(`../white_space/${name}`)));
const PARTS = whiteSpace("parts.json");
const TEXTS = [...ENCODINGS.map(({ text }) => text), ...Array.from({ length: 50 }, (_, i) => randomText(i))];
const gpt2 = await gpt2Tokenizer();

/** Characters from all over Unicode, no surrogates, with runs of letters and spaces as words have them. */
function randomText(seed: number): string {
  const random = keyedRandom(seed, "text");
  const ranges = [[0x20, 0x7f], [0x61, 0x7a], [0x20, 0x20], [0x0a, 0x0a], [0, 0x2ff], [0x4e00, 0x9fff], [
    0x1f300,
    0x1f6ff,
  ], [
    0xe000,
    0x10ffff,
  ]];
  return Array.from({ length: random.below(200) }, () => {
    const [first, last] = ranges[random.below(ranges.length)];
    return String.fromCodePoint(first + random.below(last - first + 1));
  }).join("");
}

function assertRoundTrips(tokenizer: Tokenizer): void {
  for (const text of TEXTS) {
    const ids = tokenizer.encode(text);
    assert.equal(tokenizer.decode(ids), text);
    assert.ok(ids.every((id) => id < tokenizer.vocabularySize));
  }
}

Deno.test("the byte tokenizer gives the bytes of UTF-8", () => {
  const tokenizer = byteTokenizer();
  assert.deepEqual([...tokenizer.encode("aé\n")], [97, 0xc3, 0xa9, 10]);
  assert.equal(tokenizer.vocabularySize, 256);
  assertRoundTrips(tokenizer);
  assert.throws(() => tokenizer.decode([256]), RangeError);
  assert.throws(() => tokenizer.decode([-1]), RangeError);
});

Deno.test("half a surrogate pair becomes U+FFFD, a byte order mark and a broken character survive", () => {
  for (const tokenizer of [byteTokenizer(), gpt2, trainBpe(EXCERPT, 300)]) {
    assert.equal(tokenizer.decode(tokenizer.encode("a\ud83d b\udc0b")), "a\ufffd b\ufffd");
    assert.equal(tokenizer.decode(tokenizer.encode("\ufeffa\ufeff\ufffd")), "\ufeffa\ufeff\ufffd");
    const [first] = tokenizer.encode("日");
    assert.equal(tokenizer.decode([first]), "\ufffd");
    assert.equal(tokenizer.decode(tokenizer.encode("x")), "x"); // nothing of it is left over in the next text
  }
});

Deno.test("trainBpe() learns what Hugging Face's trainer learns", () => {
  const expected = JSON.parse(Deno.readTextFileSync(fixture("byte_level/tokenizer.json"))).model;
  const { model } = trainBpe(EXCERPT, 400).files().tokenizer as {
    model: { vocab: unknown; merges: string[] };
  };
  assert.deepEqual(model.vocab, expected.vocab);
  assert.deepEqual(model.merges, expected.merges.map((merge: string[]) => merge.join(" ")));
});

Deno.test("byte-level BPE gives the ids that Hugging Face's library gives", async () => {
  const trained = trainBpe(EXCERPT, 400);
  const loaded = await tokenizerFromFolder(fixture("byte_level"));
  assert.equal(loaded.name, "byte_level");
  for (const { text, byteLevel } of ENCODINGS) {
    assert.deepEqual([...trained.encode(text)], byteLevel);
    assert.deepEqual([...loaded.encode(text)], byteLevel);
  }
  assertRoundTrips(trained);
  assertRoundTrips(loaded);
});

Deno.test("other kinds of tokenizer are read through the library", async () => {
  const tokenizer = await tokenizerFromFolder(fixture("metaspace"));
  assert.equal(tokenizer.vocabularySize, 300);
  for (const { text, metaspace } of ENCODINGS) {
    assert.deepEqual([...tokenizer.encode(text)], metaspace, text);
  }
  assert.equal(tokenizer.decode(tokenizer.encode("Call me Ishmael.")), "Call me Ishmael.");
  assert.equal(tokenizer.decode([]), "");
  assert.throws(() => tokenizer.decode([300]), RangeError);
});

Deno.test("training is deterministic, and merges do not cross spaces", () => {
  const [first, second] = [trainBpe(EXCERPT, 500), trainBpe(EXCERPT, 500)];
  assert.deepEqual(first.files(), second.files());
  for (
    const token of Object.keys((first.files().tokenizer.model as { vocab: Record<string, number> }).vocab)
  ) {
    assert.ok(!/[^Ġ]Ġ+[^Ġ]/.test(token), `the token ${token} spans a space`);
  }
});

Deno.test("a text with nothing left to merge gives a smaller vocabulary", () => {
  const tokenizer = trainBpe("ab ab", 1000);
  assert.equal(tokenizer.vocabularySize, 258); // "ab", then " ab"
  assert.equal(tokenizer.encode("ab ab").length, 2);
  assert.equal(trainBpe("", 300).vocabularySize, 256);
  assert.throws(() => trainBpe("ab", 255), RangeError);
});

/** Text as the generator of the fixture writes it: pieces, each so many times. */
const written = (pieces: [string, number][]) => pieces.map(([text, times]) => text.repeat(times)).join("");

for (const { pieces, size, merges } of whiteSpace("trained.json")) {
  const what = size === 300 ? "a text with a run of 140,000 dashes" : "white space of all kinds";
  Deno.test(`trainBpe() learns what Hugging Face's trainer learns of ${what}`, () => {
    const trained = trainBpe(written(pieces), size);
    const expected = merges.map((merge: (string | [string, number])[]) =>
      merge.map((part) => typeof part === "string" ? part : written([part])).join(" ")
    );
    assert.deepEqual((trained.files().tokenizer.model as { merges: string[] }).merges, expected);
    // As a saved folder has them, and as kept merges are read.
    const model = modelOfMerges(trainMerges(written(pieces), size).merges);
    assert.deepEqual(bpeTokenizer(size, model).files(), trained.files());
  });
}

Deno.test("words end where Hugging Face's end, at white space that JavaScript sees otherwise too", async () => {
  const tokenizer = await tokenizerFromFolder(fixture("../white_space/byte_level"));
  for (const { pieces, ids } of whiteSpace("encodings.json")) {
    assert.deepEqual([...tokenizer.encode(written(pieces))], ids, JSON.stringify(pieces));
  }
  // Of GPT-2, by the same rule: two newlines are a token unless the second is white space before a word.
  assert.deepEqual([...gpt2.encode("x\n\n\ufeffy")], [87, 198, 198, 171, 119, 123, 88]);
  assert.deepEqual([...gpt2.encode("x\n\n\u0085y")].slice(0, 2), [87, 628]);
});

for (const { name, definition, ids } of PARTS.tokenizers) {
  Deno.test(`a tokenizer of other parts gives the ids that Hugging Face's library gives: ${name}`, async () => {
    using folder = new TemporaryFolder();
    folder.file("tokenizer.json", JSON.stringify(definition));
    const tokenizer = await tokenizerFromFolder(folder.path);
    for (const [i, text] of PARTS.texts.entries()) {
      assert.deepEqual([...tokenizer.encode(text)], ids[i], JSON.stringify(text));
    }
  });
}

Deno.test("words are those of GPT-2's pattern", () => {
  const pattern =
    /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
  const parts = [
    ..." \n\t a1!—é٣ⅷ",
    "  ",
    "'",
    "'s",
    "'ll",
    "'re",
    "\ufeff",
    "\x85",
    "\u3000",
    "🐋",
    "\ud83d",
    "\udc0b",
    "\0",
  ];
  const random = keyedRandom(1, "words");
  for (let i = 0; i < 20_000; i++) {
    const text = Array.from({ length: random.below(9) }, () => parts[random.below(parts.length)]).join("");
    assert.deepEqual([...words(text)], text.match(pattern) ?? [], JSON.stringify(text));
  }
  // V8's own matching ends with "Maximum call stack size exceeded" here.
  for (const [char, times] of [["—", 1e7], ["🐋", 1e7]] as const) {
    assert.deepEqual([...words(char.repeat(times) + "x")].map(({ length }) => length), [
      times * char.length,
      1,
    ]);
  }
});

Deno.test("repeated characters are merged from the left, however long the run", () => {
  const tokenizer = trainBpe("aaaa", 257);
  const [aa, a] = tokenizer.encode("aaa");
  assert.deepEqual([aa, tokenizer.decode([aa]), tokenizer.decode([a])], [256, "aa", "a"]);
  assert.deepEqual([...tokenizer.encode("a".repeat(50_001))], [...Array(25_000).fill(aa), a]);
});

Deno.test("the GPT-2 tokenizer gives the ids of GPT-2", () => {
  assert.equal(gpt2.vocabularySize, 50257);
  assert.deepEqual([...gpt2.encode("Hello world")], [15496, 995]);
  assert.deepEqual([...gpt2.encode("a<|endoftext|>\n")], [64, 50256, 198]);
  assert.equal(gpt2.decode([64, 50256, 198]), "a<|endoftext|>\n");
  assertRoundTrips(gpt2);
});

Deno.test("the GPT-2 tokenizer agrees with the library its vocabulary comes from", async () => {
  const library = await import("gpt-tokenizer/encoding/r50k_base");
  for (const text of TEXTS) assert.deepEqual([...gpt2.encode(text)], library.encode(text));
});

Deno.test("a saved tokenizer is the same after it is loaded, here and in Hugging Face's library", async () => {
  for (const tokenizer of [byteTokenizer(), trainBpe(EXCERPT, 350), gpt2]) {
    using folder = new TemporaryFolder();
    await saveTokenizer(`${folder.path}/model`, tokenizer);
    const loaded = await tokenizerFromFolder(`${folder.path}/model`);
    assert.deepEqual([loaded.name, loaded.vocabularySize], ["model", tokenizer.vocabularySize]);
    assert.deepEqual(loaded.files(), tokenizer.files());
    const { tokenizer: definition, config } = tokenizer.files();
    const library = new LibraryTokenizer(definition, config);
    for (const text of [...TEXTS, "a<|endoftext|>b"]) {
      const ids = tokenizer.encode(text);
      assert.deepEqual(loaded.encode(text), ids);
      if (text === "") continue; // the library refuses it
      assert.deepEqual(library.encode(text, { add_special_tokens: false }).ids, [...ids]);
    }
  }
});

Deno.test("a tokenizer that was read through the library is saved as it was", async () => {
  using folder = new TemporaryFolder();
  await saveTokenizer(folder.path, await tokenizerFromFolder(fixture("metaspace")));
  const [saved, original] = [`${folder.path}/tokenizer.json`, fixture("metaspace/tokenizer.json")].map((
    path,
  ) => JSON.parse(Deno.readTextFileSync(path)));
  assert.deepEqual(saved, original);
});

Deno.test("broken tokenizer folders are refused", async () => {
  const refused = async (
    change: (definition: ReturnType<typeof JSON.parse>) => unknown,
    ...parts: string[]
  ) => {
    using folder = new TemporaryFolder();
    const definition = JSON.parse(Deno.readTextFileSync(fixture("byte_level/tokenizer.json")));
    folder.file("tokenizer.json", JSON.stringify(change(definition) ?? definition));
    await assertInputError(() => tokenizerFromFolder(folder.path), folder.path, ...parts);
  };
  using empty = new TemporaryFolder();
  await assertInputError(() => tokenizerFromFolder(empty.path), "tokenizer.json", "no such file");
  await refused(() => [], "expected a JSON object");
  await refused((definition) => void delete definition.model.vocab, "model.vocab");
  await refused((definition) => void (definition.model.vocab["!"] = -1), '"!" has id -1');
  await refused((definition) => void (definition.model.vocab["!"] = 1e9), '"!" has id 1000000000');
  await refused(
    (definition) => void (definition.model.vocab["!"] = 1),
    "two tokens in model.vocab have the id 1",
  );
  await refused((definition) => void definition.model.merges.push(["!", "!"]), 'merge ["!","!"]');
  await refused((definition) => void definition.model.merges.push(5), "merge 5");
  await refused((definition) => void (definition.model = { type: "Psychic" }), "as a tokenizer");
});
