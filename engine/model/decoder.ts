import type { Value } from "../graph/types.ts";
import { splitColumns } from "../../kernels/concat_columns.ts";
import { geluMul, scale, siluMul } from "../../kernels/elementwise.ts";
import type { ConfigReader } from "./config_reader.ts";
import { type DropoutRates, NO_DROPOUT, readDropout } from "./dropout.ts";
import type { AdapterTargets, Head, ModelFamily } from "./family.ts";
import type { AttentionSettings, LayerContext } from "./layers.ts";
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
import { readRotary, rotaryJson, type RotaryReading } from "./rotary_config.ts";

/** What a layer attends to and how: all before it, those in a window, or all without rotations. */
export type LayerKind = "full" | "sliding" | "no-rope";

/** Where a block has norms: before its branches, behind them (before they are added), or both. */
export type NormPlaces = "before" | "behind" | "both";

/** How config.json calls the activations of gates. */
const ACTIVATIONS = {
  silu: "silu",
  swish: "silu",
  gelu_pytorch_tanh: "tanh",
  gelu_new: "tanh",
  gelu: "erf",
} as const;
type Activation = "silu" | "tanh" | "erf";

/**
 * Llama and what descends from it: rotary positions, RMS norms, grouped key/value heads, a gated feed-forward
 * layer, a head of its own or tied to the embedding. Families differ in the fields from `layers` on, whose
 * plain values `PLAIN_DECODER` has.
 */
export interface DecoderConfig<Family extends string = string, ModelType extends string = string> {
  family: Family;
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
  paddingToken: number | null;
  /** One a layer; null: all are full. */
  layers: readonly LayerKind[] | null;
  /** Keys that a query of a sliding layer sees, itself included. */
  window: number | null;
  /** Base of the rotations of sliding layers, unscaled, where it is another. */
  slidingRotaryBase: number | null;
  /** Share of a head's channels that turn. */
  rotaryShare: number;
  /** What norms queries and keys have: over each head, or over all channels. */
  qkNorm: "head" | "all" | null;
  norms: NormPlaces;
  /** Whether weights of norms are stored less one. */
  normOnePlus: boolean;
  activation: Activation;
  /** Whether query, key and value are one matrix, and gate and up another. */
  fused: boolean;
  /** Whether embeddings are multiplied by √(hidden size). */
  scaledEmbedding: boolean;
  /** Scores are divided by its root instead of that of the head size. */
  queryScalar: number | null;
  /** Soft caps. */
  scoreCap: number | null;
  logitCap: number | null;
}

/** Llama's own ways, where families differ. */
export const PLAIN_DECODER = {
  paddingToken: null,
  layers: null,
  window: null,
  slidingRotaryBase: null,
  rotaryShare: 1,
  qkNorm: null,
  norms: "before",
  normOnePlus: false,
  activation: "silu",
  fused: false,
  scaledEmbedding: false,
  queryScalar: null,
  scoreCap: null,
  logitCap: null,
} as const satisfies Partial<DecoderConfig>;

const ROTARY_TABLE = "rotary_table";
const SLIDING_ROTARY_TABLE = "sliding_rotary_table";

const ADAPTER_TARGETS: AdapterTargets = {
  "query-value": ["q_proj", "v_proj"],
  "attention": ["q_proj", "k_proj", "v_proj", "o_proj"],
  "all-linear": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
};

/** A family of decoders, of what it alone has to say. */
export function decoderFamily<Config extends DecoderConfig>(
  own:
    & Pick<ModelFamily<Config>, "modelTypes" | "parse" | "configJson">
    & Partial<Pick<ModelFamily<Config>, "adapterTargets" | "dropoutJson" | "parameters">>,
): ModelFamily<Config> {
  return {
    dropoutJson: attentionDropoutJson,
    objective: () => "next-token",
    parameters: decoderParameters,
    inputs: ["positions"],
    constants: rotaryConstants,
    head,
    forwardFlops(config, sequence) {
      const { hiddenSize: C, headCount: H, kvHeadCount: K, headSize: D, feedForwardSize: F } = config;
      const block = 2 * (C * (2 * H + 2 * K) * D + 3 * C * F) + 4 * sequence * H * D;
      return config.layerCount * block + 2 * C * config.vocabularySize;
    },
    adapterTargets: () => ADAPTER_TARGETS,
    ...own,
  };
}

