import type { DataRecord } from "../formats/data_record.ts";
import type { Tokenizer } from "../formats/tokenizer.ts";
import { InputError } from "../input_error.ts";
import type { Model } from "../model/config.ts";
import type { Data } from "./corpus.ts";
import {
  type Document,
  documentLayout,
  nextTokenDocuments,
  oneDocumentEach,
  packDocuments,
} from "./documents.ts";
import type { Labels } from "./labels.ts";
import { hiddenTokenSequences, labelledSequences, type Layout } from "./layout.ts";
import type { TrainOptions } from "./options.ts";
import { randomData } from "./random_data.ts";
import { aroundText, markedDocuments, nextTokenDocumentsOf, recordTexts } from "./record_documents.ts";
import { heldOutPart, type Sequences, type Split, splitSequences } from "./sequences.ts";
import { type SpecialTokens, specialTokens, withSpareTokens } from "./special_tokens.ts";
import { requireTokensBelow } from "./tokens.ts";
import { splitWindows, windowLayout } from "./windows.ts";

/** What decides the sequences of a run. */
interface Ingredients {
  data: Data;
  /** Null where the data are tokens already. */
  tokenizer: Tokenizer | null;
  /** The tokens of a text, where they are known already. */
  tokens?: Uint32Array;
  model: Model;
  /** The labels of records, for a model that predicts them. */
  labels: Labels | null;
  options: Pick<
    TrainOptions,
    "model" | "data" | "sequenceLength" | "heldOutFraction" | "seed" | "textField" | "packing" | "overlong"
  >;
}

/** The sequences to train and evaluate on, with the hash of what they were made from. @throws {InputError} */
export function buildSplit(ingredients: Ingredients): { split: Split; dataHash: string } {
  const { data, options } = ingredients;
  if (options.packing && data.kind !== "records") {
    throw cannotPack(options, "it is not in documents; packing is for .jsonl, .json and .parquet files");
  }
  switch (data.kind) {
    case "random":
      return randomSplit(ingredients);
    case "records":
      return { split: recordSplit(ingredients, data.records), dataHash: data.sha256 };
    case "text":
    case "tokens":
      return { split: streamSplit(ingredients, tokensOf(ingredients)), dataHash: data.sha256 };
    default:
      throw new TypeError(`Unknown data ${data satisfies never}`);
  }
}

/** The field of examples that has the label. */
export function labelFieldOf({ labelField = "label" }: Pick<TrainOptions, "labelField">): string {
  return labelField;
}

/** All text of data: what a tokenizer is trained on. @throws {InputError} */
export function textOf(data: Data, options: Pick<TrainOptions, "textField">): string {
  if (data.kind === "text") return data.text;
  return data.kind === "records" ? recordTexts(data.records, options) : "";
}

function tokensOf({ data, tokenizer, tokens: known, model, options }: Ingredients): Uint32Array {
  if (data.kind === "text" && data.text.trim() === "") {
    throw new InputError(`${data.name}: the text is empty, expected text to train on`);
  }
  const tokens = data.kind === "text"
    ? known ?? tokenizer!.encode(data.text)
    : (data as { tokens: Uint32Array }).tokens;
  requireTokensBelow(model.config.vocabularySize, tokens, options.data);
  return tokens;
}

/** A stream of tokens: windows with next tokens, or with some hidden. */
function streamSplit(ingredients: Ingredients, tokens: Uint32Array): Split {
  const { model, options } = ingredients;
  const { sequenceLength, heldOutFraction, data: what } = options;
  switch (model.objective) {
    case "next-token":
      return splitWindows(tokens, { sequenceLength, heldOutFraction });
    case "masked-token": {
      const special = specialTokensOf(ingredients);
      // Tokens of a file are taken as they are: whoever made it has put in what marks texts.
      const around = ingredients.tokenizer ? aroundText(special) : { start: [], end: [] };
      const layout = windowLayout(tokens, { sequenceLength, ...around, what });
      return splitSequences(hidden(ingredients, layout, special), { heldOutFraction, what });
    }
    case "sequence-label":
      throw new InputError(
        `Cannot use ${options.model} on ${what}: it predicts a label for each sequence, and a plain text has none; ` +
          "expected a .jsonl, .json or .parquet file of texts and labels, or the corpus random",
      );
    default:
      throw new TypeError(`Unknown objective ${model.objective satisfies never}`);
  }
}

