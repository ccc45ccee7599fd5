import type { ConfigReader } from "./config_reader.ts";
import {
  type DecoderConfig,
  decoderFamily,
  decoderJson,
  layerTypesJson,
  paddingTokenJson,
  readDecoder,
  readWindows,
} from "./decoder.ts";
import { readRotaryShare } from "./rotary_config.ts";

/**
 * Whose names a model of this shape goes by. They differ in which layers have
 * biases and windows and in what is left to defaults.
 */
const ARCHITECTURES = {
  llama: ["LlamaForCausalLM", "LlamaModel"],
  mistral: ["MistralForCausalLM", "MistralModel"],
  qwen2: ["Qwen2ForCausalLM", "Qwen2Model"],
} as const;
type ModelType = keyof typeof ARCHITECTURES;

/** Llama 2 and 3 and what shares their shape. */
export type LlamaConfig = DecoderConfig<"llama", ModelType>;

export const llama = decoderFamily<LlamaConfig>({
  modelTypes: Object.keys(ARCHITECTURES),
  parse,
  configJson,
});

function parse(read: ConfigReader): LlamaConfig {
  const modelType = read.oneOf("model_type", Object.keys(ARCHITECTURES) as ModelType[]);
  const [causal, base] = ARCHITECTURES[modelType];
  read.architecture([causal, base], causal);
  read.oneOf("hidden_act", ["silu", "swish"], "silu");
  readRotaryShare(read, { whole: true });
  const isLlama = modelType === "llama";
  const attentionBias = isLlama && read.oneOf("attention_bias", [true, false], false);
  // The first Llama had no key/value heads; the others' defaults depend on the version of transformers.
  const config = readDecoder(read, { kvHeadsAreHeads: isLlama });
  return {
    ...config,
    family: "llama",
    modelType,
    ...WINDOWS[modelType](read, config.layerCount),
    qkvBias: modelType === "qwen2" || attentionBias,
    outputBias: attentionBias,
    feedForwardBias: isLlama && read.oneOf("mlp_bias", [true, false], false),
  };
}

const WINDOWS: Record<ModelType, typeof qwenWindows> = {
  llama: (read, layerCount) => readWindows(read, layerCount, null, () => false),
  mistral: (read, layerCount) => {
    // Without the field transformers gives Mistral a window of 4096.
    const none = read.given("sliding_window") && !read.has("sliding_window");
    const window = none ? null : read.positiveInteger("sliding_window", 4096);
    return readWindows(read, layerCount, window, () => true);
  },
  qwen2: qwenWindows,
};

/** Qwen writes the width of a window that it does not use, unless it says so. */
export function qwenWindows(read: ConfigReader, layerCount: number) {
  const uses = read.oneOf("use_sliding_window", [true, false], false);
  const window = uses && !(read.given("sliding_window") && !read.has("sliding_window"))
    ? read.positiveInteger("sliding_window", 4096)
    : null;
  const first = window === null || read.number("max_window_layers", 28) <= 0
    ? 0
    : read.positiveInteger("max_window_layers", 28);
  return readWindows(read, layerCount, window, (layer) => layer >= first);
}

/** The fields of it. */
export function qwenWindowsJson({ window, layers }: DecoderConfig): Record<string, unknown> {
  return window === null
    ? { use_sliding_window: false }
    : { use_sliding_window: true, sliding_window: window, ...layerTypesJson({ layers }) };
}

function configJson(config: LlamaConfig): Record<string, unknown> {
  const { modelType } = config;
  const own: Record<ModelType, () => Record<string, unknown>> = {
    llama: () => ({
      attention_bias: config.qkvBias,
      mlp_bias: config.feedForwardBias,
      head_dim: config.headSize,
    }),
    mistral: () => ({ sliding_window: config.window, head_dim: config.headSize }),
    qwen2: () => ({ ...qwenWindowsJson(config), ...headDimWhereUnusual(config) }),
  };
  return {
    ...decoderJson(config, ARCHITECTURES[modelType][0]),
    ...own[modelType](),
    ...paddingTokenJson(config.paddingToken, null),
  };
}

function headDimWhereUnusual({ headSize, hiddenSize, headCount }: LlamaConfig): Record<string, unknown> {
  return headSize * headCount === hiddenSize ? {} : { head_dim: headSize };
}
