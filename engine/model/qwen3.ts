import { type DecoderConfig, decoderFamily, decoderJson, paddingTokenJson, readDecoder } from "./decoder.ts";
import { qwenWindows, qwenWindowsJson } from "./llama.ts";
import { readRotaryShare } from "./rotary_config.ts";

/** Qwen3: Llama with norms of every query and key. Yang et al. 2025, arXiv:2505.09388. */
export type Qwen3Config = DecoderConfig<"qwen3", "qwen3">;

export const qwen3 = decoderFamily<Qwen3Config>({
  modelTypes: ["qwen3"],
  parse(read) {
    read.architecture(["Qwen3ForCausalLM", "Qwen3Model"], "Qwen3ForCausalLM");
    read.oneOf("hidden_act", ["silu", "swish"], "silu");
    readRotaryShare(read, { whole: true });
    const bias = read.oneOf("attention_bias", [true, false], false);
    const config = readDecoder(read, { headSize: 128 });
    return {
      ...config,
      family: "qwen3",
      modelType: "qwen3",
      ...qwenWindows(read, config.layerCount),
      qkvBias: bias,
      outputBias: bias,
      qkNorm: "head",
    };
  },
  configJson: (config) => ({
    ...decoderJson(config, "Qwen3ForCausalLM"),
    head_dim: config.headSize,
    attention_bias: config.qkvBias,
    ...qwenWindowsJson(config),
    ...paddingTokenJson(config.paddingToken, null),
  }),
});
