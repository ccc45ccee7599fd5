import type { Value } from "../graph/types.ts";
import { siluMul } from "../../kernels/elementwise.ts";
import type { ConfigReader } from "./config_reader.ts";
import { type DropoutRates, NO_DROPOUT, readDropout } from "./dropout.ts";
import type { Head, ModelFamily } from "./family.ts";
import type { AttentionHeads, LayerContext } from "./layers.ts";
import {
  embeddingSpec,
  headSpec,
  linearSpecs,
  normal,
  normSpecs,
  type ParameterSpec,
  withOptionalPrefix,
} from "./parameters.ts";
import { type RotaryScaling, rotaryTable } from "./rotary.ts";

/**
 * Whose names a model of this shape goes by. They differ in which layers have
 * biases and in what is left to defaults.
 */
const ARCHITECTURES = {
  llama: ["LlamaForCausalLM", "LlamaModel"],
  mistral: ["MistralForCausalLM", "MistralModel"],
  qwen2: ["Qwen2ForCausalLM", "Qwen2Model"],
} as const;
type ModelType = keyof typeof ARCHITECTURES;

/**
 * Llama 2 and 3 and what shares their shape: rotary positions, pre-RMSNorm blocks, grouped key/value heads,
 * SwiGLU, a head of its own or tied to the embedding.
 */
export interface LlamaConfig {
  family: "llama";
  modelType: ModelType;
  vocabularySize: number;
  positionCount: number;
  hiddenSize: number;
  layerCount: number;
  headCount: number;
  kvHeadCount: number;
  /** Need not be hidden size ÷ heads. */
  headSize: number;
  feedForwardSize: number;
  normEpsilon: number;
  initializerRange: number;
  /** Base of the rotation frequencies. */
  rotaryBase: number;
  rotaryScaling: RotaryScaling | null;
  qkvBias: boolean;
  outputBias: boolean;
  feedForwardBias: boolean;
  tiedHead: boolean;
  dropout: Readonly<DropoutRates>;
}

const ROTARY_TABLE = "rotary_table";

export const llama: ModelFamily<LlamaConfig> = {
  modelTypes: Object.keys(ARCHITECTURES),
  parse,
  configJson,
  dropoutJson,
  objective: () => "next-token",
  parameters,
  inputs: ["positions"],
  constants: (config, sequence) => [{
    name: ROTARY_TABLE,
    shape: [sequence, config.headSize],
    data: () =>
      rotaryTable(sequence, {
        headSize: config.headSize,
        base: config.rotaryBase,
        scaling: config.rotaryScaling,
      }),
  }],
  head,
  forwardFlops(config, sequence) {
    const { hiddenSize: C, headCount: H, kvHeadCount: K, headSize: D, feedForwardSize: F } = config;
    const block = 2 * (C * (2 * H + 2 * K) * D + 3 * C * F) + 4 * sequence * H * D;
    return config.layerCount * block + 2 * C * config.vocabularySize;
  },
  adapterTargets: {
    "query-value": ["q_proj", "v_proj"],
    "attention": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "all-linear": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
  },
};

function parse(read: ConfigReader): LlamaConfig {
  const modelType = read.oneOf("model_type", Object.keys(ARCHITECTURES) as ModelType[]);
  const [causal, base] = ARCHITECTURES[modelType];
  read.architecture([causal, base], causal);
  const hiddenSize = read.positiveInteger("hidden_size");
  const headCount = read.positiveInteger("num_attention_heads");
  read.oneOf("hidden_act", ["silu", "swish"], "silu");
  refuseWindows(read, modelType);
  const isLlama = modelType === "llama";
  const attentionBias = isLlama && read.oneOf("attention_bias", [true, false], false);
  return {
    family: "llama",
    modelType,
    vocabularySize: read.positiveInteger("vocab_size"),
    positionCount: read.positiveInteger("max_position_embeddings"),
    hiddenSize,
    layerCount: read.layerCount("num_hidden_layers"),
    headCount,
    // The first Llama had no such field; the others' defaults depend on the version of transformers.
    kvHeadCount: read.divisor(
      "num_key_value_heads",
      { field: "num_attention_heads", value: headCount },
      isLlama ? headCount : undefined,
    ),
    headSize: headSizeOf(read, hiddenSize, headCount),
    feedForwardSize: read.positiveInteger("intermediate_size"),
    normEpsilon: read.positiveNumber("rms_norm_eps", 1e-6),
    initializerRange: read.positiveNumber("initializer_range", 0.02),
    ...readRotary(read),
    qkvBias: modelType === "qwen2" || attentionBias,
    outputBias: attentionBias,
    feedForwardBias: isLlama && read.oneOf("mlp_bias", [true, false], false),
    tiedHead: read.oneOf("tie_word_embeddings", [true, false], false),
    // Nothing else of these models has dropout in transformers.
    dropout: { ...NO_DROPOUT, attention: readDropout(read, "attention_dropout", 0) },
  };
}

