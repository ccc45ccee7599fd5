import { type DecoderConfig, decoderFamily, decoderJson, paddingTokenJson, readDecoder } from "./decoder.ts";
import { readRotaryShare } from "./rotary_config.ts";

/** What transformers takes where config.json has none. */
const PADDING_TOKEN = 1;

/**
 * OLMo 2: Llama with norms behind its branches rather than before, and norms of queries and keys over all of
 * their channels. OLMo Team 2024, arXiv:2501.00656.
 */
export type Olmo2Config = DecoderConfig<"olmo2", "olmo2">;

export const olmo2 = decoderFamily<Olmo2Config>({
  modelTypes: ["olmo2"],
  parse(read) {
    read.architecture(["Olmo2ForCausalLM", "Olmo2Model"], "Olmo2ForCausalLM");
    read.oneOf("hidden_act", ["silu", "swish"], "silu");
    readRotaryShare(read, { whole: true });
    if (read.has("layer_types")) {
      read.list("layer_types", ["full_attention"], read.layerCount("num_hidden_layers"));
    }
    const bias = read.oneOf("attention_bias", [true, false], false);
    return {
      ...readDecoder(read, { kvHeadsAreHeads: true, normEpsilon: 1e-5, paddingToken: PADDING_TOKEN }),
      family: "olmo2",
      modelType: "olmo2",
      qkvBias: bias,
      outputBias: bias,
      qkNorm: "all",
      norms: "behind",
    };
  },
  configJson: (config) => ({
    ...decoderJson(config, "Olmo2ForCausalLM"),
    head_dim: config.headSize,
    attention_bias: config.qkvBias,
    ...paddingTokenJson(config.paddingToken, PADDING_TOKEN),
  }),
});
