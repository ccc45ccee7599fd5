import assert from "node:assert/strict";
import { InputError } from "../../../engine/input_error.ts";
import { readJsonInput } from "../../../engine/formats/input_file.ts";
import { type ModelConfig, modelConfigJson, parseModelConfig } from "../../../engine/model/config.ts";
import { PRESETS } from "../../../engine/model/presets.ts";

const FIXTURES = `${import.meta.dirname}/../../fixtures/`;
const LLAMA = await readJsonInput(`${FIXTURES}llama_tiny/config_v4.json`);
const QWEN2 = await readJsonInput(`${FIXTURES}qwen2_tiny/config_v4.json`);
const BERT = await readJsonInput(`${FIXTURES}bert_tiny/classification/model/config.json`);
const GPT2 = await readJsonInput(`${FIXTURES}gpt2_tiny/model/config.json`);
const MISTRAL = {
  ...LLAMA,
  model_type: "mistral",
  architectures: ["MistralForCausalLM"],
  sliding_window: null,
};

function parse(json: Record<string, unknown>): ModelConfig {
  return parseModelConfig(json, "folder/config.json");
}

for (const name of ["llama_tiny", "llama3_rope", "qwen2_tiny"]) {
  Deno.test(`${name}: both forms of config.json say the same`, async () => {
    const current = await readJsonInput(`${FIXTURES}${name}/model/config.json`);
    const older = await readJsonInput(`${FIXTURES}${name}/config_v4.json`);
    assert.deepEqual(parse(current), parse(older));
  });
}

for (const [name, config] of Object.entries(PRESETS)) {
  Deno.test(`the config.json of ${name} reads back as itself`, () => {
    // What a preset without a vocabulary is saved with is the tokenizer's.
    const whole = { ...config, vocabularySize: config.vocabularySize || 512 };
    assert.deepEqual(parse(JSON.parse(JSON.stringify(modelConfigJson(whole)))), whole);
  });
}

Deno.test("scaled rotations, unusual heads and named labels survive a round trip", async () => {
  const rope = parse(await readJsonInput(`${FIXTURES}llama3_rope/model/config.json`));
  const labelled = parse({ ...BERT, id2label: { 0: "no", 1: "yes", 2: "perhaps" } });
  const wideQwen2 = parse({ ...QWEN2, head_dim: 8 });
  for (const config of [rope, labelled, wideQwen2, parse(MISTRAL)]) {
    assert.deepEqual(parse(JSON.parse(JSON.stringify(modelConfigJson(config)))), config);
  }
});

Deno.test("fields that are left out get the defaults of transformers", () => {
  const { num_key_value_heads: _kv, head_dim: _head, rms_norm_eps: _eps, rope_theta: _theta, ...rest } =
    LLAMA;
  const config = parse(rest) as Extract<ModelConfig, { family: "llama" }>;
  const { kvHeadCount, headSize, normEpsilon, rotaryBase, tiedHead } = config;
  assert.deepEqual(
    { kvHeadCount, headSize, normEpsilon, rotaryBase, tiedHead },
    { kvHeadCount: 6, headSize: 6, normEpsilon: 1e-6, rotaryBase: 10000, tiedHead: false },
  );
});

Deno.test("biases stand where each architecture has them", () => {
  const biases = (json: Record<string, unknown>) => {
    const { qkvBias, outputBias, feedForwardBias } = parse(json) as Extract<ModelConfig, { family: "llama" }>;
    return [qkvBias, outputBias, feedForwardBias];
  };
  assert.deepEqual(biases(LLAMA), [false, false, false]);
  assert.deepEqual(biases({ ...LLAMA, attention_bias: true }), [true, true, false]);
  assert.deepEqual(biases({ ...LLAMA, mlp_bias: true }), [false, false, true]);
  assert.deepEqual(biases(QWEN2), [true, false, false]);
  assert.deepEqual(biases(MISTRAL), [false, false, false]);
});

