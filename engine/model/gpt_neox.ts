import type { Value } from "../graph/types.ts";
import { concatColumns, splitColumns } from "../../kernels/concat_columns.ts";
import { gelu } from "../../kernels/elementwise.ts";
import type { ConfigReader } from "./config_reader.ts";
import { type DropoutRates, readDropout } from "./dropout.ts";
import type { Head, ModelFamily } from "./family.ts";
import type { LayerContext } from "./layers.ts";
import {
  embeddingSpec,
  headSpec,
  linearSpecs,
  normal,
  normSpecs,
  type ParameterSpec,
  withOptionalPrefix,
} from "./parameters.ts";
import { rotaryTable } from "./rotary.ts";
import { readRotary, type RotaryConfig, scalingJson } from "./rotary_config.ts";

/** How config.json calls the forms of GELU. */
const ACTIVATIONS = { gelu: "erf", gelu_new: "tanh", gelu_pytorch_tanh: "tanh" } as const;
type Activation = keyof typeof ACTIVATIONS;

/**
 * GPT-NeoX and Pythia: layer norms with biases, rotations of a part of every head, attention and feed-forward
 * layer beside each other or one behind the other, query, key and value of a head side by side in one matrix.
 * Black et al. 2022, arXiv:2204.06745.
 */
export interface GptNeoxConfig extends RotaryConfig {
  family: "gpt_neox";
  vocabularySize: number;
  positionCount: number;
  hiddenSize: number;
  layerCount: number;
  headCount: number;
  feedForwardSize: number;
  activation: Activation;
  normEpsilon: number;
  initializerRange: number;
  /** Share of a head's channels that turn. */
  rotaryShare: number;
  attentionBias: boolean;
  /** Whether both branches read the same residual stream. */
  parallel: boolean;
  tiedHead: boolean;
  dropout: Readonly<DropoutRates>;
}

const ROTARY_TABLE = "rotary_table";

export const gptNeox: ModelFamily<GptNeoxConfig> = {
  modelTypes: ["gpt_neox"],
  parse,
  configJson,
  dropoutJson,
  objective: () => "next-token",
  parameters,
  inputs: ["positions"],
  constants: (config, sequence) => {
    const headSize = rotaryWidth(config);
    return [{
      name: ROTARY_TABLE,
      shape: [sequence, headSize],
      data: () => rotaryTable(sequence, { headSize, base: config.rotaryBase, scaling: config.rotaryScaling }),
    }];
  },
  head,
  forwardFlops({ hiddenSize: C, feedForwardSize: F, layerCount, vocabularySize }, sequence) {
    const block = 2 * (C * 3 * C + C * C + 2 * C * F) + 4 * sequence * C;
    return layerCount * block + 2 * C * vocabularySize;
  },
  // Query, key and value are one matrix: adapters on query and value are on all three, as in peft.
  adapterTargets: () => ({
    "query-value": ["query_key_value"],
    "attention": ["query_key_value", "attention.dense"],
    "all-linear": ["query_key_value", "attention.dense", "dense_h_to_4h", "dense_4h_to_h"],
  }),
};

function parse(read: ConfigReader): GptNeoxConfig {
  read.architecture(["GPTNeoXForCausalLM", "GPTNeoXModel"], "GPTNeoXForCausalLM");
  read.oneOf("is_decoder", [true, false], false);
  const hiddenSize = read.positiveInteger("hidden_size");
  const headCount = read.divisor("num_attention_heads", { field: "hidden_size", value: hiddenSize });
  const positionCount = read.positiveInteger("max_position_embeddings");
  const rotaryShare = readShare(read);
  const width = rotaryWidth({ hiddenSize, headCount, rotaryShare });
  if (width % 2 !== 0 || width === 0) {
    throw read.refusal("rotary_pct", "one that leaves an even number of channels that turn");
  }
  const hidden = readDropout(read, "hidden_dropout", 0);
  return {
    family: "gpt_neox",
    vocabularySize: read.positiveInteger("vocab_size"),
    positionCount,
    hiddenSize,
    layerCount: read.layerCount("num_hidden_layers"),
    headCount,
    feedForwardSize: read.positiveInteger("intermediate_size"),
    activation: read.oneOf("hidden_act", Object.keys(ACTIVATIONS) as Activation[], "gelu"),
    normEpsilon: read.positiveNumber("layer_norm_eps", 1e-5),
    initializerRange: read.positiveNumber("initializer_range", 0.02),
    ...readRotary(read, { base: read.positiveNumber("rotary_emb_base", 10000), width, positionCount }),
    rotaryShare,
    attentionBias: read.oneOf("attention_bias", [true, false], true),
    parallel: read.oneOf("use_parallel_residual", [true, false], true),
    tiedHead: read.oneOf("tie_word_embeddings", [true, false], false),
    dropout: {
      residual: hidden,
      embedding: hidden,
      attention: readDropout(read, "attention_dropout", 0),
      classifier: 0,
    },
  };
}

/** transformers 5 has it among the settings of rotations, transformers 4 as `rotary_pct`. */
function readShare(read: ConfigReader): number {
  const parameters = read.object("rope_parameters");
  const [source, field] = parameters?.has("partial_rotary_factor")
    ? [parameters, "partial_rotary_factor"]
    : [read, "rotary_pct"];
  const share = source.positiveNumber(field, 0.25);
  if (share <= 1) return share;
  throw source.refusal(field, "at most 1");
}