function randomSplit({ model, options, ...rest }: Ingredients): { split: Split; dataHash: string } {
  const { sequenceLength, heldOutFraction, seed, data: what } = options;
  const { config, objective } = model;
  const { tokens, labels, sha256 } = randomData({
    seed,
    sequenceLength,
    vocabularySize: config.vocabularySize,
    labelCount: config.family === "bert" ? config.labels.length : 0,
  });
  const ingredients = { model, options, ...rest };
  if (objective === "next-token") {
    return { split: splitWindows(tokens, { sequenceLength, heldOutFraction }), dataHash: sha256 };
  }
  const layout = windowLayout(tokens.subarray(0, -1), { sequenceLength, start: [], end: [], what });
  const sequences = objective === "sequence-label"
    ? labelledSequences(layout, labels)
    : hidden(ingredients, layout, specialTokensOf(ingredients));
  return { split: splitSequences(sequences, { heldOutFraction, what }), dataHash: sha256 };
}

function recordSplit(ingredients: Ingredients, records: readonly DataRecord[]): Split {
  const { labels, options: { heldOutFraction, data: what } } = ingredients;
  const trainingCount = groupBorder(
    records,
    records.length - heldOutPart(records.length, heldOutFraction, what),
  );
  const heldOutCount = records.length - trainingCount;
  if (heldOutFraction > 0 && heldOutCount === 0) {
    throw new InputError(
      `Cannot hold out ${heldOutFraction} of ${what}: that is less than its last group, ${
        records.at(-1)!.group
      }`,
    );
  }
  // Split before texts are cut up or put together, so that no text is in both parts.
  const sequences = (from: number, to: number) =>
    recordSequences(ingredients, records.slice(from, to), labels?.numbers.subarray(from, to) ?? null);
  return {
    training: sequences(0, trainingCount),
    heldOut: heldOutCount === 0 ? null : sequences(trainingCount, records.length),
  };
}

/** The first place from `from` on at which no group is cut in two. */
function groupBorder(records: readonly DataRecord[], from: number): number {
  let border = from;
  while (
    border > 0 && border < records.length && records[border].group !== undefined &&
    records[border].group === records[border - 1].group
  ) border++;
  return border;
}

function recordSequences(
  ingredients: Ingredients,
  records: readonly DataRecord[],
  labels: Uint32Array | null,
): Sequences {
  const { model: { objective, config }, options } = ingredients;
  const { sequenceLength, packing } = options;
  const special = specialTokensOf(ingredients);
  const { vocabularySize } = config;
  const settings = {
    tokenizer: ingredients.tokenizer!,
    special,
    vocabularySize,
    options,
    tokenTypes: hasTokenTypes(config),
  };
  const bins = (documents: readonly Document[]) =>
    packing ? packDocuments(documents, sequenceLength) : oneDocumentEach(documents);
  switch (objective) {
    case "next-token":
      return nextTokenDocuments(bins(nextTokenDocumentsOf(records, settings)), sequenceLength);
    case "masked-token": {
      const documents = markedDocuments(records, settings, { whole: false });
      return hidden(ingredients, documentLayout(bins(documents), sequenceLength), special);
    }
    case "sequence-label": {
      if (packing) {
        throw cannotPack(options, "each of its texts has a label, which needs a sequence of its own");
      }
      const documents = markedDocuments(records, settings, { whole: true });
      return labelledSequences(documentLayout(oneDocumentEach(documents), sequenceLength), labels!);
    }
    default:
      throw new TypeError(`Unknown objective ${objective satisfies never}`);
  }
}

/** RoBERTa's tokens are all of one type, and DistilBERT has none. */
function hasTokenTypes(config: Model["config"]): boolean {
  return config.family === "bert" && config.modelType === "bert";
}

function cannotPack({ data }: Pick<TrainOptions, "data">, why: string): InputError {
  return new InputError(`Cannot pack ${data}: ${why}`);
}

const NO_SPECIAL_TOKENS: SpecialTokens = {
  classify: null,
  separate: null,
  separatesTwice: false,
  mask: null,
  begin: null,
  end: null,
};

function specialTokensOf({ tokenizer, model }: Ingredients): SpecialTokens {
  const { vocabularySize } = model.config;
  if (tokenizer) {
    const own = specialTokens(tokenizer);
    return withSpareTokens(own, { tokenCount: tokenizer.vocabularySize, vocabularySize });
  }
  // Tokens came without a tokenizer: all that is known is that something must stand for hidden ones.
  return { ...NO_SPECIAL_TOKENS, mask: vocabularySize - 1 };
}

function hidden(
  { model, options, tokenizer }: Ingredients,
  layout: Layout,
  special: SpecialTokens,
): Sequences {
  const { vocabularySize } = model.config;
  if (special.mask === null) {
    throw new InputError(
      `Cannot hide tokens of ${options.data}: the tokenizer ${tokenizer?.name} has no [MASK], and the model's vocabulary of ` +
        `${vocabularySize} has no room for one`,
    );
  }
  const marks = [special.classify, special.separate].filter((token) => token !== null);
  return hiddenTokenSequences(layout, {
    seed: options.seed,
    maskToken: special.mask,
    specialTokens: new Set(marks),
    vocabularySize,
  });
}
