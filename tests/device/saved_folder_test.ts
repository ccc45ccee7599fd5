import assert from "node:assert/strict";
import { saveTokenizer, trainBpe } from "../../engine/formats/tokenizer.ts";
import { readModelConfig } from "../../engine/model/config.ts";
import { train } from "../../engine/train/train.ts";
import { fixtureOptions, languageModelFixture } from "../support/model_fixture.ts";
import { deviceTest } from "../support/with_device.ts";
import { TemporaryFolder } from "../host/formats/temporary_folder.ts";

const fixture = await languageModelFixture("qwen2_tiny");

/** What other programs put into a model folder. */
const OTHERS = {
  "generation_config.json": '{"eos_token_id": [3, 4], "temperature": 0.6}',
  "special_tokens_map.json": '{"eos_token": "x"}',
  "chat_template.jinja": "{{ messages }}",
  "added_tokens.json": "{}",
};

async function folderOfAnother(): Promise<TemporaryFolder> {
  const folder = new TemporaryFolder();
  await Deno.copyFile(`${fixture.modelFolder}/model.safetensors`, folder.file("model.safetensors"));
  const config = JSON.parse(await Deno.readTextFile(`${fixture.modelFolder}/config.json`));
  const changes = {
    bos_token_id: 5,
    eos_token_id: 6,
    pad_token_id: null,
    dtype: "bfloat16",
    of_the_future: [1],
  };
  folder.file("config.json", JSON.stringify({ ...config, ...changes }));
  for (const [name, text] of Object.entries(OTHERS)) folder.file(name, text);
  await saveTokenizer(folder.path, trainBpe("a text, a text", 262));
  const tokenizerConfig = JSON.parse(await Deno.readTextFile(folder.file("tokenizer_config.json")));
  folder.file("tokenizer_config.json", JSON.stringify({ ...tokenizerConfig, model_max_length: 77 }));
  return folder;
}

const KEPT = [...Object.keys(OTHERS), "tokenizer.json", "tokenizer_config.json"];

for (const methods of [[], ["lora"]]) {
  const how = methods.length === 0 ? "whole" : "with its adapter merged in";
  Deno.test(`a model saved ${how} keeps what its folder had for other programs`, deviceTest, async () => {
    using source = await folderOfAnother();
    using saved = new TemporaryFolder();
    const options = fixtureOptions(fixture, { model: source.path, methods, steps: 1 });
    await train(options, {}, { save: saved.path, merge: methods.length > 0 });
    const before = JSON.parse(Deno.readTextFileSync(source.file("config.json")));
    const after = JSON.parse(Deno.readTextFileSync(saved.file("config.json")));
    assert.deepEqual(after, { ...before, dtype: "float32" });
    for (const name of KEPT) {
      assert.deepEqual(Deno.readFileSync(saved.file(name)), Deno.readFileSync(source.file(name)));
    }
    assert.deepEqual(await readModelConfig(saved.path), await readModelConfig(source.path));
  });
}

Deno.test("a model saved over itself keeps its files", deviceTest, async () => {
  using folder = await folderOfAnother();
  const before = KEPT.map((name) => Deno.readTextFileSync(folder.file(name)));
  await train(fixtureOptions(fixture, { model: folder.path, steps: 1 }), {}, { save: folder.path });
  assert.deepEqual(KEPT.map((name) => Deno.readTextFileSync(folder.file(name))), before);
});

Deno.test("a tokenizer that is not the folder's takes the place of the folder's", deviceTest, async () => {
  using source = await folderOfAnother();
  using saved = new TemporaryFolder();
  const data = saved.file(
    "text.txt",
    "some text to train on, a little longer than a sequence is. ".repeat(10),
  );
  const options = fixtureOptions(fixture, { model: source.path, data, tokenizer: "bytes", steps: 1 });
  await train(options, {}, { save: saved.path });
  const { model } = JSON.parse(Deno.readTextFileSync(saved.file("tokenizer.json")));
  assert.equal(Object.keys(model.vocab).length, 256);
  const names = [...Deno.readDirSync(saved.path)].map(({ name }) => name);
  assert.ok(names.includes("generation_config.json"));
  assert.ok(!names.includes("special_tokens_map.json"), "files of a tokenizer that is not used");
});

Deno.test("a preset is saved without the token ids that transformers would presume", deviceTest, async () => {
  using saved = new TemporaryFolder();
  const data = saved.file(
    "text.txt",
    "some text to train on, a little longer than a sequence is. ".repeat(10),
  );
  const options = fixtureOptions(fixture, { model: "llama-nano", data, tokenizer: "bytes", steps: 1 });
  await train(options, {}, { save: saved.path });
  const { bos_token_id, eos_token_id, vocab_size } = JSON.parse(
    Deno.readTextFileSync(saved.file("config.json")),
  );
  assert.deepEqual({ bos_token_id, eos_token_id, vocab_size }, {
    bos_token_id: null,
    eos_token_id: null,
    vocab_size: 256,
  });
});
