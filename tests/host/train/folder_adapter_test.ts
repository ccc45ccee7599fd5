import assert from "node:assert/strict";
import { join } from "node:path";
import { modelOf, readModelConfig } from "../../../engine/model/config.ts";
import { buildEvaluation, buildStep } from "../../../engine/passes/pipeline.ts";
import { loraScaleOf } from "../../../engine/passes/lora.ts";
import { writeSafetensors } from "../../../engine/formats/safetensors.ts";
import { readFolderAdapter } from "../../../engine/train/adapters.ts";
import { adapterToGoOnWith } from "../../../engine/train/methods.ts";
import { stepSettings } from "../../../engine/train/trainer.ts";
import { dropout } from "../../../kernels/dropout.ts";
import { engine } from "../../../suites/engine.ts";
import { main } from "../../../suites/cli/main.ts";
import { assertInputError, TemporaryFolder } from "../formats/temporary_folder.ts";
import { fakeServices } from "../suites/fake_services.ts";
import { fixtureOptions, gpt2Fixture } from "../../support/gpt2_fixture.ts";

const FIXTURES = `${import.meta.dirname}/../../fixtures/`;
const SETTINGS = `${FIXTURES}peft_settings/`;
const llama = modelOf(await readModelConfig(`${FIXTURES}peft_llama/base`));
const gpt2 = modelOf(await readModelConfig(`${FIXTURES}peft_gpt2/base`));

/** The adapter `name` with other values of its `adapter_config.json`. */
async function withConfig(
  name: string,
  changes: Record<string, unknown>,
  test: (folder: string) => unknown,
): Promise<void> {
  using folder = new TemporaryFolder();
  const config = JSON.parse(await Deno.readTextFile(`${SETTINGS}${name}/adapter_config.json`));
  folder.file("adapter_config.json", JSON.stringify({ ...config, ...changes }));
  const tensors = "adapter_model.safetensors";
  await Deno.copyFile(`${SETTINGS}${name}/${tensors}`, join(folder.path, tensors));
  await test(folder.path);
}

Deno.test("rank, alpha and scale of every module are those of the folder", async () => {
  const { settings } = await readFolderAdapter(`${SETTINGS}gpt2_rslora_patterns`, gpt2.parameters);
  const ranks = Object.fromEntries(
    [...settings.modules!].map(([path, { rank, alpha }]) => [path, [rank, alpha]]),
  );
  assert.deepEqual(ranks, {
    "transformer.h.0.attn.c_attn": [4, 8],
    "transformer.h.0.mlp.c_fc": [3, 8],
    "transformer.h.1.attn.c_attn": [4, 8],
    "transformer.h.1.mlp.c_fc": [3, 20],
  });
  assert.equal(loraScaleOf(settings, "transformer.h.1.mlp.c_fc"), 20 / Math.sqrt(3));
  assert.equal(loraScaleOf(settings, "transformer.h.0.attn.c_attn"), 4);
});

Deno.test("an adapter of BERT that has its classifier beside it is taken", async () => {
  const bert = modelOf(await readModelConfig(`${FIXTURES}bert_tiny/classification/model`));
  const { config, settings } = await readFolderAdapter(`${FIXTURES}peft_bert/adapter`, bert.parameters);
  assert.deepEqual([config.modulesToSave, settings.modules!.size], [["classifier", "score"], 4]);
});

Deno.test("a folder whose tensors are not those of the modules that it names is refused", async () => {
  const refused = (name: string, changes: Record<string, unknown>, ...parts: string[]) =>
    withConfig(
      name,
      changes,
      (folder) => assertInputError(() => readFolderAdapter(folder, llama.parameters), folder, ...parts),
    );
  await refused(
    "llama_alpha",
    { layers_to_transform: 1 },
    "it has an adapter of model.layers.0.self_attn.q_proj, and adapter_config.json says none",
    'target_modules ["q_proj","v_proj"], layers_to_transform 1',
  );
  await refused(
    "llama_one_layer",
    { layers_to_transform: null },
    "it has no adapter of model.layers.0.self_attn.q_proj, and adapter_config.json says one",
  );
  await refused("llama_alpha", { exclude_modules: ["v_proj"] }, "v_proj", 'exclude_modules ["v_proj"]');
  await refused("llama_all_linear", { target_modules: "q_proj" }, 'target_modules "q_proj"');
  await refused("llama_alpha", { rank_pattern: { v_proj: 3 } }, "expected [3, in] by r and rank_pattern");
  // Patterns of modules without an adapter, and targets that are not said, contradict nothing.
  await withConfig(
    "llama_alpha",
    { rank_pattern: { k_proj: 2 }, alpha_pattern: { k_proj: 64 } },
    async (folder) => {
      const { settings } = await readFolderAdapter(folder, llama.parameters);
      assert.ok([...settings.modules!.values()].every(({ rank, alpha }) => rank === 8 && alpha === 32));
    },
  );
  await withConfig("llama_alpha", { target_modules: null }, async (folder) => {
    assert.equal((await readFolderAdapter(folder, llama.parameters)).settings.modules!.size, 4);
  });
  await withConfig("llama_all_linear", { target_modules: "all-linear" }, async (folder) => {
    assert.equal((await readFolderAdapter(folder, llama.parameters)).settings.modules!.size, 14);
  });
});