function rotaryWidth(
  { hiddenSize, headCount, rotaryShare }: Pick<GptNeoxConfig, "hiddenSize" | "headCount" | "rotaryShare">,
): number {
  return Math.trunc((hiddenSize / headCount) * rotaryShare);
}

function configJson(config: GptNeoxConfig): Record<string, unknown> {
  return {
    model_type: "gpt_neox",
    architectures: ["GPTNeoXForCausalLM"],
    vocab_size: config.vocabularySize,
    max_position_embeddings: config.positionCount,
    hidden_size: config.hiddenSize,
    num_hidden_layers: config.layerCount,
    num_attention_heads: config.headCount,
    intermediate_size: config.feedForwardSize,
    hidden_act: config.activation,
    layer_norm_eps: config.normEpsilon,
    initializer_range: config.initializerRange,
    rotary_emb_base: config.rotaryBase,
    rotary_pct: config.rotaryShare,
    rope_scaling: config.rotaryScaling && scalingJson(config.rotaryScaling),
    attention_bias: config.attentionBias,
    use_parallel_residual: config.parallel,
    tie_word_embeddings: config.tiedHead,
    ...dropoutJson(config),
    torch_dtype: "float32",
  };
}

function dropoutJson({ dropout }: GptNeoxConfig): Record<string, number> {
  return { hidden_dropout: dropout.residual, attention_dropout: dropout.attention };
}

function parameters(config: GptNeoxConfig): ParameterSpec[] {
  const { hiddenSize: C, feedForwardSize: F } = config;
  const init = normal(config.initializerRange);
  const matrix = (name: string, [cIn, cOut]: [number, number], bias = true) =>
    linearSpecs(name, { cIn, cOut, init, bias });
  const norm = (name: string) => normSpecs(name, C, { bias: true });
  const block = (name: string): ParameterSpec[] => [
    ...norm(`${name}.input_layernorm`),
    ...norm(`${name}.post_attention_layernorm`),
    ...matrix(`${name}.attention.query_key_value`, [C, 3 * C], config.attentionBias),
    ...matrix(`${name}.attention.dense`, [C, C], config.attentionBias),
    ...matrix(`${name}.mlp.dense_h_to_4h`, [C, F]),
    ...matrix(`${name}.mlp.dense_4h_to_h`, [F, C]),
  ];
  const untied = {
    ...headSpec("embed_out.weight", [config.vocabularySize, C], init),
    storedAs: ["lm_head.weight"],
  };
  return withOptionalPrefix("gpt_neox.", [
    embeddingSpec("gpt_neox.embed_in", [config.vocabularySize, C], init),
    ...Array.from({ length: config.layerCount }, (_, l) => block(`gpt_neox.layers.${l}`)).flat(),
    ...norm("gpt_neox.final_layer_norm"),
    ...(config.tiedHead ? [] : [untied]),
  ]);
}

function head(context: LayerContext, config: GptNeoxConfig): Head {
  let x = context.scope(
    "embedding",
    () => context.dropout(context.embed("gpt_neox.embed_in", "tokens"), "embedding"),
  );
  for (let l = 0; l < config.layerCount; l++) {
    x = context.scope(`layers.${l}`, () => block(context, config, `gpt_neox.layers.${l}`, x));
  }
  const hidden = context.scope(
    "final_norm",
    () => context.layerNorm(x, "gpt_neox.final_layer_norm", config.normEpsilon),
  );
  const weight = context.parameter(config.tiedHead ? "gpt_neox.embed_in.weight" : "embed_out.weight");
  return { hidden, weight };
}

function block(context: LayerContext, config: GptNeoxConfig, name: string, x: Value): Value {
  const heads = {
    heads: config.headCount,
    kvHeads: config.headCount,
    headSize: config.hiddenSize / config.headCount,
  };
  const attended = context.scope("attention", () => {
    const normed = context.layerNorm(x, `${name}.input_layernorm`, config.normEpsilon);
    const byHead = context.linear(normed, `${name}.attention.query_key_value`);
    const qkv = apart(context, byHead, heads);
    const mixed = context.attention(context.rotate(qkv, ROTARY_TABLE, heads), { ...heads, causal: true });
    return context.linearOntoResidual(mixed, `${name}.attention.dense`, x);
  });
  return context.scope("feed_forward", () => {
    const seen = config.parallel ? x : attended;
    const normed = context.layerNorm(seen, `${name}.post_attention_layernorm`, config.normEpsilon);
    const [activated] = context.builder.call(gelu, [context.linear(normed, `${name}.mlp.dense_h_to_4h`)], {
      approximation: ACTIVATIONS[config.activation],
    });
    return context.linearOntoResidual(activated, `${name}.mlp.dense_4h_to_h`, attended);
  });
}

/** All queries, all keys, all values, of query, key and value of one head after the other. */
function apart(
  { builder }: LayerContext,
  byHead: Value,
  { heads, headSize }: { heads: number; headSize: number },
): Value {
  const parts = builder.call(splitColumns, [byHead], {
    widths: [headSize, headSize, headSize],
    wanted: [true, true, true],
    blocks: heads,
  });
  return builder.call(concatColumns, parts, {})[0];
}