function headSizeOf(read: ConfigReader, hiddenSize: number, headCount: number): number {
  if (!read.has("head_dim")) {
    read.divisor("num_attention_heads", { field: "hidden_size", value: hiddenSize });
  }
  const headSize = read.positiveInteger("head_dim", hiddenSize / headCount);
  if (headSize % 2 === 0) return headSize;
  if (read.has("head_dim")) throw read.refusal("head_dim", "an even number: rotary positions turn pairs");
  throw read.refusal(
    "num_attention_heads",
    `a number that leaves heads of even width: hidden_size is ${hiddenSize}`,
  );
}

/** @throws {InputError} where attention would not see all positions before. */
function refuseWindows(read: ConfigReader, modelType: ModelType): void {
  // Qwen2 writes the width of a window that it does not use.
  if (modelType === "qwen2") read.oneOf("use_sliding_window", [false], false);
  // Without the field transformers gives Mistral a window of 4096.
  if (modelType === "mistral" && !(read.given("sliding_window") && !read.has("sliding_window"))) {
    throw read.refusal("sliding_window", "null: attention over a sliding window is not known here");
  }
  read.all("layer_types", "full_attention");
}

/** transformers 5 has one object `rope_parameters`, transformers 4 `rope_theta` beside `rope_scaling`. */
function readRotary(read: ConfigReader): Pick<LlamaConfig, "rotaryBase" | "rotaryScaling"> {
  const parameters = read.object("rope_parameters");
  const scaling = read.object("rope_scaling");
  if (parameters && scaling) throw read.refusal("rope_scaling", "none beside rope_parameters");
  const source = parameters ?? scaling;
  source?.only(["rope_theta", "rope_type", "type", "partial_rotary_factor", ...LLAMA3_FIELDS]);
  source?.oneOf("partial_rotary_factor", [1], 1);
  read.oneOf("partial_rotary_factor", [1], 1);
  const rotaryBase = parameters?.has("rope_theta")
    ? parameters.positiveNumber("rope_theta")
    : read.positiveNumber("rope_theta", 10000);
  if (read.has("rope_theta") && read.positiveNumber("rope_theta") !== rotaryBase) {
    throw read.refusal("rope_theta", `${rotaryBase}, as rope_parameters has it`);
  }
  return { rotaryBase, rotaryScaling: source && readScaling(source) };
}

const LLAMA3_FIELDS = ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"];

function readScaling(read: ConfigReader): RotaryScaling | null {
  // Early versions of transformers 4 called it `type`.
  const field = read.has("rope_type") || !read.has("type") ? "rope_type" : "type";
  if (read.oneOf(field, ["default", "llama3"], "default") === "default") return null;
  const scaling = {
    factor: read.positiveNumber("factor"),
    lowFrequencyFactor: read.positiveNumber("low_freq_factor"),
    highFrequencyFactor: read.positiveNumber("high_freq_factor"),
    originalPositionCount: read.positiveInteger("original_max_position_embeddings"),
  };
  if (!(scaling.highFrequencyFactor > scaling.lowFrequencyFactor)) {
    throw read.refusal("high_freq_factor", `more than low_freq_factor, ${scaling.lowFrequencyFactor}`);
  }
  return scaling;
}

/** In the form of transformers 4, which version 5 reads as well. */
function configJson(config: LlamaConfig): Record<string, unknown> {
  const { rotaryScaling: scaling, modelType } = config;
  const own: Record<ModelType, Record<string, unknown>> = {
    llama: {
      attention_bias: config.qkvBias,
      mlp_bias: config.feedForwardBias,
      head_dim: config.headSize,
    },
    mistral: { sliding_window: null, head_dim: config.headSize },
    qwen2: { use_sliding_window: false, ...headDimWhereUnusual(config) },
  };
  return {
    model_type: modelType,
    architectures: [ARCHITECTURES[modelType][0]],
    vocab_size: config.vocabularySize,
    max_position_embeddings: config.positionCount,
    hidden_size: config.hiddenSize,
    intermediate_size: config.feedForwardSize,
    num_hidden_layers: config.layerCount,
    num_attention_heads: config.headCount,
    num_key_value_heads: config.kvHeadCount,
    hidden_act: "silu",
    rms_norm_eps: config.normEpsilon,
    initializer_range: config.initializerRange,
    rope_theta: config.rotaryBase,
    rope_scaling: scaling && {
      rope_type: "llama3",
      factor: scaling.factor,
      low_freq_factor: scaling.lowFrequencyFactor,
      high_freq_factor: scaling.highFrequencyFactor,
      original_max_position_embeddings: scaling.originalPositionCount,
    },
    ...own[modelType],
    ...dropoutJson(config),
    tie_word_embeddings: config.tiedHead,
    torch_dtype: "float32",
  };
}

