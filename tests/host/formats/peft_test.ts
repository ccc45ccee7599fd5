import assert from "node:assert/strict";
import {
  loraScale,
  loraTensorName,
  openAdapter,
  parseAdapterConfig,
  writeAdapter,
} from "../../../engine/formats/peft.ts";
import { type TensorToWrite, writeSafetensors } from "../../../engine/formats/safetensors.ts";
import { assertInputError, fixture, TemporaryFolder } from "./temporary_folder.ts";

Deno.test("a GPT-2 adapter that PEFT wrote is read", async () => {
  const { config, modules, tensors } = await openAdapter(fixture("peft_gpt2"));
  using _ = tensors;
  assert.deepEqual(config, {
    rank: 2,
    alpha: 16,
    dropout: 0,
    targetModules: ["c_attn"],
    excludeModules: null,
    layersToTransform: null,
    layersPattern: null,
    rankPattern: {},
    alphaPattern: {},
    fanInFanOut: true,
    useRslora: false,
    initLoraWeights: true,
    modulesToSave: [],
    baseModel: null,
    revision: null,
    taskType: "CAUSAL_LM",
  });
  assert.equal(loraScale(config), 8);
  assert.deepEqual([...modules.keys()].sort(), [
    "transformer.h.0.attn.c_attn",
    "transformer.h.1.attn.c_attn",
  ]);
  const { a, b } = modules.get("transformer.h.1.attn.c_attn")!;
  assert.deepEqual([a.shape, b.shape], [[2, 8], [24, 2]]);
  assert.ok((await tensors.read(b.name)).some((value) => value !== 0));
});

Deno.test("a classifier that PEFT saved whole is read beside the adapters", async () => {
  const { config, modules, saved, tensors } = await openAdapter(fixture("../peft_bert/adapter"));
  using _ = tensors;
  assert.deepEqual(config.modulesToSave, ["classifier", "score"]);
  assert.equal(modules.size, 4);
  assert.deepEqual([...saved].map(([name, { shape }]) => [name, shape]).sort(), [
    ["classifier.bias", [2]],
    ["classifier.weight", [2, 24]],
  ]);
});

Deno.test("a Llama adapter that PEFT wrote is read", async () => {
  const { config, modules, tensors } = await openAdapter(fixture("peft_llama"));
  using _ = tensors;
  assert.deepEqual([config.rank, config.dropout, config.useRslora, loraScale(config)], [4, 0.1, true, 4]);
  assert.deepEqual(modules.size, 6);
  assert.deepEqual(modules.get("model.layers.1.self_attn.v_proj")!.b.shape, [4, 4]);
  assert.deepEqual(modules.get("model.layers.0.mlp.up_proj")!.a.shape, [4, 8]);
});

Deno.test("an adapter that is written is read back", async () => {
  using folder = new TemporaryFolder();
  const { config } = await openAdapter(fixture("peft_llama"));
  const path = `${folder.path}/new/adapter`;
  await writeAdapter(path, { ...config, targetModules: ".*_proj" }, pair("model.layers.0.mlp.up_proj", 4));
  const written = await openAdapter(path);
  using _ = written.tensors;
  assert.deepEqual(written.config, { ...config, targetModules: ".*_proj" });
  assert.deepEqual(written.tensors.metadata, { format: "pt" });
  assert.deepEqual(written.tensors.names(), [
    "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight",
    "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight",
  ]);
});

Deno.test("the configuration that is written has all the keys PEFT reads", async () => {
  using folder = new TemporaryFolder();
  const { config } = await openAdapter(fixture("peft_gpt2"));
  await writeAdapter(folder.path, config, []);
  assert.deepEqual(JSON.parse(Deno.readTextFileSync(folder.file("adapter_config.json"))), {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: null,
    revision: null,
    inference_mode: true,
    r: 2,
    lora_alpha: 16,
    lora_dropout: 0,
    target_modules: ["c_attn"],
    bias: "none",
    fan_in_fan_out: true,
    init_lora_weights: true,
    use_rslora: false,
    use_dora: false,
    modules_to_save: null,
    rank_pattern: {},
    alpha_pattern: {},
    exclude_modules: null,
    layers_to_transform: null,
    layers_pattern: null,
  });
});

Deno.test("keys that are not known are ignored, absent ones have PEFT's defaults", () => {
  const { rank, alpha, dropout, fanInFanOut } = parseAdapterConfig(
    { peft_type: "LORA", of_the_future: 5 },
    "x.json",
  );
  assert.deepEqual([rank, alpha, dropout, fanInFanOut], [8, 8, 0, false]);
});