Deno.test("adapters of heads and embeddings, and modules saved whole, are refused by name", async () => {
  const vocabulary = llama.config.vocabularySize;
  const refused = async (
    json: Record<string, unknown>,
    tensors: Record<string, number[]>,
    ...parts: string[]
  ) => {
    using folder = new TemporaryFolder();
    folder.file("adapter_config.json", JSON.stringify({ peft_type: "LORA", r: 2, ...json }));
    const q = "model.layers.0.self_attn.q_proj";
    const all = { [`${q}.lora_A.weight`]: [2, 24], [`${q}.lora_B.weight`]: [24, 2], ...tensors };
    await writeSafetensors(
      folder.file("adapter_model.safetensors"),
      Object.entries(all).map(([name, shape]) => ({
        name: `base_model.model.${name}`,
        dtype: "F32" as const,
        shape,
        data: () => new Float32Array(shape[0] * shape[1]),
      })),
    );
    await assertInputError(() => readFolderAdapter(folder.path, llama.parameters), folder.path, ...parts);
  };
  const head = { "lm_head.lora_A.weight": [2, 24], "lm_head.lora_B.weight": [vocabulary, 2] };
  await refused({}, head, "it adapts lm_head (target_modules)", "not supported");
  const saved = { "lm_head.weight": [vocabulary, 24] };
  await refused({ modules_to_save: ["lm_head"] }, saved, "it holds lm_head.weight whole (modules_to_save)");
  const table = { "model.embed_tokens.lora_embedding_A": [2, vocabulary] };
  await refused({}, table, "embed_tokens", "adapts an embedding (target_modules), which is not supported");
  await assertInputError(
    () => readFolderAdapter(`${SETTINGS}gpt2_alpha`, llama.parameters),
    "it adapts transformer.h.0.attn.c_attn (target_modules)",
    "the model has no such matrix",
  );
});

Deno.test("settings that contradict the folder are refused, those that agree are not", async () => {
  const folder = `${SETTINGS}llama_rslora`;
  const goOn = (lora: Record<string, unknown>, name = folder) =>
    adapterToGoOnWith(name, { methods: ["lora"], methodOptions: { lora } }, llama);
  const refused = (lora: Record<string, unknown>, ...parts: string[]) =>
    assertInputError(() => goOn(lora), `${folder}/adapter_config.json has`, ...parts);
  await refused({ rank: 4 }, "--lora-rank 4", "has r 8");
  await refused({ alpha: 32 }, "--lora-alpha 32", "has lora_alpha 16");
  await refused({ dropout: 0.1 }, "--lora-dropout 0.1", "has lora_dropout 0");
  await refused({ rankStabilized: false }, "--lora-rank-stabilized false", "has use_rslora true");
  await refused(
    { targets: "all-linear" },
    "--lora-targets all-linear",
    'has target_modules ["q_proj","v_proj"]',
  );
  await goOn({ rank: 8, alpha: 16, dropout: 0, rankStabilized: true, targets: "query-value", plusRatio: 4 });
  await assertInputError(
    () => goOn({ targets: "query-value" }, `${SETTINGS}llama_one_layer`),
    'has target_modules ["q_proj","v_proj"], layers_to_transform 1',
  );
  await assertInputError(
    () => adapterToGoOnWith(folder, { methods: ["fp16"], methodOptions: {} }, llama),
    "methods are fp16, expected a LoRA one",
  );
});

Deno.test("dropout of the folder acts in training, in every adapter, and not in evaluation", async () => {
  await withConfig("gpt2_rslora_patterns", { lora_dropout: 0.25 }, async (folder) => {
    const options = fixtureOptions(await gpt2Fixture(), {
      methods: ["lora"],
      methodOptions: {},
      heldOutFraction: 0,
    });
    const adapter = await adapterToGoOnWith(folder, options, gpt2);
    const { graphs } = buildStep(stepSettings(gpt2, options, adapter));
    const forward = graphs.flatMap(({ nodes }) => nodes).filter(({ op, phase }) =>
      op === dropout && phase === "forward"
    );
    assert.deepEqual(
      forward.map(({ attrs }) => (attrs as { probability: number }).probability),
      Array(4).fill(0.25),
    );
    const methods = { lora: adapter.settings };
    const { graph } = buildEvaluation({ model: gpt2, microBatchSize: 1, sequenceLength: 4, methods });
    assert.ok(graph.nodes.every(({ op }) => op !== dropout));
    await assertInputError(
      () => adapterToGoOnWith(folder, { ...options, methodOptions: { lora: { dropout: 0 } } }, gpt2),
      "--lora-dropout 0: ",
      "has lora_dropout 0.25",
    );
  });
});

Deno.test("train --adapter ends with 2 where a flag contradicts the folder, and says which", async () => {
  const lines: string[] = [];
  const services = { ...fakeServices(() => {}, (text) => lines.push(text)), engine };
  const base = `${FIXTURES}peft_llama/`;
  const adapter = `${SETTINGS}llama_alpha`;
  const code = await main([
    ...["train", "--model", `${base}base`, "--data", `${base}tokens.u16`, "--seq-len", "17", "--quiet"],
    ...["--methods", "qlora-nf4", "--adapter", adapter, "--lora-rank", "8", "--lora-alpha", "16"],
  ], services);
  assert.equal(code, 2);
  assert.match(lines.join("\n"), /--lora-alpha 16: .*llama_alpha\/adapter_config\.json has lora_alpha 32/);
});