const REFUSED: [string, Record<string, unknown>, RegExp][] = [
  [
    "an unknown architecture",
    { ...LLAMA, model_type: "mamba" },
    /model_type is "mamba"; known.*gpt2.*llama, mistral, qwen2, bert/,
  ],
  ["no architecture", {}, /model_type is missing/],
  [
    "another head",
    { ...LLAMA, architectures: ["LlamaForSequenceClassification"] },
    /architectures is .* expected \["LlamaForCausalLM"\]/,
  ],
  [
    "quantized weights",
    { ...LLAMA, quantization_config: { bits: 4 } },
    /quantization_config is \{"bits":4\}, expected none/,
  ],
  [
    "a missing size",
    { ...LLAMA, hidden_size: undefined },
    /hidden_size is missing, expected a positive whole number/,
  ],
  [
    "a size of zero",
    { ...LLAMA, num_hidden_layers: 0 },
    /num_hidden_layers is 0, expected a positive whole number/,
  ],
  [
    "layers beyond counting",
    { ...LLAMA, num_hidden_layers: 1e9 },
    /num_hidden_layers is 1000000000, expected at most 4096/,
  ],
  [
    "groups that do not divide",
    { ...LLAMA, num_key_value_heads: 4 },
    /num_key_value_heads is 4, expected a divisor of num_attention_heads, which is 6/,
  ],
  [
    "heads that do not divide",
    { ...LLAMA, num_attention_heads: 5, num_key_value_heads: 5, head_dim: null },
    /num_attention_heads is 5, expected a divisor of hidden_size, which is 36/,
  ],
  ["odd heads", { ...LLAMA, head_dim: 7 }, /head_dim is 7, expected an even number/],
  [
    "odd heads by division",
    { ...LLAMA, num_attention_heads: 12, head_dim: null },
    /num_attention_heads is 12, expected a number that leaves heads of even width/,
  ],
  [
    "another activation",
    { ...LLAMA, hidden_act: "gelu" },
    /hidden_act is "gelu", expected "silu" or "swish"/,
  ],
  [
    "unknown rotations",
    { ...LLAMA, rope_scaling: { type: "yarn", factor: 4 } },
    /rope_scaling.type is "yarn", expected "default" or "llama3"/,
  ],
  [
    "a missing factor",
    { ...LLAMA, rope_scaling: { rope_type: "llama3" } },
    /rope_scaling.factor is missing, expected a positive number/,
  ],
  ["an unknown setting of rotations", {
    ...LLAMA,
    rope_scaling: { rope_type: "default", attention_factor: 2 },
  }, /rope_scaling.attention_factor is 2, expected none/],
  [
    "rotations of a part",
    { ...LLAMA, rope_parameters: { partial_rotary_factor: 0.5 } },
    /rope_parameters.partial_rotary_factor is 0.5, expected 1/,
  ],
  [
    "rotations twice",
    { ...LLAMA, rope_parameters: {}, rope_scaling: {} },
    /rope_scaling is \{\}, expected none beside rope_parameters/,
  ],
  ["two bases", { ...LLAMA, rope_parameters: { rope_theta: 5e5 } }, /rope_theta is 10000, expected 500000/],
  ["a window", { ...MISTRAL, sliding_window: 4096 }, /sliding_window is 4096, expected null/],
  [
    "Mistral's window by default",
    { ...MISTRAL, sliding_window: undefined },
    /sliding_window is missing, expected null/,
  ],
  ["Qwen2's window", { ...QWEN2, use_sliding_window: true }, /use_sliding_window is true, expected false/],
  [
    "mixed layers",
    { ...QWEN2, layer_types: ["full_attention", "sliding_attention"] },
    /layer_types is .* expected "full_attention" in every place/,
  ],
  [
    "groups left to a default",
    { ...QWEN2, num_key_value_heads: undefined },
    /num_key_value_heads is missing/,
  ],
  [
    "BERT without a head",
    { ...BERT, architectures: ["BertModel"] },
    /architectures is \["BertModel"\], expected \["BertForMaskedLM"\] or/,
  ],
  ["BERT whose head is not said", { ...BERT, architectures: undefined }, /architectures is missing/],
  [
    "relative positions",
    { ...BERT, position_embedding_type: "relative_key" },
    /position_embedding_type is "relative_key", expected "absolute"/,
  ],
  ["a decoder", { ...BERT, is_decoder: true }, /is_decoder is true, expected false/],
  [
    "regression",
    { ...BERT, id2label: { 0: "score" } },
    /id2label is \{"0":"score"\}, expected two labels or more/,
  ],
  [
    "several labels at once",
    { ...BERT, problem_type: "multi_label_classification" },
    /problem_type is "multi_label_classification"/,
  ],
  [
    "labels that are no texts",
    { ...BERT, id2label: ["a", "b"] },
    /id2label is \["a","b"\], expected an object of texts/,
  ],
  [
    "an untied decoder",
    { ...BERT, architectures: ["BertForMaskedLM"], tie_word_embeddings: false },
    /tie_word_embeddings is false, expected true/,
  ],
  [
    "GPT-2 with other scaling",
    { ...GPT2, scale_attn_by_inverse_layer_idx: true },
    /scale_attn_by_inverse_layer_idx is true, expected false/,
  ],
  [
    "GPT-2 with heads that do not divide",
    { ...GPT2, n_head: 5 },
    /n_head is 5, expected a divisor of n_embd, which is 36/,
  ],
];

for (const [what, json, message] of REFUSED) {
  Deno.test(`config.json is refused for ${what}`, () => {
    // As from a file: undefined is a field that is not there.
    const read = () => parse(JSON.parse(JSON.stringify(json)));
    assert.throws(read, (error: unknown) => {
      assert.ok(error instanceof InputError);
      assert.match(error.message, message);
      assert.match(error.message, /^folder\/config\.json: /);
      return true;
    });
  });
}
