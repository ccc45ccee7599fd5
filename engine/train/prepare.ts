import { inputExists } from "../formats/input_file.ts";
import type { Tokenizer } from "../formats/tokenizer.ts";
import { byteTokenizer, gpt2Tokenizer, tokenizerFromFolder, trainBpe } from "../formats/tokenizer.ts";
import { isTokenFile } from "../formats/token_file.ts";
import { InputError } from "../input_error.ts";
import { type Model, type ModelConfig, modelOf, readModelConfig } from "../model/config.ts";
import { PRESETS } from "../model/presets.ts";
import { type Data, loadData, tokenize } from "./corpus.ts";
import type { TrainOptions } from "./options.ts";
import { requireTokensBelow, splitTokens, type TokenSplit } from "./tokens.ts";

/** What to train, and on what, once names have become things. */
export interface Prepared {
  model: Model;
  /** The model's folder, or null for a preset. */
  folder: string | null;
  /** Null for token files: their tokenizer is not known. */
  tokenizer: Tokenizer | null;
  split: TokenSplit;
  dataHash: string;
}

/** The tokenizer a model is trained with unless told otherwise. */
export function defaultTokenizer(model: string): string {
  if (!(model in PRESETS)) return "model";
  // The others' own tokenizers are not built in; a small one fits any vocabulary.
  return PRESETS[model].family === "gpt2" && PRESETS[model].vocabularySize > 0 ? "gpt2" : "bpe512";
}

/**
 * Configuration of a preset or folder.
 *
 * @throws {InputError} listing the presets where `model` is neither.
 */
export async function resolveModel(model: string): Promise<{ config: ModelConfig; folder: string | null }> {
  if (Object.hasOwn(PRESETS, model)) return { config: PRESETS[model], folder: null };
  if (await inputExists(`${model}/config.json`)) {
    return { config: await readModelConfig(model), folder: model };
  }
  if (await inputExists(model)) {
    throw new InputError(`${model}/config.json: not found; a model folder has a config.json`);
  }
  throw new InputError(
    `Cannot find the model ${model}: expected a folder with config.json, or one of ${
      Object.keys(PRESETS).join(", ")
    }`,
  );
}

/** The model of `options` without its data: what planning needs. Reads a token file only where a preset has no vocabulary. */
export async function prepareModel(
  options: Pick<TrainOptions, "model" | "data" | "tokenizer" | "sequenceLength">,
): Promise<Model> {
  const { config, folder } = await resolveModel(options.model);
  let { vocabularySize } = config;
  if (vocabularySize === 0) {
    if (isTokenFile(options.data)) {
      vocabularySize = vocabularyOf(tokensOf(await loadData(options.data), null));
    } else vocabularySize = await tokenizerSize(options.tokenizer, folder);
  }
  return checkedModel({ ...config, vocabularySize }, options);
}

/** Loads, tokenises and splits the data and fits the model to it. @throws {InputError} */
export async function prepare(
  options: Pick<TrainOptions, "model" | "data" | "tokenizer" | "sequenceLength" | "heldOutFraction">,
): Promise<Prepared> {
  const { config, folder } = await resolveModel(options.model);
  requireNextTokens(config, options);
  const data = await loadData(options.data);
  const tokenizer = data.kind === "tokens" ? null : await openTokenizer(options.tokenizer, folder, data.text);
  const tokens = tokensOf(data, tokenizer);
  const vocabularySize = config.vocabularySize || tokenizer?.vocabularySize || vocabularyOf(tokens);
  if (tokenizer && tokenizer.vocabularySize > vocabularySize) {
    throw new InputError(
      `Cannot use tokenizer ${options.tokenizer} with ${options.model}: it has ${tokenizer.vocabularySize} tokens, ` +
        `the model's vocabulary ${vocabularySize}`,
    );
  }
  requireTokensBelow(vocabularySize, tokens, options.data);
  const model = checkedModel({ ...config, vocabularySize }, options);
  const split = splitTokens(tokens, options);
  return { model, folder, tokenizer, split, dataHash: data.sha256 };
}

/**
 * The held-out part of other data, in the tokens that a prepared model was trained on.
 *
 * @throws {InputError} where nothing is held out, or where the data has other tokens.
 */
export async function prepareElsewhere(
  spec: string,
  { tokenizer, model }: Pick<Prepared, "tokenizer" | "model">,
  options: Pick<TrainOptions, "sequenceLength" | "heldOutFraction">,
): Promise<Uint32Array> {
  const data = await loadData(spec);
  if (data.kind === "text" && tokenizer === null) {
    throw new InputError(`Cannot also evaluate on ${spec}: it is text, and the data to train on is tokens`);
  }
  const tokens = tokensOf(data, tokenizer);
  requireTokensBelow(model.config.vocabularySize, tokens, spec);
  const { heldOut } = splitTokens(tokens, options);
  if (heldOut === null) {
    throw new InputError(`Cannot also evaluate on ${spec}: no share of the data is held out, expected one`);
  }
  return heldOut;
}

/** @throws {InputError} where the model predicts something that a stream of tokens does not hold. */
function requireNextTokens(
  config: ModelConfig,
  { model, data }: Pick<TrainOptions, "model" | "data">,
): void {
  const { objective } = modelOf(config);
  if (objective === "next-token") return;
  const predicted = objective === "masked-token" ? "hidden tokens" : "a label for each sequence";
  throw new InputError(
    `Cannot use ${model} on ${data}: it predicts ${predicted}, and text holds only next tokens; it can be planned`,
  );
}

function tokensOf(data: Data, tokenizer: Tokenizer | null): Uint32Array {
  if (data.kind === "tokens") return data.tokens;
  if (data.text.trim() === "") {
    throw new InputError(`${data.name}: the text is empty, expected text to train on`);
  }
  return tokenize(data, tokenizer!);
}

function vocabularyOf(tokens: Uint32Array): number {
  return tokens.reduce((max, token) => Math.max(max, token), 0) + 1;
}

function checkedModel(
  config: ModelConfig,
  { model, sequenceLength }: { model: string; sequenceLength: number },
): Model {
  if (sequenceLength > config.positionCount) {
    throw new InputError(
      `Cannot train ${model} at sequence length ${sequenceLength}: the model has ${config.positionCount} positions`,
    );
  }
  return modelOf(config);
}

const BPE_NAME = /^bpe([1-9]\d{2,5})$/;

/** Size of a tokenizer's vocabulary where it follows from the name. */
async function tokenizerSize(name: string, folder: string | null): Promise<number> {
  const bpe = name.match(BPE_NAME);
  if (bpe) return Number(bpe[1]);
  return (await openTokenizer(name, folder, "")).vocabularySize;
}

/** @param text What `bpe<size>` is trained on. @throws {InputError} listing the tokenizers. */
export async function openTokenizer(name: string, folder: string | null, text: string): Promise<Tokenizer> {
  if (name === "bytes") return byteTokenizer();
  if (name === "gpt2") return await gpt2Tokenizer();
  const bpe = name.match(BPE_NAME);
  if (bpe) return trainBpe(text, Number(bpe[1]));
  if (name === "model") {
    if (folder === null) {
      throw new InputError(`Cannot use the tokenizer of a preset: expected bytes, gpt2 or bpe<size>`);
    }
    return await tokenizerFromFolder(folder);
  }
  throw new InputError(`Unknown tokenizer ${name}: expected bytes, gpt2, bpe<size> (as bpe512) or model`);
}