function dropoutJson({ dropout }: LlamaConfig): Record<string, number> {
  return { attention_dropout: dropout.attention };
}

function headDimWhereUnusual({ headSize, hiddenSize, headCount }: LlamaConfig): Record<string, unknown> {
  return headSize * headCount === hiddenSize ? {} : { head_dim: headSize };
}

function parameters(config: LlamaConfig): ParameterSpec[] {
  const { hiddenSize: C, headCount: H, kvHeadCount: K, headSize: D, feedForwardSize: F } = config;
  const init = normal(config.initializerRange);
  const matrix = (name: string, [cIn, cOut]: [number, number], bias: boolean) =>
    linearSpecs(name, { cIn, cOut, init, bias });
  const norm = (name: string) => normSpecs(name, C, { bias: false });
  const block = (name: string): ParameterSpec[] => [
    ...norm(`${name}.input_layernorm`),
    ...matrix(`${name}.self_attn.q_proj`, [C, H * D], config.qkvBias),
    ...matrix(`${name}.self_attn.k_proj`, [C, K * D], config.qkvBias),
    ...matrix(`${name}.self_attn.v_proj`, [C, K * D], config.qkvBias),
    ...matrix(`${name}.self_attn.o_proj`, [H * D, C], config.outputBias),
    ...norm(`${name}.post_attention_layernorm`),
    ...matrix(`${name}.mlp.gate_proj`, [C, F], config.feedForwardBias),
    ...matrix(`${name}.mlp.up_proj`, [C, F], config.feedForwardBias),
    ...matrix(`${name}.mlp.down_proj`, [F, C], config.feedForwardBias),
  ];
  return withOptionalPrefix("model.", [
    embeddingSpec("model.embed_tokens", [config.vocabularySize, C], init),
    ...Array.from({ length: config.layerCount }, (_, l) => block(`model.layers.${l}`)).flat(),
    ...norm("model.norm"),
    ...(config.tiedHead ? [] : [headSpec("lm_head.weight", [config.vocabularySize, C], init)]),
  ]);
}

function head(context: LayerContext, config: LlamaConfig): Head {
  let x = context.scope(
    "embedding",
    () => context.dropout(context.embed("model.embed_tokens", "tokens"), "embedding"),
  );
  for (let l = 0; l < config.layerCount; l++) {
    x = context.scope(`layers.${l}`, () => block(context, config, `model.layers.${l}`, x));
  }
  const hidden = context.scope("final_norm", () => context.rmsNorm(x, "model.norm", config.normEpsilon));
  return {
    hidden,
    weight: context.parameter(config.tiedHead ? "model.embed_tokens.weight" : "lm_head.weight"),
  };
}

function block(context: LayerContext, config: LlamaConfig, name: string, x: Value): Value {
  const heads: AttentionHeads = {
    heads: config.headCount,
    kvHeads: config.kvHeadCount,
    headSize: config.headSize,
  };
  const attended = context.scope("attention", () => {
    const normed = context.rmsNorm(x, `${name}.input_layernorm`, config.normEpsilon);
    const qkv = context.queryKeyValue(normed, [
      `${name}.self_attn.q_proj`,
      `${name}.self_attn.k_proj`,
      `${name}.self_attn.v_proj`,
    ]);
    const mixed = context.attention(context.rotate(qkv, ROTARY_TABLE, heads), { ...heads, causal: true });
    return context.linearOntoResidual(mixed, `${name}.self_attn.o_proj`, x);
  });
  return context.scope("feed_forward", () => {
    const normed = context.rmsNorm(attended, `${name}.post_attention_layernorm`, config.normEpsilon);
    const gate = context.linear(normed, `${name}.mlp.gate_proj`);
    const up = context.linear(normed, `${name}.mlp.up_proj`);
    const [activated] = context.builder.call(siluMul, [gate, up], {});
    return context.linearOntoResidual(activated, `${name}.mlp.down_proj`, attended);
  });
}
