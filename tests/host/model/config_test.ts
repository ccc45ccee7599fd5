import assert from "node:assert/strict";
import { InputError } from "../../../engine/input_error.ts";
import { readJsonInput } from "../../../engine/formats/input_file.ts";
import {
  type ModelConfig,
  modelConfigJson,
  modelOf,
  parseModelConfig,
} from "../../../engine/model/config.ts";
import { parameterCount } from "../../../engine/model/parameters.ts";
import { PRESETS } from "../../../engine/model/presets.ts";

const FIXTURES = `${import.meta.dirname}/../../fixtures/`;
const LLAMA = await readJsonInput(`${FIXTURES}llama_tiny/config_v4.json`);
const QWEN2 = await readJsonInput(`${FIXTURES}qwen2_tiny/config_v4.json`);
const BERT = await readJsonInput(`${FIXTURES}bert_tiny/classification/model/config.json`);
const GPT2 = await readJsonInput(`${FIXTURES}gpt2_tiny/model/config.json`);
const family = (name: string) => readJsonInput(`${FIXTURES}families/${name}/model/config.json`);
const [SMOLLM3, PHI3, GEMMA2, GEMMA3, NEOX, OPT] = await Promise.all(
  ["smollm3", "phi3", "gemma2", "gemma3_text", "gpt_neox", "opt"].map(family),
);
const MISTRAL = {
  ...LLAMA,
  model_type: "mistral",
  architectures: ["MistralForCausalLM"],
  sliding_window: null,
};

/** As from a file: undefined is a field that is not there. */
function parse(json: Record<string, unknown>): ModelConfig {
  return parseModelConfig(JSON.parse(JSON.stringify(json)), "folder/config.json");
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
    assert.deepEqual(parse(modelConfigJson(whole)), whole);
  });
}

Deno.test("scaled rotations, unusual heads and named labels survive a round trip", async () => {
  const rope = parse(await readJsonInput(`${FIXTURES}llama3_rope/model/config.json`));
  const labelled = parse({ ...BERT, id2label: { 0: "no", 1: "yes", 2: "perhaps" } });
  const wideQwen2 = parse({ ...QWEN2, head_dim: 8 });
  const windows = [
    parse({ ...MISTRAL, sliding_window: 5 }),
    parse({ ...QWEN2, use_sliding_window: true, sliding_window: 5, max_window_layers: 1 }),
  ];
  for (const config of [rope, labelled, wideQwen2, parse(MISTRAL), ...windows]) {
    assert.deepEqual(parse(modelConfigJson(config)), config);
  }
});

for (
  const name of [
    ...["qwen3", "qwen3_untied", "mistral_window", "smollm3", "olmo2", "phi3", "phi3_untied", "gemma2"],
    ...["gemma3_text", "gemma3_whole", "gpt_neox", "gpt_neox_serial", "opt"],
  ]
) {
  Deno.test(`the config.json of ${name} survives a round trip`, async () => {
    const config = parse(await family(name));
    assert.deepEqual(parse(modelConfigJson(config)), config);
  });
}

Deno.test("Gemma 3's text model is read from the configuration of the whole one", async () => {
  const whole = parse(await family("gemma3_whole"));
  assert.deepEqual(whole, parse(GEMMA3));
});

Deno.test("windows stand where transformers has them", () => {
  const layers = (json: Record<string, unknown>) => {
    const config = parse(json) as Extract<ModelConfig, { family: "llama" | "gemma" }>;
    return [config.window, config.layers];
  };
  assert.deepEqual(layers({ ...MISTRAL, sliding_window: 7, num_hidden_layers: 1 }), [7, ["sliding"]]);
  assert.deepEqual(layers({ ...MISTRAL, sliding_window: undefined, num_hidden_layers: 1 }), [4096, [
    "sliding",
  ]]);
  assert.deepEqual(layers({ ...QWEN2, sliding_window: 7 }), [null, null]);
  const own = { use_sliding_window: true, sliding_window: 7, num_hidden_layers: 3 };
  const qwen2 = { ...QWEN2, ...own, layer_types: undefined };
  assert.deepEqual(layers({ ...qwen2, max_window_layers: 2 }), [7, ["full", "full", "sliding"]]);
  assert.deepEqual(layers(qwen2), [null, null]); // from layer 28 on
  const gemma2 = { ...GEMMA2, layer_types: undefined, num_hidden_layers: 3 };
  assert.deepEqual(layers(gemma2), [5, ["sliding", "full", "sliding"]]);
  const gemma3 = { ...GEMMA3, layer_types: undefined, sliding_window_pattern: 3, num_hidden_layers: 3 };
  assert.deepEqual(layers(gemma3), [5, ["sliding", "sliding", "full"]]);
});