/** Defaults of transformers that families differ in; a field without one must be in config.json. */
export interface DecoderDefaults {
  kvHeads?: number;
  /** Whether there are as many key/value heads as heads. */
  kvHeadsAreHeads?: boolean;
  headSize?: number;
  normEpsilon?: number;
  tiedHead?: boolean;
  paddingToken?: number;
  sizes?: Readonly<
    Partial<
      Record<
        | "vocab_size"
        | "max_position_embeddings"
        | "hidden_size"
        | "num_hidden_layers"
        | "num_attention_heads"
        | "intermediate_size",
        number
      >
    >
  >;
  rotary?: Partial<RotaryReading>;
}

/** What all of them read, with Llama's ways where a family has others. */
export function readDecoder(
  read: ConfigReader,
  defaults: DecoderDefaults = {},
): Omit<DecoderConfig, "family" | "modelType"> {
  const { sizes = {} } = defaults;
  const size = (field: keyof typeof sizes) => read.positiveInteger(field, sizes[field]);
  const hiddenSize = size("hidden_size");
  const headCount = size("num_attention_heads");
  const positionCount = size("max_position_embeddings");
  const headSize = headSizeOf(read, hiddenSize, headCount, defaults.headSize);
  const vocabularySize = size("vocab_size");
  return {
    ...PLAIN_DECODER,
    vocabularySize,
    positionCount,
    hiddenSize,
    layerCount: read.layerCount("num_hidden_layers", sizes.num_hidden_layers),
    headCount,
    kvHeadCount: read.divisor(
      "num_key_value_heads",
      { field: "num_attention_heads", value: headCount },
      defaults.kvHeadsAreHeads ? headCount : defaults.kvHeads,
    ),
    headSize,
    feedForwardSize: size("intermediate_size"),
    normEpsilon: read.positiveNumber("rms_norm_eps", defaults.normEpsilon ?? 1e-6),
    initializerRange: read.positiveNumber("initializer_range", 0.02),
    ...readRotary(read, { width: headSize, positionCount, ...defaults.rotary }),
    qkvBias: false,
    outputBias: false,
    feedForwardBias: false,
    tiedHead: read.oneOf("tie_word_embeddings", [true, false], defaults.tiedHead ?? false),
    // Nothing else of these models has dropout in transformers.
    dropout: { ...NO_DROPOUT, attention: readDropout(read, "attention_dropout", 0) },
    paddingToken: readPaddingToken(read, vocabularySize, defaults.paddingToken),
  };
}

/** The activation of the gate. */
export function readActivation(
  read: ConfigReader,
  field: string,
  byDefault: keyof typeof ACTIVATIONS,
): Activation {
  return ACTIVATIONS[read.oneOf(field, Object.keys(ACTIVATIONS) as (keyof typeof ACTIVATIONS)[], byDefault)];
}

/** The token whose embedding is no parameter; one from the end of the vocabulary, where it is negative. */
export function readPaddingToken(
  read: ConfigReader,
  vocabularySize: number,
  byDefault?: number,
): number | null {
  if (!read.has("pad_token_id") && (byDefault === undefined || read.given("pad_token_id"))) return null;
  const token = read.number("pad_token_id", byDefault);
  const row = token < 0 ? token + vocabularySize : token;
  return Number.isInteger(row) && row >= 0 && row < vocabularySize ? row : null;
}

/** `pad_token_id`, where it is not what a family has without it. */
export function paddingTokenJson(token: number | null, byDefault: number | null): Record<string, unknown> {
  return token === byDefault ? {} : { pad_token_id: token };
}

function headSizeOf(
  read: ConfigReader,
  hiddenSize: number,
  headCount: number,
  byDefault?: number,
): number {
  if (!read.has("head_dim") && byDefault === undefined) {
    read.divisor("num_attention_heads", { field: "hidden_size", value: hiddenSize });
  }
  const headSize = read.positiveInteger("head_dim", byDefault ?? hiddenSize / headCount);
  if (headSize % 2 === 0) return headSize;
  if (read.has("head_dim")) throw read.refusal("head_dim", "an even number: rotary positions turn pairs");
  throw read.refusal(
    "num_attention_heads",
    `a number that leaves heads of even width: hidden_size is ${hiddenSize}`,
  );
}

/**
 * Which layers have a window, of `layer_types` or else by a rule.
 *
 * @param window Width of the window, where there is one.
 * @param slides Whether a layer has it, by its index, where config.json does not say.
 */
