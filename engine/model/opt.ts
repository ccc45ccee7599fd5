import type { Value } from "../graph/types.ts";
import { relu } from "../../kernels/elementwise.ts";
import { paddingTokenJson, readPaddingToken } from "./decoder.ts";
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

/** Rows of the table of positions before that of position 0. */
const POSITION_OFFSET = 2;
/** That of torch.nn.LayerNorm: config.json has none. */
const NORM_EPSILON = 1e-5;
/** What transformers takes where config.json has none. */
const PADDING_TOKEN = 1;

/**
 * OPT: learned positions, layer norms before the branches, ReLU, head tied to the embedding or not. Zhang et
 * al. 2022, arXiv:2205.01068.
 */
export interface OptConfig {
  family: "opt";
  vocabularySize: number;
  positionCount: number;
  hiddenSize: number;
  layerCount: number;
  headCount: number;
  feedForwardSize: number;
  initializerRange: number;
  bias: boolean;
  tiedHead: boolean;
  dropout: Readonly<DropoutRates>;
  paddingToken: number | null;
}

export const opt: ModelFamily<OptConfig> = {
  modelTypes: ["opt"],
  parse(read) {
    read.architecture(["OPTForCausalLM", "OPTModel"], "OPTForCausalLM");
    const hiddenSize = read.positiveInteger("hidden_size");
    read.oneOf("activation_function", ["relu"], "relu");
    // OPT-350m alone is otherwise.
    read.oneOf("do_layer_norm_before", [true], true);
    read.oneOf("word_embed_proj_dim", [hiddenSize], hiddenSize);
    read.oneOf("_remove_final_layer_norm", [false], false);
    read.oneOf("layer_norm_elementwise_affine", [true], true);
    // It leaves out whole layers at random.
    read.oneOf("layerdrop", [0], 0);
    const vocabularySize = read.positiveInteger("vocab_size");
    return {
      family: "opt",
      vocabularySize,
      positionCount: read.positiveInteger("max_position_embeddings"),
      hiddenSize,
      layerCount: read.layerCount("num_hidden_layers"),
      headCount: read.divisor("num_attention_heads", { field: "hidden_size", value: hiddenSize }),
      feedForwardSize: read.positiveInteger("ffn_dim"),
      initializerRange: read.positiveNumber("init_std", 0.02),
      bias: read.oneOf("enable_bias", [true, false], true),
      tiedHead: read.oneOf("tie_word_embeddings", [true, false], true),
      dropout: {
        residual: readDropout(read, "dropout", 0.1),
        embedding: 0,
        attention: readDropout(read, "attention_dropout", 0),
        classifier: 0,
      },
      paddingToken: readPaddingToken(read, vocabularySize, PADDING_TOKEN),
    };
  },
  configJson: (config) => ({
    model_type: "opt",
    architectures: ["OPTForCausalLM"],
    vocab_size: config.vocabularySize,
    max_position_embeddings: config.positionCount,
    hidden_size: config.hiddenSize,
    word_embed_proj_dim: config.hiddenSize,
    num_hidden_layers: config.layerCount,
    num_attention_heads: config.headCount,
    ffn_dim: config.feedForwardSize,
    activation_function: "relu",
    init_std: config.initializerRange,
    enable_bias: config.bias,
    tie_word_embeddings: config.tiedHead,
    ...dropoutJson(config),
    ...paddingTokenJson(config.paddingToken, PADDING_TOKEN),
    torch_dtype: "float32",
  }),
  dropoutJson,
  objective: () => "next-token",
  parameters,
  inputs: ["positions", "positionOrder"],
  head,
  forwardFlops({ hiddenSize: C, feedForwardSize: F, layerCount, vocabularySize }, sequence) {
    const block = 2 * (4 * C * C + 2 * C * F) + 4 * sequence * C;
    return layerCount * block + 2 * C * vocabularySize;
  },
  adapterTargets: () => ({
    "query-value": ["q_proj", "v_proj"],
    "attention": ["q_proj", "k_proj", "v_proj", "out_proj"],
    "all-linear": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
  }),
};

function dropoutJson({ dropout }: OptConfig): Record<string, number> {
  return { dropout: dropout.residual, attention_dropout: dropout.attention };
}

function parameters(config: OptConfig): ParameterSpec[] {
  const { hiddenSize: C, feedForwardSize: F, bias } = config;
  const init = normal(config.initializerRange);
  const matrix = (name: string, [cIn, cOut]: [number, number]) =>
    linearSpecs(name, { cIn, cOut, init, bias });
  const norm = (name: string) => normSpecs(name, C, { bias: true });
  const block = (name: string): ParameterSpec[] => [
    ...matrix(`${name}.self_attn.k_proj`, [C, C]),
    ...matrix(`${name}.self_attn.v_proj`, [C, C]),
    ...matrix(`${name}.self_attn.q_proj`, [C, C]),
    ...matrix(`${name}.self_attn.out_proj`, [C, C]),
    ...norm(`${name}.self_attn_layer_norm`),
    ...matrix(`${name}.fc1`, [C, F]),
    ...matrix(`${name}.fc2`, [F, C]),
    ...norm(`${name}.final_layer_norm`),
  ];
  return withOptionalPrefix("model.", [
    embeddingSpec("model.decoder.embed_tokens", [config.vocabularySize, C], init),
    embeddingSpec("model.decoder.embed_positions", [config.positionCount + POSITION_OFFSET, C], init),
    ...norm("model.decoder.final_layer_norm"),
    ...Array.from({ length: config.layerCount }, (_, l) => block(`model.decoder.layers.${l}`)).flat(),
    ...(config.tiedHead ? [] : [headSpec("lm_head.weight", [config.vocabularySize, C], init)]),
  ]);
}

function head(context: LayerContext, config: OptConfig): Head {
  let x = context.scope("embedding", () => {
    const padding = config.paddingToken;
    const tokens = context.embed("model.decoder.embed_tokens", "tokens", undefined, { padding });
    const placed = context.embed("model.decoder.embed_positions", "positions", tokens, {
      offset: POSITION_OFFSET,
    });
    return context.dropout(placed, "embedding");
  });
  for (let l = 0; l < config.layerCount; l++) {
    x = context.scope(`layers.${l}`, () => block(context, config, `model.decoder.layers.${l}`, x));
  }
  const hidden = context.scope(
    "final_norm",
    () => context.layerNorm(x, "model.decoder.final_layer_norm", NORM_EPSILON),
  );
  const weight = context.parameter(config.tiedHead ? "model.decoder.embed_tokens.weight" : "lm_head.weight");
  return { hidden, weight };
}

function block(context: LayerContext, config: OptConfig, name: string, x: Value): Value {
  const attended = context.scope("attention", () => {
    const normed = context.layerNorm(x, `${name}.self_attn_layer_norm`, NORM_EPSILON);
    const qkv = context.queryKeyValue(normed, [
      `${name}.self_attn.q_proj`,
      `${name}.self_attn.k_proj`,
      `${name}.self_attn.v_proj`,
    ]);
    const mixed = context.attention(qkv, {
      heads: config.headCount,
      kvHeads: config.headCount,
      headSize: config.hiddenSize / config.headCount,
      causal: true,
    });
    return context.linearOntoResidual(mixed, `${name}.self_attn.out_proj`, x);
  });
  return context.scope("feed_forward", () => {
    const normed = context.layerNorm(attended, `${name}.final_layer_norm`, NORM_EPSILON);
    const [activated] = context.builder.call(relu, [context.linear(normed, `${name}.fc1`)], {});
    return context.linearOntoResidual(activated, `${name}.fc2`, attended);
  });
}
