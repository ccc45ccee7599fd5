import type { Tokenizer } from "../formats/tokenizer.ts";
import { byteTokenizer, gpt2Tokenizer, tokenizerFromFolder, trainBpe } from "../formats/tokenizer.ts";
import { openWeights } from "../formats/safetensors.ts";
import { isTokenFile } from "../formats/token_file.ts";
import { InputError } from "../input_error.ts";
import { labelsOf, type Model, type ModelConfig, modelOf } from "../model/config.ts";
import type { ParameterSpec } from "../model/parameters.ts";
import { PRESETS } from "../model/presets.ts";
import type { FolderAdapter } from "./adapters.ts";
import { buildSplit, labelFieldOf, textOf } from "./build_split.ts";
import { type Data, hasExamples, loadData } from "./corpus.ts";
import { tokenizedByBpe, tokensOfGpt2 } from "./kept_tokens.ts";
import { readLabels } from "./labels.ts";
import { unreadFields } from "./record_documents.ts";
import { resolveModel } from "./model_source.ts";
import type { TrainOptions } from "./options.ts";
import type { Sequences, Split } from "./sequences.ts";

/** What to train, and on what, once names have become things. */
export interface Prepared {
  model: Model;
  /** The model's folder, or null for a preset. */
  folder: string | null;
  /** Parameters of a new head, which start anew where the folder does not have them. */
  newParameters: ReadonlySet<string>;
  /**
   * The adapter that training goes on with, whose settings stand for the LoRA method's; absent for a new one.
   */
  adapter?: FolderAdapter;
  /** Null for token files, whose tokenizer is not known, and for the corpus `random`. */
  tokenizer: Tokenizer | null;
  split: Split;
  dataHash: string;
}

/** The tokenizer a model is trained with unless told otherwise. */
export function defaultTokenizer(model: string): string {
  if (!(model in PRESETS)) return "model";
  // The others' own tokenizers are not built in; a small one fits any vocabulary.
  return PRESETS[model].family === "gpt2" && PRESETS[model].vocabularySize > 0 ? "gpt2" : "bpe512";
}

/** What preparing a run depends on. */
export type PrepareOptions = Pick<
  TrainOptions,
  | "model"
  | "task"
  | "data"
  | "textField"
  | "labelField"
  | "packing"
  | "overlong"
  | "tokenizer"
  | "sequenceLength"
  | "heldOutFraction"
  | "seed"
>;

/**
 * The model of `options` without its data: what planning needs. Reads data only where a preset takes
 * something from it: its vocabulary from a token file, its labels from a file of examples.
 */
export async function prepareModel(
  options: Omit<PrepareOptions, "heldOutFraction" | "seed">,
): Promise<Model> {
  const { config, folder, takesLabels, unknownParameters } = await modelForTask(options, "config");
  let { vocabularySize } = config;
  if (vocabularySize === 0) {
    const data = isTokenFile(options.data) ? await loadData(options.data) : null;
    vocabularySize = data?.kind === "tokens"
      ? vocabularyOf(data.tokens)
      : await tokenizerSize(options.tokenizer, folder);
  }
  const { objective } = modelOf(config);
  if (takesLabels && objective === "sequence-label" && hasExamples(options.data)) {
    const data = await loadData(options.data, options);
    if (data.kind === "records") {
      const { names } = readLabels(data.records, labelFieldOf(options), null);
      return checkedModel(withLabels({ ...config, vocabularySize }, names), options, unknownParameters);
    }
  }
  return checkedModel({ ...config, vocabularySize }, options, unknownParameters);
}

/** Loads, tokenises and splits the data and fits the model to it. @throws {InputError} */
export async function prepare(options: PrepareOptions): Promise<Prepared> {
  const { config, folder, takesLabels, newParameters, unknownParameters } = await modelForTask(
    options,
    "model",
  );
  const data = await loadData(options.data, options);
  const { objective } = modelOf(config);
  const labels = data.kind === "records" && objective === "sequence-label"
    ? readLabels(data.records, labelFieldOf(options), takesLabels ? null : labelsOf(config))
    : null;
  const bpe = data.kind === "text" ? options.tokenizer.match(BPE_NAME) : null;
  const tokenized = data.kind === "text" && bpe ? await tokenizedByBpe(data, Number(bpe[1])) : null;
  const tokenizer = tokenized
    ? tokenized.tokenizer
    : data.kind === "text" || data.kind === "records"
    ? await openTokenizer(options.tokenizer, folder, textOf(data, options))
    : null;
  const vocabularySize = config.vocabularySize || tokenizer?.vocabularySize ||
    (data.kind === "tokens" ? vocabularyOf(data.tokens) : await tokenizerSize(options.tokenizer, folder));
  if (tokenizer && tokenizer.vocabularySize > vocabularySize) {
    throw new InputError(
      `Cannot use tokenizer ${options.tokenizer} with ${options.model}: it has ${tokenizer.vocabularySize} tokens, ` +
        `the model's vocabulary ${vocabularySize}`,
    );
  }
  const model = checkedModel(
    withLabels({ ...config, vocabularySize }, labels?.names ?? null),
    options,
    unknownParameters,
  );
  const tokens = tokenized?.tokens ?? await tokensKnown(data, tokenizer, options);
  const built = buildSplit({ data, tokenizer, tokens, model, labels, options });
  noteUnread(data, objective, options);
  return { model, folder, newParameters, tokenizer, ...built };
}

