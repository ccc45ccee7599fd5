import assert from "node:assert/strict";
import type { TensorInfo, TensorSource } from "../../../engine/formats/safetensors.ts";
import { openSafetensors } from "../../../engine/formats/safetensors.ts";
import { modelOf, readModelConfig } from "../../../engine/model/config.ts";
import { parameterCount } from "../../../engine/model/parameters.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import { matchWeights } from "../../../engine/train/weights.ts";

const FIXTURES = `${import.meta.dirname}/../../fixtures/`;

/** Names and shapes of a checkpoint under other names; its data is never read. */
function renamed(source: TensorSource, rename: (name: string) => string | null): TensorSource {
  const original = new Map(
    source.names().flatMap((name): [string, string][] => {
      const stored = rename(name);
      return stored === null ? [] : [[stored, name]];
    }),
  );
  const info = (name: string): TensorInfo => ({ ...source.info(original.get(name)!), name });
  const has = (name: string) => original.has(name);
  return {
    path: "model.safetensors",
    names: () => [...original.keys()],
    has,
    info,
  } as unknown as TensorSource;
}

const FOLDERS = [
  "gpt2_tiny",
  "llama_tiny",
  "llama3_rope",
  "qwen2_tiny",
  "bert_tiny/classification",
  "bert_tiny/masked_lm",
];

for (const folder of FOLDERS) {
  Deno.test(`the parameters of ${folder} are exactly its tensors`, async () => {
    using source = await openSafetensors(`${FIXTURES}${folder}/model/model.safetensors`);
    const { parameters } = modelOf(await readModelConfig(`${FIXTURES}${folder}/model`));
    const stored = matchWeights(parameters, source);
    assert.deepEqual([...stored.values()].sort(), source.names().sort());
  });
}

Deno.test("checkpoints of models without a head, with buffers, or with old names of norms are found", async () => {
  const check = async (folder: string, rename: (name: string) => string | null) => {
    using source = await openSafetensors(`${FIXTURES}${folder}/model/model.safetensors`);
    const { parameters } = modelOf(await readModelConfig(`${FIXTURES}${folder}/model`));
    const stored = matchWeights(parameters, renamed(source, rename));
    for (const { name } of parameters) assert.equal(stored.get(name), rename(name));
  };
  await check("gpt2_tiny", (name) => name.replace(/^transformer\./, ""));
  await check("llama3_rope", (name) => name.replace(/^model\./, ""));
  await check(
    "bert_tiny/masked_lm",
    (name) =>
      name.replace(/^bert\./, "").replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias",
        "LayerNorm.beta",
      ),
  );
  using source = await openSafetensors(`${FIXTURES}llama_tiny/model/model.safetensors`);
  const { parameters } = modelOf(await readModelConfig(`${FIXTURES}llama_tiny/model`));
  const buffer = "model.layers.0.self_attn.rotary_emb.inv_freq";
  const withBuffer = { ...renamed(source, (name) => name), names: () => [...source.names(), buffer] };
  assert.equal(matchWeights(parameters, withBuffer as TensorSource).size, parameters.length);
});

Deno.test("a missing or misshapen tensor is refused by name", async () => {
  using source = await openSafetensors(`${FIXTURES}llama_tiny/model/model.safetensors`);
  const config = await readModelConfig(`${FIXTURES}llama_tiny/model`);
  assert.ok(config.family === "llama");
  const lost = renamed(source, (name) => name === "model.layers.1.mlp.up_proj.weight" ? null : name);
  assert.throws(
    () => matchWeights(modelOf(config).parameters, lost),
    /tensor model\.layers\.1\.mlp\.up_proj\.weight is missing, expected one of shape \[92,36\]/,
  );
  assert.throws(
    () => matchWeights(modelOf({ ...config, kvHeadCount: 3 }).parameters, source),
    /tensor model\.layers\.0\.self_attn\.k_proj\.weight has the shape \[12,36\], expected \[18,36\]/,
  );
});

Deno.test("a checkpoint that is not of the model in config.json is refused, not loaded in part", async () => {
  using source = await openSafetensors(`${FIXTURES}qwen2_tiny/model/model.safetensors`);
  const config = await readModelConfig(`${FIXTURES}qwen2_tiny/model`);
  assert.ok(config.family === "llama");
  assert.throws(
    () => matchWeights(modelOf({ ...config, qkvBias: false }).parameters, source),
    /tensor model\.layers\.0\.self_attn\.[qkv]_proj\.bias has no place in the model that config\.json describes/,
  );
  assert.throws(
    () => matchWeights(modelOf({ ...config, layerCount: 1 }).parameters, source),
    /tensor model\.layers\.1\.\S+ has no place/,
  );
  const { parameters } = modelOf(config);
  const plus = (...extra: string[]) =>
    ({ ...renamed(source, (name) => name), names: () => [...source.names(), ...extra] }) as TensorSource;
  assert.throws(
    () => matchWeights(parameters, plus("model.layers.0.self_attn.q_norm.weight")),
    /q_norm\.weight has no place/,
  );
  // What other heads have, and what GPT-2's oldest files carry along, changes nothing.
  const harmless = ["lm_head.weight", "score.weight", "h.0.attn.bias", "transformer.h.1.attn.masked_bias"];
  assert.equal(matchWeights(parameters, plus(...harmless)).size, parameters.length);
});

Deno.test("weights that are no floating-point numbers are refused before anything is read", async () => {
  using source = await openSafetensors(`${FIXTURES}llama_tiny/model/model.safetensors`);
  const { parameters } = modelOf(await readModelConfig(`${FIXTURES}llama_tiny/model`));
  const integers = renamed(source, (name) => name);
  const info = (name: string): TensorInfo => ({
    ...integers.info(name),
    ...name === "model.norm.weight" && { dtype: "I32" as const },
  });
  assert.throws(
    () => matchWeights(parameters, { ...integers, info } as TensorSource),
    /tensor model\.norm\.weight is I32, expected one of F32, F16, BF16, F64/,
  );
});

Deno.test("presets have the published numbers of parameters", () => {
  const count = (preset: string) => parameterCount(modelOf(PRESETS[preset]).parameters);
  assert.equal(count("gpt2"), 124_439_808);
  assert.equal(count("llama2-7b"), 6_738_415_616);
  assert.equal(count("openllama-3b"), 3_426_473_600);
  // transformers' BertForSequenceClassification with two labels.
  assert.equal(count("bert-base"), 109_483_778);
  assert.equal(count("bert-large"), 335_143_938);
});

Deno.test("AdamW decays matrices of linear layers, and neither norms, biases nor embeddings", async () => {
  for (const folder of FOLDERS) {
    for (
      const { name, shape, decay } of modelOf(await readModelConfig(`${FIXTURES}${folder}/model`)).parameters
    ) {
      const embedding = /embed|wte|wpe/.test(name);
      assert.equal(decay, shape.length === 2 && !embedding, name);
    }
  }
});
