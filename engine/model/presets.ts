import type { BertConfig } from "./bert.ts";
import type { ModelConfig } from "./config.ts";
import { PLAIN_DECODER } from "./decoder.ts";
import { NO_DROPOUT } from "./dropout.ts";
import type { Gpt2Config } from "./gpt2.ts";
import type { LlamaConfig } from "./llama.ts";

/** Sizes of a BERT. */
type BertSizes = Pick<BertConfig, "layerCount" | "hiddenSize" | "headCount"> & Partial<BertConfig>;

/**
 * Stands in for BERT-large where that does not fit: two layers a quarter as wide, for sequences a quarter as
 * long, with the same ratio of embeddings to layers (a tenth), of attention probabilities to other
 * activations and of activations to weights. The vocabulary is that of 512 tokens and three special ones.
 */
const BERT_NANO: BertSizes = {
  layerCount: 2,
  hiddenSize: 256,
  headCount: 16,
  positionCount: 128,
  vocabularySize: 515,
};
/** As small as gpt2-pico: learns more than how often words occur within minutes on two processor cores. */
const BERT_PICO: BertSizes = { ...BERT_NANO, hiddenSize: 64, headCount: 2 };
const BERT_BASE: BertSizes = { layerCount: 12, hiddenSize: 768, headCount: 12 };
const BERT_LARGE: BertSizes = { layerCount: 24, hiddenSize: 1024, headCount: 16 };

/**
 * Models by name, without weights or dropout. `vocabularySize` 0 takes the tokenizer's: the small ones are
 * trained from scratch on any vocabulary.
 */
export const PRESETS: Readonly<Record<string, ModelConfig>> = {
  "gpt2-nano": gpt2Preset({
    layerCount: 4,
    hiddenSize: 128,
    headCount: 4,
    positionCount: 128,
    vocabularySize: 0,
  }),
  // Two more sizes around gpt2-nano: a curve over parameters needs points.
  "gpt2-pico": gpt2Preset({
    layerCount: 2,
    hiddenSize: 64,
    headCount: 2,
    positionCount: 128,
    vocabularySize: 0,
  }),
  "gpt2-micro": gpt2Preset({
    layerCount: 4,
    hiddenSize: 256,
    headCount: 4,
    positionCount: 128,
    vocabularySize: 0,
  }),
  // Shallow, with many positions: for what grows with the sequence, on adapters that carry little else.
  "gpt2-nano-long": gpt2Preset({
    layerCount: 2,
    hiddenSize: 128,
    headCount: 4,
    positionCount: 1024,
    vocabularySize: 0,
  }),
  "gpt2-mini": gpt2Preset({
    layerCount: 6,
    hiddenSize: 384,
    headCount: 6,
    positionCount: 256,
    vocabularySize: 0,
  }),
  "gpt2": gpt2Preset({ layerCount: 12, hiddenSize: 768, headCount: 12 }),
  "gpt2-medium": gpt2Preset({ layerCount: 24, hiddenSize: 1024, headCount: 16 }),
  "gpt2-large": gpt2Preset({ layerCount: 36, hiddenSize: 1280, headCount: 20 }),
  "gpt2-xl": gpt2Preset({ layerCount: 48, hiddenSize: 1600, headCount: 25 }),
  // Of the size of gpt2-pico, two heads on one pair of keys and values.
  "llama-pico": llamaPreset({
    layerCount: 2,
    hiddenSize: 64,
    headCount: 2,
    kvHeadCount: 1,
    feedForwardSize: 172,
    positionCount: 128,
    vocabularySize: 0,
  }),
  "llama-nano": llamaPreset({
    layerCount: 4,
    hiddenSize: 128,
    headCount: 4,
    kvHeadCount: 2,
    feedForwardSize: 344,
    positionCount: 128,
    vocabularySize: 0,
  }),
  // The sizes of HuggingFaceTB/SmolLM2-135M's config.json, on any vocabulary.
  "llama-135m": llamaPreset({
    layerCount: 30,
    hiddenSize: 576,
    headCount: 9,
    kvHeadCount: 3,
    feedForwardSize: 1536,
    positionCount: 8192,
    rotaryBase: 100_000,
    tiedHead: true,
    vocabularySize: 0,
  }),
  "openllama-3b": llamaPreset({
    layerCount: 26,
    hiddenSize: 3200,
    headCount: 32,
    feedForwardSize: 8640,
    positionCount: 2048,
    normEpsilon: 1e-6,
  }),
  "llama2-7b": llamaPreset({ layerCount: 32, hiddenSize: 4096, headCount: 32, feedForwardSize: 11008 }),
  "bert-pico": bertPreset(BERT_PICO),
  "bert-pico-mlm": maskedLmPreset(BERT_PICO),
  "bert-nano": bertPreset(BERT_NANO),
  "bert-nano-mlm": maskedLmPreset(BERT_NANO),
  "bert-base": bertPreset(BERT_BASE),
  "bert-base-mlm": maskedLmPreset(BERT_BASE),
  "bert-large": bertPreset(BERT_LARGE),
  "bert-large-mlm": maskedLmPreset(BERT_LARGE),
};

function gpt2Preset(
  sizes: Pick<Gpt2Config, "layerCount" | "hiddenSize" | "headCount"> & Partial<Gpt2Config>,
): Gpt2Config {
  return {
    family: "gpt2",
    vocabularySize: 50257,
    positionCount: 1024,
    feedForwardSize: 4 * sizes.hiddenSize,
    normEpsilon: 1e-5,
    initializerRange: 0.02,
    tiedHead: true,
    dropout: NO_DROPOUT,
    ...sizes,
  };
}

/** Llama 2's settings where `sizes` does not say otherwise. Touvron et al. 2023, arXiv:2307.09288. */
function llamaPreset(
  sizes:
    & Pick<LlamaConfig, "layerCount" | "hiddenSize" | "headCount" | "feedForwardSize">
    & Partial<LlamaConfig>,
): LlamaConfig {
  return {
    ...PLAIN_DECODER,
    family: "llama",
    modelType: "llama",
    vocabularySize: 32000,
    positionCount: 4096,
    kvHeadCount: sizes.headCount,
    headSize: sizes.hiddenSize / sizes.headCount,
    normEpsilon: 1e-5,
    initializerRange: 0.02,
    rotaryBase: 10000,
    rotaryScaling: null,
    qkvBias: false,
    outputBias: false,
    feedForwardBias: false,
    tiedHead: false,
    dropout: NO_DROPOUT,
    ...sizes,
  };
}

/** A classifier of two labels, the usual task of memory comparisons, on the uncased vocabulary. */
function bertPreset(sizes: BertSizes): BertConfig {
  return {
    family: "bert",
    modelType: "bert",
    task: "sequence-label",
    vocabularySize: 30522,
    positionCount: 512,
    tokenTypeCount: 2,
    feedForwardSize: 4 * sizes.hiddenSize,
    activation: "gelu",
    normEpsilon: 1e-12,
    initializerRange: 0.02,
    labels: ["LABEL_0", "LABEL_1"],
    dropout: NO_DROPOUT,
    paddingToken: null,
    ...sizes,
  };
}

/** The same with a head for hidden tokens instead of the classifier. */
function maskedLmPreset(sizes: BertSizes): BertConfig {
  return { ...bertPreset(sizes), task: "masked-token", labels: [] };
}

/** Names of the presets. */
export const PRESET_NAMES: readonly string[] = Object.keys(PRESETS);
