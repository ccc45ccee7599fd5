import type { Value } from "../graph/types.ts";
import { gelu } from "../../kernels/elementwise.ts";
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

/**
 * GPT-2: learned positions, pre-layer-norm blocks with biases, causal attention,
 * tanh GELU, head tied to the embedding.
 */
export interface Gpt2Config {
  family: "gpt2";
  vocabularySize: number;
  positionCount: number;
  hiddenSize: number;
  layerCount: number;
  headCount: number;
  feedForwardSize: number;
  normEpsilon: number;
  initializerRange: number;
  tiedHead: boolean;
  dropout: Readonly<DropoutRates>;
}

export const gpt2: ModelFamily<Gpt2Config> = {
  modelTypes: ["gpt2"],
  parse(read) {
    read.architecture(["GPT2LMHeadModel", "GPT2Model"], "GPT2LMHeadModel");
    const hiddenSize = read.positiveInteger("n_embd");
    const headCount = read.divisor("n_head", { field: "n_embd", value: hiddenSize });
    read.oneOf("activation_function", ["gelu_new", "gelu_pytorch_tanh"], "gelu_new");
    read.oneOf("scale_attn_weights", [true], true);
    read.oneOf("scale_attn_by_inverse_layer_idx", [false], false);
    read.oneOf("add_cross_attention", [false], false);
    return {
      family: "gpt2",
      vocabularySize: read.positiveInteger("vocab_size"),
      positionCount: read.positiveInteger("n_positions"),
      hiddenSize,
      layerCount: read.layerCount("n_layer"),
      headCount,
      feedForwardSize: read.positiveInteger("n_inner", 4 * hiddenSize),
      normEpsilon: read.positiveNumber("layer_norm_epsilon", 1e-5),
      initializerRange: read.positiveNumber("initializer_range", 0.02),
      tiedHead: read.oneOf("tie_word_embeddings", [true, false], true),
      dropout: {
        residual: readDropout(read, "resid_pdrop", 0.1),
        embedding: readDropout(read, "embd_pdrop", 0.1),
        attention: readDropout(read, "attn_pdrop", 0.1),
        classifier: 0,
      },
    };
  },
  configJson: (config) => ({
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
    ...dropoutJson(config),
    torch_dtype: "float32",
  }),
  dropoutJson,
  objective: () => "next-token",
  parameters,
  inputs: ["positions", "positionOrder"],
  head,
  forwardFlops({ hiddenSize: C, feedForwardSize: F, layerCount, vocabularySize }, sequence) {
    const block = 2 * (C * 3 * C + C * C + 2 * C * F) + 4 * sequence * C;
    return layerCount * block + 2 * C * vocabularySize;
  },
  // Query, key and value are one matrix in GPT-2: adapters on query and value are on all three, as in peft.
  adapterTargets: () => ({
    "query-value": ["attn.c_attn"],
    "attention": ["attn.c_attn", "attn.c_proj"],
    "all-linear": ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"],
  }),
};

function dropoutJson({ dropout }: Gpt2Config): Record<string, number> {
  return { resid_pdrop: dropout.residual, embd_pdrop: dropout.embedding, attn_pdrop: dropout.attention };
}

/** Weights of linear layers are stored `[in, out]` (Conv1D). */
function parameters(config: Gpt2Config): ParameterSpec[] {
  const { hiddenSize: C, feedForwardSize: F, layerCount } = config;
  const init = normal(config.initializerRange);
  // Radford et al. 2019: projections onto the residual stream start smaller the more of them there are.
  const residual = normal(config.initializerRange / Math.sqrt(2 * layerCount));
  const matrix = (name: string, [cIn, cOut]: [number, number], start = init) =>
    linearSpecs(name, { cIn, cOut, init: start, bias: true, layout: "in_out" });
  const norm = (name: string) => normSpecs(name, C, { bias: true });
  const block = (l: number): ParameterSpec[] => [
    ...norm(`transformer.h.${l}.ln_1`),
    ...matrix(`transformer.h.${l}.attn.c_attn`, [C, 3 * C]),
    ...matrix(`transformer.h.${l}.attn.c_proj`, [C, C], residual),
    ...norm(`transformer.h.${l}.ln_2`),
    ...matrix(`transformer.h.${l}.mlp.c_fc`, [C, F]),
    ...matrix(`transformer.h.${l}.mlp.c_proj`, [F, C], residual),
  ];
  return withOptionalPrefix("transformer.", [
    embeddingSpec("transformer.wte", [config.vocabularySize, C], init),
    embeddingSpec("transformer.wpe", [config.positionCount, C], init),
    ...Array.from({ length: layerCount }, (_, l) => block(l)).flat(),
    ...norm("transformer.ln_f"),
    ...(config.tiedHead ? [] : [headSpec("lm_head.weight", [config.vocabularySize, C], init)]),
  ]);
}

function head(context: LayerContext, config: Gpt2Config): Head {
  let x = context.scope("embedding", () => {
    const tokens = context.embed("transformer.wte", "tokens");
    return context.dropout(context.embed("transformer.wpe", "positions", tokens), "embedding");
  });
  for (let l = 0; l < config.layerCount; l++) {
    x = context.scope(`layers.${l}`, () => block(context, config, l, x));
  }
  const hidden = context.scope(
    "final_norm",
    () => context.layerNorm(x, "transformer.ln_f", config.normEpsilon),
  );
  const weight = context.parameter(config.tiedHead ? "transformer.wte.weight" : "lm_head.weight");
  return { hidden, weight };
}

function block(context: LayerContext, config: Gpt2Config, layer: number, x: Value): Value {
  const name = `transformer.h.${layer}`;
  const attended = context.scope("attention", () => {
    const normed = context.layerNorm(x, `${name}.ln_1`, config.normEpsilon);
    const mixed = context.attention(context.linear(normed, `${name}.attn.c_attn`), {
      heads: config.headCount,
      kvHeads: config.headCount,
      headSize: config.hiddenSize / config.headCount,
      causal: true,
    });
    return context.linearOntoResidual(mixed, `${name}.attn.c_proj`, x);
  });
  return context.scope("feed_forward", () => {
    const normed = context.layerNorm(attended, `${name}.ln_2`, config.normEpsilon);
    const [activated] = context.builder.call(gelu, [context.linear(normed, `${name}.mlp.c_fc`)], {
      approximation: "tanh",
    });
    return context.linearOntoResidual(activated, `${name}.mlp.c_proj`, attended);
  });
}
