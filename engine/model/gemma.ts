import type { ConfigReader } from "./config_reader.ts";
import {
  type DecoderConfig,
  decoderFamily,
  decoderJson,
  decoderParameters,
  layerTypesJson,
  paddingTokenJson,
  readActivation,
  readDecoder,
  readWindows,
} from "./decoder.ts";
import { readRotaryShare, readScaling } from "./rotary_config.ts";
import type { RotaryScaling } from "./rotary.ts";

/** Names of Gemma 2, and of Gemma 3's model of texts, alone or within the whole one. */
const ARCHITECTURES = {
  gemma2: ["Gemma2ForCausalLM", "Gemma2Model"],
  gemma3_text: ["Gemma3ForCausalLM", "Gemma3TextModel", "Gemma3ForConditionalGeneration"],
} as const;
type ModelType = keyof typeof ARCHITECTURES;

/** What transformers takes where config.json has none: the whole Gemma 3 leaves most to it. */
const SIZES = {
  gemma2: { vocab_size: 256000, max_position_embeddings: 8192 },
  gemma3_text: { vocab_size: 262208, max_position_embeddings: 131072 },
};
const SHARED_SIZES = {
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
};
const PADDING_TOKEN = 0;

/**
 * Gemma 2 and the text model of Gemma 3: norms on both sides of every branch, whose weights are stored less
 * one, GeGLU, scaled embeddings, windows in most layers; Gemma 2 caps scores and logits, Gemma 3 has norms of
 * queries and keys, and rotations of its own in layers with windows. Gemma Team 2024, arXiv:2408.00118; 2025,
 * arXiv:2503.19786.
 */
export type GemmaConfig = DecoderConfig<"gemma", ModelType>;

export const gemma = decoderFamily<GemmaConfig>({
  modelTypes: Object.keys(ARCHITECTURES),
  parse(read) {
    const modelType = read.oneOf("model_type", Object.keys(ARCHITECTURES) as ModelType[]);
    read.architecture(ARCHITECTURES[modelType], ARCHITECTURES[modelType][0]);
    readRotaryShare(read, { whole: true });
    read.oneOf("use_bidirectional_attention", [false], false);
    const bias = read.oneOf("attention_bias", [true, false], false);
    const isThird = modelType === "gemma3_text";
    const shared = readDecoder(isThird ? read.without(["rope_parameters", "rope_scaling"]) : read, {
      kvHeads: 4,
      headSize: 256,
      tiedHead: true,
      paddingToken: PADDING_TOKEN,
      sizes: { ...SHARED_SIZES, ...SIZES[modelType] },
    });
    const window = read.given("sliding_window") && !read.has("sliding_window")
      ? null
      : read.positiveInteger("sliding_window", 4096);
    const pattern = isThird ? read.positiveInteger("sliding_window_pattern", 6) : 2;
    // transformers has the field and does not heed it.
    if (isThird) read.absent("attn_logit_softcapping", "scores of Gemma 3 are not capped");
    return {
      ...shared,
      family: "gemma",
      modelType,
      ...isThird && readRotaries(read, shared),
      ...readWindows(read, shared.layerCount, window, (layer) => (layer + 1) % pattern !== 0),
      qkvBias: bias,
      outputBias: bias,
      qkNorm: isThird ? "head" : null,
      norms: "both",
      normOnePlus: true,
      activation: readActivation(read, "hidden_activation", "gelu_pytorch_tanh"),
      scaledEmbedding: true,
      queryScalar: read.positiveNumber("query_pre_attn_scalar", 256),
      scoreCap: isThird ? null : readCap(read, "attn_logit_softcapping", 50),
      logitCap: readCap(read, "final_logit_softcapping", isThird ? null : 30),
    };
  },
  // Names within the whole Gemma 3, as transformers 4 and as version 5 writes them.
  parameters: (config) =>
    decoderParameters(config).map((spec) => ({
      ...spec,
      storedAs: [
        ...spec.storedAs ?? [],
        `language_model.${spec.name}`,
        spec.name.replace(/^model\./, "model.language_model."),
      ],
    })),
  configJson(config) {
    const isThird = config.modelType === "gemma3_text";
    const { hidden_act: _, ...shared } = decoderJson(config, ARCHITECTURES[config.modelType][0]);
    return {
      ...shared,
      ...isThird && { rope_local_base_freq: config.slidingRotaryBase },
      head_dim: config.headSize,
      hidden_activation: { tanh: "gelu_pytorch_tanh", erf: "gelu", silu: "silu" }[config.activation],
      attention_bias: config.qkvBias,
      query_pre_attn_scalar: config.queryScalar,
      ...!isThird && { attn_logit_softcapping: config.scoreCap },
      final_logit_softcapping: config.logitCap,
      sliding_window: config.window,
      layer_types: Array(config.layerCount).fill("full_attention"),
      ...layerTypesJson(config),
      ...paddingTokenJson(config.paddingToken, PADDING_TOKEN),
    };
  },
});

/** A soft cap; null is none, and a field that is not there the default. */
function readCap(read: ConfigReader, field: string, byDefault: number | null): number | null {
  if (read.has(field)) return read.positiveNumber(field);
  return read.given(field) ? null : byDefault;
}

/**
 * Gemma 3 rotates by two bases: transformers 5 has an object for each kind of layer, transformers 4
 * `rope_local_base_freq` beside the base and the scaling of the others.
 */
function readRotaries(
  read: ConfigReader,
  { headSize: width, positionCount }: Pick<GemmaConfig, "headSize" | "positionCount">,
): { rotaryBase: number; slidingRotaryBase: number; rotaryScaling: RotaryScaling | null } {
  const parameters = read.object("rope_parameters");
  const [full, sliding] = ["full_attention", "sliding_attention"].map((kind) => parameters?.object(kind));
  const scaling = read.object("rope_scaling");
  if (scaling && parameters) throw read.refusal("rope_scaling", "none beside rope_parameters");
  if (parameters) parameters.only(["full_attention", "sliding_attention"]);
  if (sliding && readScaling(sliding, read, { width, positionCount }) !== null) {
    throw sliding.refusal("rope_type", '"default": rotations over a window are not scaled');
  }
  const source = full ?? scaling;
  return {
    rotaryBase: full?.has("rope_theta")
      ? full.positiveNumber("rope_theta")
      : read.positiveNumber("rope_theta", 1_000_000),
    slidingRotaryBase: sliding?.has("rope_theta")
      ? sliding.positiveNumber("rope_theta")
      : read.positiveNumber("rope_local_base_freq", 10_000),
    rotaryScaling: source ? readScaling(source, read, { width, positionCount }) : null,
  };
}
