import type { Value } from "../graph/types.ts";
import type { ConfigReader } from "./config_reader.ts";
import type { DropoutRates } from "./dropout.ts";
import type { ConstantSpec, ExtraInput } from "./inputs.ts";
import type { LayerContext } from "./layers.ts";
import type { ParameterSpec } from "./parameters.ts";

/** What every configuration has, whatever its family. */
export interface FamilyConfig {
  family: string;
  /** 0 in presets that take the tokenizer's. */
  vocabularySize: number;
  /** Longest sequence. */
  positionCount: number;
  /** What training drops; evaluation drops nothing, as in transformers. */
  dropout: Readonly<DropoutRates>;
  /** A token whose embedding is not trained by its lookups, as torch.nn.Embedding's padding_idx. */
  paddingToken?: number | null;
}

/** What a model is trained to predict: every next token, some hidden tokens, or one label per sequence. */
export type Objective = "next-token" | "masked-token" | "sequence-label";

/** What stands before the softmax: logits are `hidden · weightᵀ (+ bias)`, weight `[V, C]`. */
export interface Head {
  hidden: Value;
  weight: Value;
  bias?: Value;
  /** Soft cap on the logits. */
  logitCap?: number | null;
}

/** Ends of module names, by what users call them. */
export type AdapterTargets = Readonly<Record<"query-value" | "attention" | "all-linear", readonly string[]>>;

/**
 * A model family: one file, one fixture. What it says here is all that the rest of the engine knows of it.
 */
export interface ModelFamily<Config extends FamilyConfig> {
  /** `model_type` of the config.json files it reads. */
  modelTypes: readonly string[];
  /** @throws {InputError} for any field that would change what is computed. */
  parse(read: ConfigReader): Config;
  /** The configuration as Hugging Face's config.json. */
  configJson(config: Config): Record<string, unknown>;
  /** Probabilities of dropout under their names in config.json. */
  dropoutJson(config: Config): Record<string, number>;
  objective(config: Config): Objective;
  /** In the order of the Hugging Face checkpoint, under its names. */
  parameters(config: Config): ParameterSpec[];
  /** What a batch feeds besides tokens and targets. */
  inputs: readonly ExtraInput[];
  constants?(config: Config, sequence: number): ConstantSpec[];
  /** Builds the forward graph up to the head. Nodes of block n have the scope `layers.<n>`. */
  head(context: LayerContext, config: Config): Head;
  /**
   * FLOPs of one token's forward pass in matrix products, at sequence length T
   * (causal halves not discounted).
   */
  forwardFlops(config: Config, sequence: number): number;
  adapterTargets(config: Config): AdapterTargets;
}
