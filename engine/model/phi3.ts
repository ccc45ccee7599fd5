import {
  type DecoderConfig,
  decoderFamily,
  decoderJson,
  paddingTokenJson,
  readDecoder,
  readWindows,
  rotaryWidthOf,
} from "./decoder.ts";
import { readDropout } from "./dropout.ts";
import { readRotaryShare } from "./rotary_config.ts";

/** What transformers takes where config.json has none. */
const PADDING_TOKEN = 32000;
const ORIGINAL_POSITIONS = 4096;

/**
 * Phi-3 and Phi-4: Llama whose query, key and value are one matrix, gate and up another, and of whose heads a
 * part may turn. Abdin et al. 2024, arXiv:2404.14219.
 */
export type Phi3Config = DecoderConfig<"phi3", "phi3">;

export const phi3 = decoderFamily<Phi3Config>({
  modelTypes: ["phi3"],
  parse(read) {
    read.architecture(["Phi3ForCausalLM", "Phi3Model"], "Phi3ForCausalLM");
    read.oneOf("hidden_act", ["silu", "swish"], "silu");
    const rotaryShare = readRotaryShare(read, { whole: false });
    const headSize = read.positiveInteger(
      "head_dim",
      Math.floor(read.positiveInteger("hidden_size") / read.positiveInteger("num_attention_heads")),
    );
    const width = rotaryWidthOf({ headSize, rotaryShare });
    if (width % 2 !== 0 || width === 0) {
      throw read.refusal("partial_rotary_factor", "one that leaves an even number of channels that turn");
    }
    const config = readDecoder(read, {
      kvHeadsAreHeads: true,
      normEpsilon: 1e-5,
      paddingToken: PADDING_TOKEN,
      rotary: {
        width,
        // Its first versions wrote "su", and "yarn" for the same.
        types: { default: "default", longrope: "longrope", su: "longrope", yarn: "longrope" },
        originalPositionCount: read.positiveInteger("original_max_position_embeddings", ORIGINAL_POSITIONS),
      },
    });
    const window = read.has("sliding_window") ? read.positiveInteger("sliding_window") : null;
    return {
      ...config,
      family: "phi3",
      modelType: "phi3",
      ...readWindows(read, config.layerCount, window, () => true),
      dropout: { ...config.dropout, residual: readDropout(read, "resid_pdrop", 0) },
      rotaryShare,
      fused: true,
    };
  },
  configJson: (config) => ({
    ...decoderJson(config, "Phi3ForCausalLM"),
    head_dim: config.headSize,
    partial_rotary_factor: config.rotaryShare,
    original_max_position_embeddings: config.rotaryScaling?.type === "longrope"
      ? config.rotaryScaling.originalPositionCount
      : ORIGINAL_POSITIONS,
    sliding_window: config.window,
    ...paddingTokenJson(config.paddingToken, PADDING_TOKEN),
    resid_pdrop: config.dropout.residual,
  }),
  dropoutJson: ({ dropout }) => ({ attention_dropout: dropout.attention, resid_pdrop: dropout.residual }),
  adapterTargets: () => ({
    // Query, key and value are one matrix: adapters on query and value are on all three, as in peft.
    "query-value": ["qkv_proj"],
    "attention": ["qkv_proj", "o_proj"],
    "all-linear": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
  }),
});
