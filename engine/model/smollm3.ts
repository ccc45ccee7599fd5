import type { ConfigReader } from "./config_reader.ts";
import {
  type DecoderConfig,
  decoderFamily,
  decoderJson,
  type LayerKind,
  paddingTokenJson,
  readDecoder,
} from "./decoder.ts";
import { readRotaryShare } from "./rotary_config.ts";

/** What transformers takes where config.json has none. */
const PADDING_TOKEN = 128004;

/** SmolLM3: Llama with layers without rotations. Bakouch et al. 2025, huggingface.co/blog/smollm3. */
export type Smollm3Config = DecoderConfig<"smollm3", "smollm3">;

export const smollm3 = decoderFamily<Smollm3Config>({
  modelTypes: ["smollm3"],
  parse(read) {
    read.architecture(["SmolLM3ForCausalLM", "SmolLM3Model"], "SmolLM3ForCausalLM");
    read.oneOf("hidden_act", ["silu", "swish"], "silu");
    readRotaryShare(read, { whole: true });
    read.oneOf("use_sliding_window", [false], false);
    const bias = read.oneOf("attention_bias", [true, false], false);
    const config = readDecoder(read, {
      rotary: { base: 2_000_000 },
      tiedHead: true,
      paddingToken: PADDING_TOKEN,
    });
    if (read.has("layer_types")) read.list("layer_types", ["full_attention"], config.layerCount);
    return {
      ...config,
      family: "smollm3",
      modelType: "smollm3",
      layers: readLayers(read, config.layerCount),
      qkvBias: bias,
      outputBias: bias,
      feedForwardBias: read.oneOf("mlp_bias", [true, false], false),
    };
  },
  configJson: (config) => ({
    ...decoderJson(config, "SmolLM3ForCausalLM"),
    head_dim: config.headSize,
    no_rope_layers: rotates(config).map(Number),
    attention_bias: config.qkvBias,
    mlp_bias: config.feedForwardBias,
    ...paddingTokenJson(config.paddingToken, PADDING_TOKEN),
  }),
});

/** A 1 of `no_rope_layers` stands for a layer that rotates; without the list every fourth layer does not. */
function readLayers(read: ConfigReader, layerCount: number): LayerKind[] | null {
  const interval = read.positiveInteger("no_rope_layer_interval", 4);
  const rotating = read.has("no_rope_layers")
    ? read.list("no_rope_layers", [1, 0, true, false], layerCount).map(Boolean)
    : Array.from({ length: layerCount }, (_, layer) => (layer + 1) % interval !== 0);
  return rotating.includes(false) ? rotating.map((rotates) => rotates ? "full" : "no-rope") : null;
}

function rotates({ layers, layerCount }: Smollm3Config): boolean[] {
  return layers?.map((kind) => kind === "full") ?? Array(layerCount).fill(true);
}
