import assert from "node:assert/strict";
import { saveTokenizer, trainBpe } from "../../engine/formats/tokenizer.ts";
import { generate, type GenerateOptions } from "../../engine/train/generate.ts";
import { fixtureOptions, languageModelFixture } from "../support/model_fixture.ts";
import { train } from "../../engine/train/train.ts";
import { assertInputError, TemporaryFolder } from "../host/formats/temporary_folder.ts";

const FIXTURES = `${import.meta.dirname}/../fixtures/`;
const expected = JSON.parse(await Deno.readTextFile(`${FIXTURES}generation/expected.json`));

function options(changes: Partial<GenerateOptions>): GenerateOptions {
  return {
    model: `${FIXTURES}gpt2_tiny/model`,
    adapter: null,
    prompt: [1, 2, 3],
    chat: false,
    tokenizer: null,
    maxNewTokens: 10,
    temperature: 0,
    topP: 1,
    seed: 0,
    ...changes,
  };
}

/** A folder with the model of a fixture and another end token, or other files besides. */
function copyOf(fixture: string, changes: Record<string, unknown>): TemporaryFolder {
  const folder = new TemporaryFolder();
  const source = `${FIXTURES}${fixture}/model`;
  Deno.copyFileSync(`${source}/model.safetensors`, folder.file("model.safetensors"));
  const config = JSON.parse(Deno.readTextFileSync(`${source}/config.json`));
  folder.file("config.json", JSON.stringify({ ...config, ...changes }));
  return folder;
}

for (
  const [name, { prompt, greedy, end, ended }] of Object.entries<{
    prompt: number[];
    greedy: number[];
    end: number;
    ended: number[];
  }>(expected)
) {
  Deno.test(`${name} continues a prompt with the tokens of transformers' generate()`, async () => {
    using endless = copyOf(name, { eos_token_id: null });
    const made = await generate(options({ model: endless.path, prompt }));
    assert.deepEqual(made, { text: "", tokens: greedy, promptTokens: 5, stopped: "length" });
    using folder = copyOf(name, { eos_token_id: 999999 });
    // What generation_config.json says comes before config.json; transformers allows several.
    folder.file("generation_config.json", JSON.stringify({ eos_token_id: [end, 999998] }));
    assert.deepEqual(await generate(options({ model: folder.path, prompt })), {
      text: "",
      tokens: ended,
      promptTokens: 5,
      stopped: "end",
    });
  });
}

Deno.test("text appears as it is made, and all pieces are the text", async () => {
  using folder = copyOf("qwen2_tiny", { eos_token_id: null });
  // Mostly bytes, and ids beyond them: most of what a random model writes is no
  // character, and some of it half of one.
  await saveTokenizer(folder.path, trainBpe("ähm, ähm, so what", 260));
  const settings = options({
    model: folder.path,
    prompt: "äh",
    temperature: 1.5,
    topP: 0.95,
    maxNewTokens: 20,
  });
  const pieces: string[] = [];
  const made = await generate(settings, (piece) => pieces.push(piece));
  assert.equal(pieces.join(""), made.text);
  assert.ok(made.text.length > 0);
  assert.deepEqual(await generate(settings), made, "the same seed gave another text");
  const other = await generate({ ...settings, seed: 1 });
  assert.notDeepEqual(other.tokens, made.tokens);
});

Deno.test("--chat puts the prompt into the model's chat template, and a start token before it once", async () => {
  using folder = copyOf("qwen2_tiny", { eos_token_id: null });
  await saveTokenizer(folder.path, trainBpe("hello hello", 256));
  const configPath = folder.file("tokenizer_config.json");
  const config = JSON.parse(Deno.readTextFileSync(configPath));
  const count = async (chat: boolean, changes: Record<string, unknown>) => {
    Deno.writeTextFileSync(configPath, JSON.stringify({ ...config, ...changes }));
    const settings = options({ model: folder.path, prompt: "hi", chat, maxNewTokens: 1 });
    return (await generate(settings)).promptTokens;
  };
  const chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]";
  assert.equal(await count(false, { chat_template }), 2);
  assert.equal(await count(true, { chat_template }), "[user] hi\n[assistant]".length);
  assert.equal(await count(true, {}), "user: hi\nassistant:".length);
  const begin = { add_bos_token: true, bos_token: "A" };
  assert.equal(await count(false, begin), 3);
  assert.equal(await count(true, { ...begin, chat_template: "A{{ messages[0].content }}" }), 3);
});

Deno.test("a prompt may fill the context but for one token", async () => {
  const positions = JSON.parse(Deno.readTextFileSync(`${FIXTURES}gpt2_tiny/model/config.json`)).n_positions;
  using folder = copyOf("gpt2_tiny", { eos_token_id: null });
  const model = folder.path;
  const prompt = Array.from({ length: positions - 1 }, (_, i) => i % 50);
  const made = await generate(options({ model, prompt }));
  assert.equal(made.tokens.length, 1);
  assert.equal(made.stopped, "context");
  await assertInputError(
    () => generate(options({ model, prompt: [...prompt, 1] })),
    `a prompt of ${positions} tokens`,
    `${positions} positions`,
  );
  await assertInputError(() => generate(options({ model, prompt: [] })), "empty prompt");
  await assertInputError(() => generate(options({ model, prompt: [1e6] })), "token 1000000");
  await assertInputError(() => generate(options({ model, prompt: "text" })), "tokenizer.json");
});

Deno.test("models that predict other things do not generate", async () => {
  const model = `${FIXTURES}bert_tiny/masked_lm/model`;
  await assertInputError(() => generate(options({ model })), "does not predict next tokens");
});

Deno.test("presets generate from random weights, in bytes", async () => {
  const made = await generate(
    options({ model: "gpt2-nano", prompt: "Call me", maxNewTokens: 3, tokenizer: null }),
  );
  assert.equal(made.promptTokens, 7);
  assert.ok(made.tokens.every((token) => token < 256));
});

Deno.test("an adapter changes what is said, and what it was trained on is repeated", async () => {
  using folder = new TemporaryFolder();
  const fixture = await languageModelFixture("llama_tiny");
  const cycle = Array.from({ length: 400 }, (_, i) => [5, 17, 99, 3, 64][i % 5]);
  await Deno.writeFile(folder.file("cycle.u16"), new Uint8Array(Uint16Array.from(cycle).buffer));
  const adapter = folder.file("adapter");
  await train(
    fixtureOptions(fixture, {
      data: folder.file("cycle.u16"),
      methods: ["lora"],
      methodOptions: { lora: { rank: 8, alpha: 16, targets: ["q_proj", "v_proj", "up_proj", "down_proj"] } },
      learningRate: 3e-2,
      steps: 60,
      clip: 1,
    }),
    {},
    { save: adapter },
  );
  const prompt = [5, 17, 99, 3, 64, 5, 17];
  using model = copyOf("llama_tiny", { eos_token_id: null });
  const adapted = await generate(options({ model: model.path, adapter, prompt }));
  assert.deepEqual(adapted.tokens, [99, 3, 64, 5, 17, 99, 3, 64, 5, 17]);
  assert.notDeepEqual((await generate(options({ model: model.path, prompt }))).tokens, adapted.tokens);
});