Deno.test("adapters of another kind are refused by the key that says so", async () => {
  const refused = (json: Record<string, unknown>, ...parts: string[]) =>
    assertInputError(() => parseAdapterConfig({ peft_type: "LORA", ...json }, "x.json"), "x.json", ...parts);
  await refused({ peft_type: "PROMPT_TUNING" }, 'peft_type is "PROMPT_TUNING", expected "LORA"');
  await refused({ peft_type: undefined }, "peft_type is nothing");
  await refused({ use_dora: true }, "use_dora is true");
  await refused({ use_qalora: true }, "use_qalora is true");
  await refused({ lora_bias: true }, "lora_bias is true");
  await refused({ modules_to_save: "lm_head" }, 'modules_to_save is "lm_head"', "a list of names");
  await refused({ rank_pattern: { c_attn: 0 } }, "rank_pattern", "whole numbers above 0");
  await refused({ rank_pattern: { "(c_attn": 4 } }, "rank_pattern", "by regular expressions");
  await refused({ alpha_pattern: { c_attn: "4" } }, "alpha_pattern", "numbers by regular expressions");
  await refused({ exclude_modules: [1] }, "exclude_modules is [1]");
  await refused({ layers_to_transform: ["1"] }, 'layers_to_transform is ["1"]');
  await refused({ layers_pattern: 1 }, "layers_pattern is 1");
  await refused(
    { target_modules: "a++" },
    'target_modules is "a++"',
    "a regular expression that JavaScript has",
  );
  await refused(
    { exclude_modules: "(a" },
    'exclude_modules is "(a"',
    "a regular expression that JavaScript has",
  );
  await refused({ layers_pattern: ["(h"], layers_to_transform: 1 }, 'layers_pattern is ["(h"]');
  await refused(
    { layers_pattern: "h" },
    'layers_pattern is "h", expected nothing without layers_to_transform',
  );
  await refused(
    { target_modules: ".*c_attn", layers_to_transform: 1 },
    "layers_to_transform is 1, expected nothing beside a target_modules that is an expression",
  );
  await refused({ layer_replication: [[0, 4], [2, 5]] }, "layer_replication");
  await refused({ bias: "all" }, 'bias is "all"');
  await refused({ init_lora_weights: "pissa" }, 'init_lora_weights is "pissa"');
});

Deno.test("values of the wrong type are refused with the value expected", async () => {
  const refused = (json: Record<string, unknown>, ...parts: string[]) =>
    assertInputError(() => parseAdapterConfig({ peft_type: "LORA", ...json }, "x.json"), ...parts);
  await refused({ r: 0 }, "r is 0, expected a whole number above 0");
  await refused({ r: 2.5 }, "r is 2.5");
  await refused({ lora_alpha: "16" }, 'lora_alpha is "16", expected a number');
  await refused({ lora_dropout: 1 }, "lora_dropout is 1");
  await refused({ target_modules: [1] }, "target_modules is [1]");
  await refused({ fan_in_fan_out: "yes" }, "fan_in_fan_out");
  await refused({ use_rslora: 1 }, "use_rslora is 1");
  await refused({ base_model_name_or_path: 5 }, "base_model_name_or_path is 5");
});

Deno.test("tensors that are not pairs of the configured rank are refused by name", async () => {
  const refused = async (tensors: TensorToWrite[], ...parts: string[]) => {
    using folder = new TemporaryFolder();
    folder.file("adapter_config.json", JSON.stringify({ peft_type: "LORA", r: 2 }));
    await writeSafetensors(folder.file("adapter_model.safetensors"), tensors);
    await assertInputError(() => openAdapter(folder.path), "adapter_model.safetensors", ...parts);
  };
  const [a, b] = pair("h.0", 2);
  await refused([a], 'no tensor "base_model.model.h.0.lora_B.weight"');
  await refused([b], 'no tensor "base_model.model.h.0.lora_A.weight"');
  await refused([], "it has no tensors");
  await refused([a, b, tensor("base_model.model.h.0.lora_magnitude_vector", [3])], "lora_magnitude_vector");
  await refused([a, b, tensor("base_model.model.wte.lora_embedding_A", [2, 3])], "lora_embedding_A");
  await refused([a, b, tensor("h.1.lora_A.weight", [2, 3])], '"h.1.lora_A.weight"');
  await refused(pair("h.0", 3), "has shape [3,4], expected [2, in] by r and rank_pattern");
  await refused([a, tensor(b.name, [6])], "has shape [6], expected [out, 2]");
});

Deno.test("an adapter folder without one of its files is refused", async () => {
  using folder = new TemporaryFolder();
  await assertInputError(() => openAdapter(folder.path), "adapter_config.json", "no such file");
  folder.file("adapter_config.json", '{"peft_type":"LORA","r":8,"r":16}');
  await assertInputError(() => openAdapter(folder.path), 'the key "r" appears twice');
  folder.file("adapter_config.json", '{"peft_type":"LORA"}');
  await assertInputError(() => openAdapter(folder.path), "adapter_model.safetensors", "no such file");
});

/** A [rank, 4] and B [3, rank] of one module, all zero. */
function pair(modulePath: string, rank: number): TensorToWrite[] {
  return [
    tensor(loraTensorName(modulePath, "A"), [rank, 4]),
    tensor(loraTensorName(modulePath, "B"), [3, rank]),
  ];
}

function tensor(name: string, shape: number[]): TensorToWrite {
  return {
    name,
    dtype: "F32",
    shape,
    data: () => new Float32Array(shape.reduce((product, size) => product * size, 1)),
  };
}