Deno.test("Gemma 3 in the form of transformers 4 says the same, and leaves its sizes to defaults", () => {
  const { rope_parameters: _rope, layer_types: _layers, ...rest } = GEMMA3;
  const older = {
    ...rest,
    rope_theta: 5000,
    rope_local_base_freq: 300,
    rope_scaling: { rope_type: "linear", factor: 3 },
    sliding_window_pattern: 2,
    num_hidden_layers: 3,
  };
  assert.deepEqual(parse(older), parse(GEMMA3));
  // What google/gemma-3-4b-it has, whose text model has 3 880 263 168 parameters.
  const published = parse({
    model_type: "gemma3",
    architectures: ["Gemma3ForConditionalGeneration"],
    text_config: {
      hidden_size: 2560,
      intermediate_size: 10240,
      model_type: "gemma3_text",
      num_hidden_layers: 34,
      rope_scaling: { factor: 8, rope_type: "linear" },
      sliding_window: 1024,
    },
  });
  assert.equal(parameterCount(modelOf(published).parameters), 3_880_263_168);
});

Deno.test("Qwen3-8B has the parameters of its model card", () => {
  const config = parse({
    model_type: "qwen3",
    architectures: ["Qwen3ForCausalLM"],
    vocab_size: 151936,
    hidden_size: 4096,
    intermediate_size: 12288,
    num_hidden_layers: 36,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 128,
    max_position_embeddings: 40960,
    rope_theta: 1000000,
    tie_word_embeddings: false,
  });
  assert.equal(parameterCount(modelOf(config).parameters), 8_190_735_360);
});

Deno.test("the padding token is one of the vocabulary, from its end where it is negative", () => {
  const padding = (json: Record<string, unknown>) =>
    (parse(json) as Extract<ModelConfig, { family: "llama" | "opt" }>).paddingToken;
  assert.equal(padding({ ...LLAMA, pad_token_id: 3 }), 3);
  assert.equal(padding({ ...LLAMA, pad_token_id: -1 }), (LLAMA.vocab_size as number) - 1);
  assert.equal(padding({ ...LLAMA, pad_token_id: 1e6 }), null);
  assert.equal(padding({ ...LLAMA, pad_token_id: undefined }), null);
  assert.equal(padding({ ...OPT, pad_token_id: undefined }), 1);
  assert.equal(padding({ ...OPT, pad_token_id: null }), null);
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
    /model_type is "mamba"; known.*gpt2.*llama, mistral, qwen2, qwen3.*bert/,
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
    { ...LLAMA, rope_scaling: { type: "proportional", factor: 4 } },
    /rope_scaling.type is "proportional", expected "default" or "linear" or "dynamic" or "yarn" or/,
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
  ["a window of nothing", { ...MISTRAL, sliding_window: 0 }, /sliding_window is 0, expected a positive/],
  [
    "windows of no width",
    { ...QWEN2, layer_types: ["full_attention", "sliding_attention"] },
    /sliding_window is .*, expected the width of the windows that layer_types names/,
  ],
  [
    "unknown layers",
    { ...QWEN2, layer_types: ["full_attention", "chunked_attention"] },
    /layer_types is .* expected 2 entries, each "full_attention" or "sliding_attention"/,
  ],
  [
    "SmolLM3's windows",
    { ...SMOLLM3, use_sliding_window: true },
    /use_sliding_window is true, expected false/,
  ],
  [
    "too few of its layers",
    { ...SMOLLM3, no_rope_layers: [1, 0] },
    /no_rope_layers is \[1,0\], expected 3 entries, each 1 or 0/,
  ],
  ["a part that is odd", { ...PHI3, rope_parameters: undefined, partial_rotary_factor: 0.5 }, /even number/],
  [
    "factors of other channels",
    { ...PHI3, rope_parameters: { ...PHI3.rope_parameters as object, long_factor: [1] } },
    /rope_parameters.long_factor is \[1\], expected 2 positive numbers/,
  ],
  [
    "Phi-3 with another scaling",
    { ...PHI3, rope_parameters: { rope_type: "linear", factor: 2 } },
    /rope_parameters.rope_type is "linear", expected "default" or "longrope" or/,
  ],
  [
    "Gemma in both directions",
    { ...GEMMA2, use_bidirectional_attention: true },
    /use_bidirectional_attention is true, expected false/,
  ],
  [
    "Gemma 3 with capped scores",
    { ...GEMMA3, attn_logit_softcapping: 50 },
    /attn_logit_softcapping is 50, expected none: scores of Gemma 3 are not capped/,
  ],
  [
    "another activation of Gemma",
    { ...GEMMA2, hidden_activation: "relu" },
    /hidden_activation is "relu", expected "silu" or/,
  ],
  [
    "a part of GPT-NeoX that is odd",
    { ...NEOX, rope_parameters: undefined, rotary_pct: 0.25 },
    /rotary_pct is 0.25, expected one that leaves an even number of channels/,
  ],
  [
    "OPT-350m's norms",
    { ...OPT, do_layer_norm_before: false },
    /do_layer_norm_before is false, expected true/,
  ],
  ["its projection", { ...OPT, word_embed_proj_dim: 10 }, /word_embed_proj_dim is 10, expected 20/],
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
    assert.throws(() => parse(json), (error: unknown) => {
      assert.ok(error instanceof InputError);
      assert.match(error.message, message);
      assert.match(error.message, /^folder\/config\.json: /);
      return true;
    });
  });
}
