import { readJsonInput } from "../formats/input_file.ts";
import { isJsonObject } from "../formats/json.ts";
import { InputError } from "../input_error.ts";
import type { Value } from "../graph/types.ts";
import { bert, type BertConfig } from "./bert.ts";
import { ConfigReader } from "./config_reader.ts";
import { gemma, type GemmaConfig } from "./gemma.ts";
import type { AdapterTargets, ModelFamily, Objective } from "./family.ts";
import { gpt2, type Gpt2Config } from "./gpt2.ts";
import { gptNeox, type GptNeoxConfig } from "./gpt_neox.ts";
import { headLogits, headLoss } from "./head.ts";
import type { InputShape } from "./inputs.ts";
import type { LayerContext } from "./layers.ts";
import { llama, type LlamaConfig } from "./llama.ts";
import { olmo2, type Olmo2Config } from "./olmo2.ts";
import { opt, type OptConfig } from "./opt.ts";
import type { ParameterSpec } from "./parameters.ts";
import { phi3, type Phi3Config } from "./phi3.ts";
import { qwen3, type Qwen3Config } from "./qwen3.ts";
import { smollm3, type Smollm3Config } from "./smollm3.ts";

/** A model of any known family. */
export type ModelConfig =
  | Gpt2Config
  | LlamaConfig
  | Qwen3Config
  | Smollm3Config
  | Olmo2Config
  | Phi3Config
  | GemmaConfig
  | GptNeoxConfig
  | OptConfig
  | BertConfig;

/** The families by name: a new one is a file, a line here and a fixture. */
const FAMILIES: Readonly<Record<ModelConfig["family"], ModelFamily<ModelConfig>>> = {
  gpt2,
  llama,
  qwen3,
  smollm3,
  olmo2,
  phi3,
  gemma,
  gpt_neox: gptNeox,
  opt,
  bert,
};

/** What the engine must know of a model, whatever its family. */
export interface Model {
  config: ModelConfig;
  objective: Objective;
  parameters: ParameterSpec[];
  /** Which inputs its graphs have. */
  inputs(size: { batch: number; sequence: number; packed?: boolean }): InputShape;
  /** Builds the forward graph up to the summed loss. */
  loss(context: LayerContext): Value;
  /** Builds the forward graph up to the logits `[N, V]`, or `[B, V]` where a sequence has one target. */
  logits(context: LayerContext): Value;
  /** Which linear layers get LoRA adapters, by what users call them. */
  adapterTargets: AdapterTargets;
  /** FLOPs of one token's forward pass in matrix products. */
  forwardFlopsPerToken(sequence: number): number;
}

/** The model of a complete configuration. */
export function modelOf(config: ModelConfig): Model {
  const family = FAMILIES[config.family];
  const objective = family.objective(config);
  return {
    config,
    objective,
    parameters: family.parameters(config),
    inputs: ({ batch, sequence, packed = false }) => ({
      batch,
      sequence,
      extra: packed ? [...family.inputs, "segments"] : family.inputs,
      targetPerSequence: objective === "sequence-label",
      constants: family.constants?.(config, sequence) ?? [],
    }),
    loss: (context) => headLoss(context, family.head(context, config)),
    logits: (context) => headLogits(context, family.head(context, config)),
    adapterTargets: family.adapterTargets(config),
    forwardFlopsPerToken: (sequence) => family.forwardFlops(config, sequence),
  };
}

/** Names of the labels that a model predicts; none where it predicts tokens. */
export function labelsOf(config: ModelConfig): readonly string[] {
  return config.family === "bert" ? config.labels : [];
}

/**
 * Reads `config.json` of a model folder.
 *
 * @throws {InputError} naming file and field: unknown architecture, missing or impossible sizes.
 */
export async function readModelConfig(folder: string): Promise<ModelConfig> {
  const path = `${folder}/config.json`;
  return parseModelConfig(await readJsonInput(path), path);
}

/** @param path Where the JSON came from, for messages. @throws {InputError} */
export function parseModelConfig(json: Record<string, unknown>, path: string): ModelConfig {
  const families = Object.values(FAMILIES);
  const text = textModelJson(json);
  if (text !== json) return parseModelConfig(text, path);
  const family = families.find(({ modelTypes }) => modelTypes.includes(String(json.model_type)));
  if (!family) {
    throw new InputError(
      `${path}: model_type is ${JSON.stringify(json.model_type) ?? "missing"}; known architectures: ${
        families.flatMap(({ modelTypes }) => modelTypes).join(", ")
      }`,
    );
  }
  const read = new ConfigReader(json, path);
  read.absent("quantization_config", "only weights stored as plain numbers can be read");
  return family.parse(read);
}

/**
 * The configuration of the text model of one that also reads images, as far as there is one that is known
 * here; otherwise the same.
 */
export function textModelJson(json: Record<string, unknown>): Record<string, unknown> {
  if (json.model_type !== "gemma3" || !isJsonObject(json.text_config)) return json;
  const { quantization_config, tie_word_embeddings } = json;
  return {
    model_type: "gemma3_text",
    ...json.text_config,
    ...quantization_config !== undefined && { quantization_config },
    ...tie_word_embeddings === false && { tie_word_embeddings },
  };
}

/** Probabilities of dropout under their names in config.json, as `resid_pdrop`. */
export function dropoutJson(config: ModelConfig): Record<string, number> {
  return FAMILIES[config.family].dropoutJson(config);
}

/** A configuration as Hugging Face's config.json. */
export function modelConfigJson(config: ModelConfig): Record<string, unknown> {
  return FAMILIES[config.family].configJson(config);
}
