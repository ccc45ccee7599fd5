import type { Value } from "../graph/types.ts";
import { attention } from "../../kernels/attention.ts";
import { crossEntropyChunkRows, linearCrossEntropy } from "../../kernels/cross_entropy.ts";
import { gelu } from "../../kernels/elementwise.ts";
import type { LayerContext } from "./layers.ts";
import type { Initialization, ParameterSpec } from "./parameters.ts";

/** GPT-2: learned positions, pre-layer-norm blocks with biases, causal attention, tanh GELU, head tied to the embedding. */
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
}

/** Query, key and value are one matrix in GPT-2: adapters on query and value are on all three, as in peft. */
export const GPT2_ADAPTER_TARGETS = {
  "query-value": ["attn.c_attn"],
  "attention": ["attn.c_attn", "attn.c_proj"],
  "all-linear": ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"],
} as const;

/** Parameters in the order of the Hugging Face checkpoint. Weights of linear layers are stored `[in, out]` (Conv1D). */
export function gpt2Parameters(config: Gpt2Config): ParameterSpec[] {
  const { hiddenSize: C, feedForwardSize: F, layerCount } = config;
  const normal = (scale = 1): Initialization => ({
    kind: "normal",
    standardDeviation: config.initializerRange * scale,
  });
  // Radford et al. 2019: projections onto the residual stream start smaller the more of them there are.
  const residual = normal(1 / Math.sqrt(2 * layerCount));
  const constant = (value: number): Initialization => ({ kind: "constant", value });
  const matrix = (name: string, shape: number[], init: Initialization): ParameterSpec[] => [
    { name: `${name}.weight`, shape, init, decay: true, linear: "in_out" },
    { name: `${name}.bias`, shape: [shape[1]], init: constant(0), decay: false },
  ];
  const norm = (name: string): ParameterSpec[] => [
    { name: `${name}.weight`, shape: [C], init: constant(1), decay: false },
    { name: `${name}.bias`, shape: [C], init: constant(0), decay: false },
  ];
  const block = (l: number): ParameterSpec[] => [
    ...norm(`transformer.h.${l}.ln_1`),
    ...matrix(`transformer.h.${l}.attn.c_attn`, [C, 3 * C], normal()),
    ...matrix(`transformer.h.${l}.attn.c_proj`, [C, C], residual),
    ...norm(`transformer.h.${l}.ln_2`),
    ...matrix(`transformer.h.${l}.mlp.c_fc`, [C, F], normal()),
    ...matrix(`transformer.h.${l}.mlp.c_proj`, [F, C], residual),
  ];
  return [
    { name: "transformer.wte.weight", shape: [config.vocabularySize, C], init: normal(), decay: false },
    { name: "transformer.wpe.weight", shape: [config.positionCount, C], init: normal(), decay: false },
    ...Array.from({ length: layerCount }, (_, l) => block(l)).flat(),
    ...norm("transformer.ln_f"),
    ...(config.tiedHead
      ? []
      : [{ name: "lm_head.weight", shape: [config.vocabularySize, C], init: normal(), decay: true }]),
  ];
}

/** Summed cross-entropy of a batch, added to `inputs.loss`. */
export function gpt2Loss(context: LayerContext, config: Gpt2Config): Value {
  const { inputs } = context;
  const hidden = gpt2Hidden(context, config);
  return context.scope("head", () => {
    const head = context.parameter(config.tiedHead ? "transformer.wte.weight" : "lm_head.weight");
    const chunkRows = crossEntropyChunkRows(context.batch * context.sequence, config.vocabularySize);
    return context.builder.call(linearCrossEntropy, [hidden, head, inputs.targets, inputs.loss], {
      chunkRows,
      transposedWeight: true,
      bias: false,
    })[0];
  });
}

/** Final hidden states `[N, C]`, after the last norm. */
function gpt2Hidden(context: LayerContext, config: Gpt2Config): Value {
  const { inputs } = context;
  let x = context.scope("embedding", () => {
    const tokens = context.embed("transformer.wte.weight", inputs.tokens, inputs.tokenOrder);
    return context.dropout(
      context.embed("transformer.wpe.weight", inputs.positions, inputs.positionOrder, tokens),
    );
  });
  for (let l = 0; l < config.layerCount; l++) {
    x = context.scope(`layers.${l}`, () => gpt2Block(context, config, l, x));
  }
  return context.scope("final_norm", () => context.layerNorm(x, "transformer.ln_f", config.normEpsilon));
}

function gpt2Block(context: LayerContext, config: Gpt2Config, layer: number, x: Value): Value {
  const name = `transformer.h.${layer}`;
  const headSize = config.hiddenSize / config.headCount;
  const attended = context.scope("attention", () => {
    const normed = context.layerNorm(x, `${name}.ln_1`, config.normEpsilon);
    const qkv = context.linear(normed, `${name}.attn.c_attn`);
    const [mixed] = context.builder.call(attention, [qkv], {
      batch: context.batch,
      sequence: context.sequence,
      heads: config.headCount,
      kvHeads: config.headCount,
      headSize,
      causal: true,
      softmaxScale: 1 / Math.sqrt(headSize),
      segments: false,
      dropout: context.attentionDropout(),
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

/** FLOPs of one token's forward pass in the model's matrix products, at sequence length T (causal halves not discounted). */
export function gpt2ForwardFlops(config: Gpt2Config, sequence: number): number {
  const { hiddenSize: C, feedForwardSize: F, layerCount } = config;
  const block = 2 * (C * 3 * C + C * C + 2 * C * F) + 4 * sequence * C;
  return layerCount * block + 2 * C * config.vocabularySize;
}