export function readWindows(
  read: ConfigReader,
  layerCount: number,
  window: number | null,
  slides: (layer: number) => boolean,
): Pick<DecoderConfig, "layers" | "window"> {
  const sliding = read.has("layer_types")
    ? read.list("layer_types", ["full_attention", "sliding_attention"], layerCount)
      .map((type) => type === "sliding_attention")
    : Array.from({ length: layerCount }, (_, layer) => window !== null && slides(layer));
  if (!sliding.includes(true)) return { layers: null, window: null };
  if (window === null) {
    throw read.refusal("sliding_window", "the width of the windows that layer_types names");
  }
  return { layers: sliding.map((isSliding) => isSliding ? "sliding" : "full"), window };
}

/** `layer_types` of a configuration with windows. */
export function layerTypesJson({ layers }: Pick<DecoderConfig, "layers">): Record<string, unknown> {
  return layers === null ? {} : {
    layer_types: layers.map((kind) => kind === "sliding" ? "sliding_attention" : "full_attention"),
  };
}

/** Fields of config.json that all have, in the form of transformers 4, which version 5 reads as well. */
export function decoderJson(config: DecoderConfig, architecture: string): Record<string, unknown> {
  return {
    model_type: config.modelType,
    architectures: [architecture],
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
    ...rotaryJson(config),
    ...attentionDropoutJson(config),
    tie_word_embeddings: config.tiedHead,
    torch_dtype: "float32",
  };
}

function attentionDropoutJson({ dropout }: DecoderConfig): Record<string, number> {
  return { attention_dropout: dropout.attention };
}

/** Channels of a head that turn. */
export function rotaryWidthOf({ headSize, rotaryShare }: Pick<DecoderConfig, "headSize" | "rotaryShare">) {
  return Math.trunc(headSize * rotaryShare);
}

function rotaryConstants(config: DecoderConfig, sequence: number) {
  const headSize = rotaryWidthOf(config);
  const { rotaryBase: base, rotaryScaling: scaling, slidingRotaryBase } = config;
  const table = (name: string, settings: Parameters<typeof rotaryTable>[1]) => ({
    name,
    shape: [sequence, headSize],
    data: () => rotaryTable(sequence, settings),
  });
  return [
    table(ROTARY_TABLE, { headSize, base, scaling }),
    ...slidingRotaryBase === null
      ? []
      : [table(SLIDING_ROTARY_TABLE, { headSize, base: slidingRotaryBase, scaling: null })],
  ];
}

/** Llama's names, which its descendants kept. */
export function decoderParameters(config: DecoderConfig): ParameterSpec[] {
  const { hiddenSize: C, headCount: H, kvHeadCount: K, headSize: D, feedForwardSize: F, norms } = config;
  const init = normal(config.initializerRange);
  const matrix = (name: string, [cIn, cOut]: [number, number], bias: boolean) =>
    linearSpecs(name, { cIn, cOut, init, bias });
  const norm = (name: string, size = C) =>
    normSpecs(name, size, { bias: false, start: config.normOnePlus ? 0 : 1 });
  const qkNormSizes = { head: [D, D], all: [H * D, K * D] };
  const attention = (name: string): ParameterSpec[] => [
    ...config.fused ? matrix(`${name}.qkv_proj`, [C, (H + 2 * K) * D], config.qkvBias) : [
      ...matrix(`${name}.q_proj`, [C, H * D], config.qkvBias),
      ...matrix(`${name}.k_proj`, [C, K * D], config.qkvBias),
      ...matrix(`${name}.v_proj`, [C, K * D], config.qkvBias),
    ],
    ...matrix(`${name}.o_proj`, [H * D, C], config.outputBias),
    ...config.qkNorm === null
      ? []
      : qkNormSizes[config.qkNorm].flatMap((size, i) => norm(`${name}.${["q_norm", "k_norm"][i]}`, size)),
  ];
  const feedForward = (name: string): ParameterSpec[] => [
    ...config.fused ? matrix(`${name}.gate_up_proj`, [C, 2 * F], config.feedForwardBias) : [
      ...matrix(`${name}.gate_proj`, [C, F], config.feedForwardBias),
      ...matrix(`${name}.up_proj`, [C, F], config.feedForwardBias),
    ],
    ...matrix(`${name}.down_proj`, [F, C], config.feedForwardBias),
  ];
  const block = (name: string): ParameterSpec[] => [
    ...norms === "behind" ? [] : norm(`${name}.input_layernorm`),
    ...attention(`${name}.self_attn`),
    ...norm(`${name}.post_attention_layernorm`),
    ...norms === "both" ? norm(`${name}.pre_feedforward_layernorm`) : [],
    ...norms === "before" ? [] : norm(`${name}.post_feedforward_layernorm`),
    ...feedForward(`${name}.mlp`),
  ];
  return withOptionalPrefix("model.", [
    embeddingSpec("model.embed_tokens", [config.vocabularySize, C], init),
    ...Array.from({ length: config.layerCount }, (_, l) => block(`model.layers.${l}`)).flat(),
    ...norm("model.norm"),
    ...(config.tiedHead ? [] : [headSpec("lm_head.weight", [config.vocabularySize, C], init)]),
  ]);
}