/**
 * The held-out part of other data, in the tokens that a prepared model was trained on.
 *
 * @throws {InputError} where nothing is held out, or where the data has other tokens.
 */
export async function prepareElsewhere(
  spec: string,
  { tokenizer, model }: Pick<Prepared, "tokenizer" | "model">,
  options: PrepareOptions,
): Promise<Sequences> {
  const data = await loadData(spec, options);
  if ((data.kind === "text" || data.kind === "records") && tokenizer === null) {
    throw new InputError(`Cannot also evaluate on ${spec}: it is text, and the data to train on is tokens`);
  }
  const labels = data.kind === "records" && model.objective === "sequence-label"
    ? readLabels(data.records, labelFieldOf(options), labelsOf(model.config))
    : null;
  const tokens = await tokensKnown(data, tokenizer, options);
  const own = { ...options, data: spec };
  const { heldOut } = buildSplit({ data, tokenizer, tokens, model, labels, options: own }).split;
  if (heldOut === null) {
    throw new InputError(`Cannot also evaluate on ${spec}: no share of the data is held out, expected one`);
  }
  noteUnread(data, model.objective, options);
  return heldOut;
}

/** Notes that were made in this process. */
const NOTED = new Set<string>();

/**
 * Names the fields of examples that are left aside, once: they may be metadata,
 * or a name that was meant otherwise.
 */
function noteUnread(data: Data, objective: Model["objective"], options: PrepareOptions): void {
  if (data.kind !== "records") return;
  const unread = unreadFields(data.records, { objective, labelField: labelFieldOf(options) }, options);
  const note = `${data.name}: fields that are not read: ${unread.join(", ")}`;
  if (unread.length === 0 || NOTED.has(note)) return;
  NOTED.add(note);
  console.error(note);
}

/** A model with the head for what it is to be trained for. */
interface TaskModel {
  config: ModelConfig;
  folder: string | null;
  /** Whether its labels are those of the data. */
  takesLabels: boolean;
  newParameters: ReadonlySet<string>;
  /** Those of them that no file has: they start anew, and are trained whatever else is frozen. */
  unknownParameters: ReadonlySet<string>;
}

/** @throws {InputError} for a model that cannot be given another task. */
async function modelForTask(
  { model, task = "own" }: Pick<TrainOptions, "model" | "task">,
  what: "config" | "model",
): Promise<TaskModel> {
  const { config, folder } = await resolveModel(model, what);
  const own: TaskModel = {
    config,
    folder,
    takesLabels: folder === null,
    newParameters: new Set(),
    unknownParameters: new Set(),
  };
  if (task === "own") return own;
  if (config.family !== "bert") {
    throw new InputError(`Cannot classify with ${model}: it is a ${config.family}, expected a bert`);
  }
  if (config.task === "sequence-label") return own;
  const classifier: ModelConfig = {
    ...config,
    task: "sequence-label",
    labels: ["LABEL_0", "LABEL_1"],
  };
  const before = new Set(modelOf(config).parameters.map(({ name }) => name));
  const head = modelOf(classifier).parameters.filter(({ name }) => !before.has(name));
  const newParameters = namesOf(head);
  return {
    config: classifier,
    folder,
    takesLabels: true,
    newParameters,
    unknownParameters: folder === null ? newParameters : namesOf(await notIn(folder, head)),
  };
}

function namesOf(parameters: readonly ParameterSpec[]): ReadonlySet<string> {
  return new Set(parameters.map(({ name }) => name));
}

/** Which parameters the weights of a folder do not have; none where there are no weights to look at. */
async function notIn(folder: string, parameters: readonly ParameterSpec[]): Promise<ParameterSpec[]> {
  const source = await openWeights(folder);
  try {
    return parameters.filter(({ name, storedAs = [] }) =>
      source && ![name, ...storedAs].some((candidate) => source.has(candidate))
    );
  } finally {
    source?.close();
  }
}

/** A preset or a new head takes the labels of its data. */
function withLabels(config: ModelConfig, labels: readonly string[] | null): ModelConfig {
  return labels && config.family === "bert" ? { ...config, labels } : config;
}

function vocabularyOf(tokens: Uint32Array): number {
  return tokens.reduce((max, token) => Math.max(max, token), 0) + 1;
}

/** @param unknownParameters Start anew: a frozen pooler that nobody trained would be noise in the way. */
function checkedModel(
  config: ModelConfig,
  { model, sequenceLength }: { model: string; sequenceLength: number },
  unknownParameters: ReadonlySet<string>,
): Model {
  if (sequenceLength > config.positionCount) {
    throw new InputError(
      `Cannot train ${model} at sequence length ${sequenceLength}: the model has ${config.positionCount} positions`,
    );
  }
  const built = modelOf(config);
  return {
    ...built,
    parameters: built.parameters.map((spec) =>
      unknownParameters.has(spec.name) ? { ...spec, trainedWithAdapters: true } : spec
    ),
  };
}

/**
 * A text in the tokens of a built-in tokenizer, where they are worth keeping;
 * undefined for what is still to be encoded.
 */
async function tokensKnown(
  data: Data,
  tokenizer: Tokenizer | null,
  { tokenizer: name }: Pick<PrepareOptions, "tokenizer">,
): Promise<Uint32Array | undefined> {
  return data.kind === "text" && tokenizer && name === "gpt2"
    ? await tokensOfGpt2(data, tokenizer)
    : undefined;
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
