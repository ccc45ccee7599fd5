import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { gpt2Tokenizer, trainBpe } from "../../../engine/formats/tokenizer.ts";
import { tokenizedByBpe, tokensOfGpt2 } from "../../../engine/train/kept_tokens.ts";

/** Long enough to be kept, with words that differ. */
const TEXT = Array.from({ length: 9000 }, (_, i) => `word${i * 7919 % 613} of ${i % 41}, é`).join(" ");
const DATA = { text: TEXT, sha256: createHash("sha256").update(TEXT).digest("hex") };

async function inTemporaryFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "tokens-" });
  try {
    await body(join(folder, "tokens"));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const files = async (folder: string) => (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);

Deno.test("kept tokens and their tokenizer are those that are made anew", async () => {
  await inTemporaryFolder(async (folder) => {
    const expected = trainBpe(TEXT, 400);
    for (const when of ["made", "kept"]) {
      const { tokenizer, tokens } = await tokenizedByBpe(DATA, 400, { folder });
      assert.deepEqual(tokens, expected.encode(TEXT), when);
      assert.deepEqual(tokenizer.files(), expected.files(), when);
      assert.equal(tokenizer.name, expected.name);
      assert.equal(tokenizer.vocabularySize, expected.vocabularySize);
      assert.deepEqual(tokenizer.encode("another word7"), expected.encode("another word7"));
      assert.equal((await files(folder)).length, 1, when);
    }
    // Another size is another file.
    assert.equal((await tokenizedByBpe(DATA, 300, { folder })).tokenizer.vocabularySize, 300);
    assert.equal((await files(folder)).length, 2);
  });
});

Deno.test("GPT-2's tokens of a text are kept beside others", async () => {
  await inTemporaryFolder(async (folder) => {
    const gpt2 = await gpt2Tokenizer();
    const tokens = gpt2.encode(TEXT);
    await tokenizedByBpe(DATA, 300, { folder });
    for (const when of ["made", "kept"]) {
      assert.deepEqual(await tokensOfGpt2(DATA, gpt2, { folder }), tokens, when);
      assert.equal((await files(folder)).length, 2, when);
    }
    // Read from the file, not made anew: a changed one, its check with it, is believed.
    const path = join(folder, (await files(folder)).find((name) => name.startsWith("gpt2"))!);
    const other = { ...JSON.parse(await Deno.readTextFile(path)), tokens: [1, 2, 3] };
    other.check = createHash("sha256").update(JSON.stringify([other.merges, other.tokens])).digest("hex");
    await Deno.writeTextFile(path, JSON.stringify(other));
    assert.deepEqual([...await tokensOfGpt2(DATA, gpt2, { folder })], [1, 2, 3]);
  });
});

Deno.test("a kept file that is cut off, changed or of another format is made anew", async () => {
  await inTemporaryFolder(async (folder) => {
    const { tokens } = await tokenizedByBpe(DATA, 300, { folder });
    const path = join(folder, (await files(folder))[0]);
    const whole = await Deno.readTextFile(path);
    const other = JSON.parse(whole);
    other.tokens[5]++;
    const spoilt = [
      whole.slice(0, whole.length / 2),
      JSON.stringify(other),
      whole.replace(/"format":\d+/, '"format":1'), // words ended elsewhere then
      "null",
      "",
    ];
    for (const text of spoilt) {
      assert.notEqual(text, whole);
      await Deno.writeTextFile(path, text);
      assert.deepEqual((await tokenizedByBpe(DATA, 300, { folder })).tokens, tokens, text.slice(0, 40));
      assert.equal(await Deno.readTextFile(path), whole);
    }
  });
});

Deno.test("a folder that cannot be written costs time alone; short texts and very long ones are not kept", async () => {
  await inTemporaryFolder(async (folder) => {
    await Deno.writeTextFile(folder, "a file where the folder would be");
    assert.ok((await tokenizedByBpe(DATA, 300, { folder })).tokens.length > 0);
    await Deno.remove(folder);
    await tokenizedByBpe({ text: "short", sha256: "00" }, 260, { folder });
    const long = { folder, mostCharacters: TEXT.length - 1 };
    const gpt2 = await gpt2Tokenizer();
    assert.deepEqual(await tokensOfGpt2(DATA, gpt2, long), gpt2.encode(TEXT));
    await assert.rejects(Deno.stat(folder));
  });
});