function head(context: LayerContext, config: DecoderConfig): Head {
  let x = context.scope("embedding", () => {
    const padding = config.paddingToken;
    const tokens = context.embed("model.embed_tokens", "tokens", undefined, { padding });
    const factor = Math.sqrt(config.hiddenSize);
    const scaled = config.scaledEmbedding ? context.builder.call(scale, [tokens], { factor })[0] : tokens;
    return context.dropout(scaled, "embedding");
  });
  for (let l = 0; l < config.layerCount; l++) {
    const kind = config.layers?.[l] ?? "full";
    x = context.scope(`layers.${l}`, () => block(context, config, `model.layers.${l}`, kind, x));
  }
  const hidden = context.scope("final_norm", () => norm(context, config, x, "model.norm"));
  return {
    hidden,
    weight: context.parameter(config.tiedHead ? "model.embed_tokens.weight" : "lm_head.weight"),
    logitCap: config.logitCap,
  };
}

function norm(context: LayerContext, config: DecoderConfig, x: Value, name: string): Value {
  return context.rmsNorm(x, name, config.normEpsilon, config.normOnePlus);
}

function block(
  context: LayerContext,
  config: DecoderConfig,
  name: string,
  kind: LayerKind,
  x: Value,
): Value {
  const { norms } = config;
  /** A branch behind its norm, where it has one, on the residual stream. */
  const add = (branch: Value, projection: string, behind: string, residual: Value) => {
    if (norms === "before") return context.linearOntoResidual(branch, projection, residual);
    return context.ontoResidual(norm(context, config, context.linear(branch, projection), behind), residual);
  };
  const attended = context.scope("attention", () => {
    const normed = norms === "behind" ? x : norm(context, config, x, `${name}.input_layernorm`);
    const mixed = attention(context, config, `${name}.self_attn`, kind, normed);
    return add(mixed, `${name}.self_attn.o_proj`, `${name}.post_attention_layernorm`, x);
  });
  return context.scope("feed_forward", () => {
    const before = norms === "both" ? "pre_feedforward_layernorm" : "post_attention_layernorm";
    const normed = norms === "behind" ? attended : norm(context, config, attended, `${name}.${before}`);
    const activated = gated(context, config, `${name}.mlp`, normed);
    return add(activated, `${name}.mlp.down_proj`, `${name}.post_feedforward_layernorm`, attended);
  });
}

function attention(
  context: LayerContext,
  config: DecoderConfig,
  name: string,
  kind: LayerKind,
  x: Value,
): Value {
  const heads = { heads: config.headCount, kvHeads: config.kvHeadCount, headSize: config.headSize };
  const settings: AttentionSettings = {
    ...heads,
    causal: true,
    window: kind === "sliding" ? config.window : null,
    scoreCap: config.scoreCap,
    softmaxScale: config.queryScalar === null ? undefined : 1 / Math.sqrt(config.queryScalar),
  };
  const qkv = config.fused
    ? context.linear(x, `${name}.qkv_proj`)
    : context.queryKeyValue(x, [`${name}.q_proj`, `${name}.k_proj`, `${name}.v_proj`], (value, i) =>
      config.qkNorm === null || i === 2
        ? value
        : norm(context, config, value, `${name}.${["q_norm", "k_norm"][i]}`));
  if (kind === "no-rope") return context.attention(qkv, settings);
  const table = kind === "sliding" && config.slidingRotaryBase !== null ? SLIDING_ROTARY_TABLE : ROTARY_TABLE;
  return context.attention(context.rotate(qkv, table, heads), settings);
}

/** The gate's activation times what it lets through. */
function gated(context: LayerContext, config: DecoderConfig, name: string, x: Value): Value {
  const { feedForwardSize: F, activation } = config;
  const [gate, up] = config.fused
    ? context.builder.call(splitColumns, [context.linear(x, `${name}.gate_up_proj`)], {
      widths: [F, F],
      wanted: [true, true],
    })
    : [context.linear(x, `${name}.gate_proj`), context.linear(x, `${name}.up_proj`)];
  return activation === "silu"
    ? context.builder.call(siluMul, [gate, up], {})[0]
    : context.builder.call(geluMul, [gate, up], { approximation: activation })[0];
}
