import { readJsonInput } from "../formats/input_file.ts";
import { InputError } from "../input_error.ts";
import type { Value } from "../graph/types.ts";
import type { Gpt2Config } from "./gpt2.ts";
import { GPT2_ADAPTER_TARGETS, gpt2ForwardFlops, gpt2Loss, gpt2Parameters } from "./gpt2.ts";
import type { LayerContext } from "./layers.ts";
import type { ParameterSpec } from "./parameters.ts";

/** A model of any known family. */
export type ModelConfig = Gpt2Config;

/** GPT-2 sizes. `vocabularySize` 0 takes the tokenizer's: the small ones are trained from scratch on any vocabulary. */
export const PRESETS: Readonly<Record<string, ModelConfig>> = {
  "gpt2-nano": gpt2Preset({
    layerCount: 4,
    hiddenSize: 128,
    headCount: 4,
    positionCount: 128,
    vocabularySize: 0,
  }),
  "gpt2-mini": gpt2Preset({
    layerCount: 6,
    hiddenSize: 384,
    headCount: 6,
    positionCount: 256,
    vocabularySize: 0,
  }),
  "gpt2": gpt2Preset({ layerCount: 12, hiddenSize: 768, headCount: 12 }),
  "gpt2-medium": gpt2Preset({ layerCount: 24, hiddenSize: 1024, headCount: 16 }),
  "gpt2-large": gpt2Preset({ layerCount: 36, hiddenSize: 1280, headCount: 20 }),
  "gpt2-xl": gpt2Preset({ layerCount: 48, hiddenSize: 1600, headCount: 25 }),
};

function gpt2Preset(
  sizes: {
    layerCount: number;
    hiddenSize: number;
    headCount: number;
    positionCount?: number;
    vocabularySize?: number;
  },
): Gpt2Config {
  return {
    family: "gpt2",
    vocabularySize: 50257,
    positionCount: 1024,
    ...sizes,
    feedForwardSize: 4 * sizes.hiddenSize,
    normEpsilon: 1e-5,
    initializerRange: 0.02,
    tiedHead: true,
  };
}

/** What the engine must know of a model, whatever its family. */
export interface Model {
  config: ModelConfig;
  parameters: ParameterSpec[];
  /** Builds the forward graph up to the summed loss. */
  loss(context: LayerContext): Value;
  /** Which linear layers get LoRA adapters, by what users call them. */
  adapterTargets: AdapterTargets;
  /** FLOPs of one token's forward pass in matrix products. */
  forwardFlopsPerToken(sequence: number): number;
}

/** Ends of module names by group. */
export type AdapterTargets = Readonly<Record<"query-value" | "attention" | "all-linear", readonly string[]>>;

/** The model of a complete configuration. */
export function modelOf(config: ModelConfig): Model {
  return {
    config,
    parameters: gpt2Parameters(config),
    loss: (context) => gpt2Loss(context, config),
    adapterTargets: GPT2_ADAPTER_TARGETS,
    forwardFlopsPerToken: (sequence) => gpt2ForwardFlops(config, sequence),
  };
}

/** Architectures a config.json may name. */
const KNOWN_MODEL_TYPES = ["gpt2"];

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
  if (!KNOWN_MODEL_TYPES.includes(String(json.model_type))) {
    throw new InputError(
      `${path}: model_type is ${JSON.stringify(json.model_type)}; known architectures: ${
        KNOWN_MODEL_TYPES.join(", ")
      }`,
    );
  }
  const read = new ConfigReader(json, path);
  const hiddenSize = read.positiveInteger("n_embd");
  const headCount = read.positiveInteger("n_head");
  if (hiddenSize % headCount !== 0) {
    throw new InputError(`${path}: n_embd is ${hiddenSize}, which ${headCount} heads (n_head) do not divide`);
  }
  read.oneOf("activation_function", ["gelu_new", "gelu_pytorch_tanh"], "gelu_new");
  read.oneOf("scale_attn_weights", [true], true);
  read.oneOf("scale_attn_by_inverse_layer_idx", [false], false);
  read.oneOf("add_cross_attention", [false], false);
  return {
    family: "gpt2",
    vocabularySize: read.positiveInteger("vocab_size"),
    positionCount: read.positiveInteger("n_positions"),
    hiddenSize,
    layerCount: read.positiveInteger("n_layer"),
    headCount,
    feedForwardSize: json.n_inner == null ? 4 * hiddenSize : read.positiveInteger("n_inner"),
    normEpsilon: read.positiveNumber("layer_norm_epsilon", 1e-5),
    initializerRange: read.positiveNumber("initializer_range", 0.02),
    tiedHead: read.oneOf("tie_word_embeddings", [true, false], true),
  };
}

/** A configuration as Hugging Face's config.json. */
export function modelConfigJson(config: ModelConfig): Record<string, unknown> {
  return {
    model_type: "gpt2",
    architectures: ["GPT2LMHeadModel"],
    vocab_size: config.vocabularySize,
    n_positions: config.positionCount,
    n_ctx: config.positionCount,
    n_embd: config.hiddenSize,
    n_layer: config.layerCount,
    n_head: config.headCount,
    n_inner: config.feedForwardSize === 4 * config.hiddenSize ? null : config.feedForwardSize,
    activation_function: "gelu_new",
    layer_norm_epsilon: config.normEpsilon,
    initializer_range: config.initializerRange,
    tie_word_embeddings: config.tiedHead,
    resid_pdrop: 0,
    embd_pdrop: 0,
    attn_pdrop: 0,
    torch_dtype: "float32",
  };
}

/** Typed access to a config.json, with messages that name file, field, value and what was expected. */
class ConfigReader {
  readonly #json: Record<string, unknown>;
  readonly #path: string;

  constructor(json: Record<string, unknown>, path: string) {
    this.#json = json;
    this.#path = path;
  }

  positiveInteger(field: string): number {
    const value = this.#json[field];
    if (typeof value === "number" && Number.isSafeInteger(value) && value > 0 && value < 2 ** 31) {
      return value;
    }
    throw this.#refuse(field, "a positive whole number");
  }

  positiveNumber(field: string, byDefault: number): number {
    const value = this.#json[field] ?? byDefault;
    if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
    throw this.#refuse(field, "a positive number");
  }

  oneOf<T>(field: string, allowed: readonly T[], byDefault: T): T {
    const value = (this.#json[field] ?? byDefault) as T;
    if (allowed.includes(value)) return value;
    throw this.#refuse(field, allowed.map((one) => JSON.stringify(one)).join(" or "));
  }

  #refuse(field: string, expected: string): InputError {
    const given = field in this.#json ? JSON.stringify(this.#json[field]) : "missing";
    return new InputError(`${this.#path}: ${field} is ${given}, expected ${expected}`);
  }
}
