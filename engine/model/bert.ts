import type { Value } from "../graph/types.ts";
import { gelu, relu, tanh } from "../../kernels/elementwise.ts";
import { takeRows } from "../../kernels/take_rows.ts";
import type { ConfigReader } from "./config_reader.ts";
import { paddingTokenJson, readPaddingToken } from "./decoder.ts";
import { type DropoutRates, readDropout } from "./dropout.ts";
import type { Head, ModelFamily } from "./family.ts";
import type { LayerContext } from "./layers.ts";
import {
  embeddingSpec,
  headSpec,
  linearSpecs,
  normal,
  normSpecs,
  type ParameterSpec,
  vectorSpec,
  withOptionalPrefix,
} from "./parameters.ts";

/** What a model is trained to predict. */
type BertTask = "masked-token" | "sequence-label";
type ModelType = "bert" | "roberta" | "distilbert";

/** What transformers calls a model with the head for a task. */
const ARCHITECTURES: Record<ModelType, Record<BertTask, string>> = {
  bert: { "masked-token": "BertForMaskedLM", "sequence-label": "BertForSequenceClassification" },
  roberta: { "masked-token": "RobertaForMaskedLM", "sequence-label": "RobertaForSequenceClassification" },
  distilbert: {
    "masked-token": "DistilBertForMaskedLM",
    "sequence-label": "DistilBertForSequenceClassification",
  },
};

/** Fields of config.json, where the families call them otherwise. */
const FIELDS = {
  bert: {
    hiddenSize: "hidden_size",
    layers: "num_hidden_layers",
    heads: "num_attention_heads",
    feedForward: "intermediate_size",
    activation: "hidden_act",
    hiddenDropout: "hidden_dropout_prob",
    attentionDropout: "attention_probs_dropout_prob",
    classifierDropout: "classifier_dropout",
  },
  distilbert: {
    hiddenSize: "dim",
    layers: "n_layers",
    heads: "n_heads",
    feedForward: "hidden_dim",
    activation: "activation",
    hiddenDropout: "dropout",
    attentionDropout: "attention_dropout",
    classifierDropout: "seq_classif_dropout",
  },
} as const;
const fieldsOf = (modelType: ModelType) => FIELDS[modelType === "distilbert" ? "distilbert" : "bert"];

/** The token that pads where config.json has none: row of the embedding that no lookup trains. */
const PADDING_TOKENS: Record<ModelType, number> = { bert: 0, roberta: 1, distilbert: 0 };

/** Modules of a block, below its path. */
const BERT_BLOCK = {
  path: "encoder.layer",
  query: "attention.self.query",
  key: "attention.self.key",
  value: "attention.self.value",
  attentionOutput: "attention.output.dense",
  attentionNorm: "attention.output.LayerNorm",
  intermediate: "intermediate.dense",
  output: "output.dense",
  outputNorm: "output.LayerNorm",
};
const DISTILBERT_BLOCK: typeof BERT_BLOCK = {
  path: "transformer.layer",
  query: "attention.q_lin",
  key: "attention.k_lin",
  value: "attention.v_lin",
  attentionOutput: "attention.out_lin",
  attentionNorm: "sa_layer_norm",
  intermediate: "ffn.lin1",
  output: "ffn.lin2",
  outputNorm: "output_layer_norm",
};

/** Modules outside of the blocks. */
const NAMES = {
  bert: {
    block: BERT_BLOCK,
    transform: "cls.predictions.transform.dense",
    transformNorm: "cls.predictions.transform.LayerNorm",
    maskedBias: ["cls.predictions.bias", "cls.predictions.decoder.bias"],
    pooler: "bert.pooler.dense",
    classifier: "classifier",
  },
  roberta: {
    block: BERT_BLOCK,
    transform: "lm_head.dense",
    transformNorm: "lm_head.layer_norm",
    maskedBias: ["lm_head.bias", "lm_head.decoder.bias"],
    pooler: "classifier.dense",
    classifier: "classifier.out_proj",
  },
  distilbert: {
    block: DISTILBERT_BLOCK,
    transform: "vocab_transform",
    transformNorm: "vocab_layer_norm",
    maskedBias: ["vocab_projector.bias"],
    pooler: "pre_classifier",
    classifier: "classifier",
  },
};

/** How config.json calls the forms of GELU. */
const ACTIVATIONS = { gelu: "erf", gelu_new: "tanh", gelu_pytorch_tanh: "tanh" } as const;
type Activation = keyof typeof ACTIVATIONS;

/**
 * BERT: learned positions and token types, blocks with layer norms after their
 * branches, attention in both directions, and a head for hidden tokens or for one
 * label per sequence. Devlin et al. 2018, arXiv:1810.04805.
 *
 * RoBERTa counts positions from behind the padding token's, has all tokens of one type and another head for
 * labels (Liu et al. 2019, arXiv:1907.11692); DistilBERT has no types (Sanh et al. 2019, arXiv:1910.01108).
 */
export interface BertConfig {
  family: "bert";
  modelType: ModelType;
  task: BertTask;
  vocabularySize: number;
  positionCount: number;
  /** None in DistilBERT. */
  tokenTypeCount: number;
  hiddenSize: number;
  layerCount: number;
  headCount: number;
  feedForwardSize: number;
  activation: Activation;
  normEpsilon: number;
  initializerRange: number;
  /** Names of the labels of a classifier. */
  labels: readonly string[];
  dropout: Readonly<DropoutRates>;
  paddingToken: number | null;
}

export const bert: ModelFamily<BertConfig> = {
  modelTypes: Object.keys(ARCHITECTURES),
  parse,
  configJson,
  dropoutJson,
  objective: ({ task }) => task,
  parameters,
  inputs: ["positions", "positionOrder", "tokenTypes", "tokenTypeOrder", "segments"],
  head,
  forwardFlops(config, sequence) {
    const { hiddenSize: C, feedForwardSize: F, task } = config;
    const block = 2 * (4 * C * C + 2 * C * F) + 4 * sequence * C;
    const perHead = task === "masked-token"
      ? 2 * C * (C + config.vocabularySize)
      : (2 * C * (C + config.labels.length)) / sequence;
    return config.layerCount * block + perHead;
  },
  adapterTargets: ({ modelType }) =>
    modelType === "distilbert"
      ? {
        "query-value": ["q_lin", "v_lin"],
        "attention": ["q_lin", "k_lin", "v_lin", "out_lin"],
        "all-linear": ["q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"],
      }
      : {
        "query-value": ["query", "value"],
        "attention": ["query", "key", "value", "attention.output.dense"],
        "all-linear": ["query", "key", "value", "intermediate.dense", "output.dense"],
      },
};

function parse(read: ConfigReader): BertConfig {
  const modelType = read.oneOf("model_type", Object.keys(ARCHITECTURES) as ModelType[]);
  const architectures = ARCHITECTURES[modelType];
  const architecture = read.architecture(Object.values(architectures));
  const task = architecture === architectures["masked-token"] ? "masked-token" : "sequence-label";
  const fields = fieldsOf(modelType);
  const isDistilled = modelType === "distilbert";
  const hiddenSize = read.positiveInteger(fields.hiddenSize);
  read.oneOf("position_embedding_type", ["absolute"], "absolute");
  read.oneOf("is_decoder", [false], false);
  read.oneOf("add_cross_attention", [false], false);
  if (task === "masked-token") read.oneOf("tie_word_embeddings", [true], true);
  const hidden = readDropout(read, fields.hiddenDropout, 0.1);
  const vocabularySize = read.positiveInteger("vocab_size");
  const paddingToken = readPaddingToken(read, vocabularySize, PADDING_TOKENS[modelType]);
  if (modelType === "roberta" && paddingToken === null) {
    throw read.refusal("pad_token_id", "a token: positions are counted from behind it");
  }
  const positionRows = read.positiveInteger("max_position_embeddings", isDistilled ? 512 : undefined);
  const positionCount = positionRows - positionOffset({ modelType, paddingToken });
  if (positionCount < 1) throw read.refusal("max_position_embeddings", "more than pad_token_id and one");
  return {
    family: "bert",
    modelType,
    task,
    vocabularySize,
    positionCount,
    tokenTypeCount: isDistilled ? 0 : read.positiveInteger("type_vocab_size", 2),
    hiddenSize,
    layerCount: read.layerCount(fields.layers),
    headCount: read.divisor(fields.heads, { field: fields.hiddenSize, value: hiddenSize }),
    feedForwardSize: read.positiveInteger(fields.feedForward),
    activation: read.oneOf(fields.activation, Object.keys(ACTIVATIONS) as Activation[], "gelu"),
    normEpsilon: isDistilled ? 1e-12 : read.positiveNumber("layer_norm_eps", 1e-12),
    initializerRange: read.positiveNumber("initializer_range", 0.02),
    labels: task === "masked-token" ? [] : readLabels(read),
    dropout: {
      residual: hidden,
      embedding: hidden,
      attention: readDropout(read, fields.attentionDropout, 0.1),
      classifier: readDropout(read, fields.classifierDropout, isDistilled ? 0.2 : hidden),
    },
    paddingToken,
  };
}

/** Rows of the table of positions before that of position 0. */
function positionOffset({ modelType, paddingToken }: Pick<BertConfig, "modelType" | "paddingToken">): number {
  return modelType === "roberta" ? paddingToken! + 1 : 0;
}

function readLabels(read: ConfigReader): string[] {
  read.oneOf("problem_type", [null, "single_label_classification"], null);
  const count = read.positiveInteger("num_labels", 2);
  const labels = read.texts("id2label") ?? Array.from({ length: count }, (_, i) => `LABEL_${i}`);
  if (read.has("num_labels") && count !== labels.length) {
    throw read.refusal("num_labels", `${labels.length}, as id2label has it`);
  }
  if (labels.length > 1) return labels;
  throw read.refusal(
    read.has("id2label") ? "id2label" : "num_labels",
    "two labels or more: with one, transformers fits a number rather than a class",
  );
}

function configJson(config: BertConfig): Record<string, unknown> {
  const { labels, modelType } = config;
  const fields = fieldsOf(modelType);
  return {
    model_type: modelType,
    architectures: [ARCHITECTURES[modelType][config.task]],
    vocab_size: config.vocabularySize,
    max_position_embeddings: config.positionCount + positionOffset(config),
    ...modelType !== "distilbert" && {
      type_vocab_size: config.tokenTypeCount,
      layer_norm_eps: config.normEpsilon,
    },
    [fields.hiddenSize]: config.hiddenSize,
    [fields.layers]: config.layerCount,
    [fields.heads]: config.headCount,
    [fields.feedForward]: config.feedForwardSize,
    [fields.activation]: config.activation,
    initializer_range: config.initializerRange,
    ...labels.length > 0 && {
      id2label: Object.fromEntries(labels.map((label, i) => [i, label])),
      label2id: Object.fromEntries(labels.map((label, i) => [label, i])),
    },
    tie_word_embeddings: true,
    ...dropoutJson(config),
    ...paddingTokenJson(config.paddingToken, PADDING_TOKENS[modelType]),
    torch_dtype: "float32",
  };
}

/** Without a rate of its own the classifier has that of the layers, but in DistilBERT. */
function dropoutJson({ dropout, task, modelType }: BertConfig): Record<string, number> {
  const fields = fieldsOf(modelType);
  const ownRate = modelType === "distilbert" || dropout.classifier !== dropout.residual;
  return {
    [fields.hiddenDropout]: dropout.residual,
    [fields.attentionDropout]: dropout.attention,
    ...task === "sequence-label" && ownRate && { [fields.classifierDropout]: dropout.classifier },
  };
}

function parameters(config: BertConfig): ParameterSpec[] {
  const { hiddenSize: C, feedForwardSize: F, modelType } = config;
  const { block: names, ...outside } = NAMES[modelType];
  const init = normal(config.initializerRange);
  const table = (name: string, rows: number) =>
    embeddingSpec(`${modelType}.embeddings.${name}`, [rows, C], init);
  const matrix = (name: string, [cIn, cOut]: [number, number]) =>
    linearSpecs(name, { cIn, cOut, init, bias: true });
  // The first checkpoints, written by TensorFlow's users, have gamma and beta.
  const norm = (name: string) =>
    normSpecs(name, C, { bias: true }).map((spec) => ({
      ...spec,
      storedAs: [spec.name.replace(/weight$/, "gamma").replace(/bias$/, "beta")],
    }));
  const block = (name: string): ParameterSpec[] => [
    ...matrix(`${name}.${names.query}`, [C, C]),
    ...matrix(`${name}.${names.key}`, [C, C]),
    ...matrix(`${name}.${names.value}`, [C, C]),
    ...matrix(`${name}.${names.attentionOutput}`, [C, C]),
    ...norm(`${name}.${names.attentionNorm}`),
    ...matrix(`${name}.${names.intermediate}`, [C, F]),
    ...matrix(`${name}.${names.output}`, [F, C]),
    ...norm(`${name}.${names.outputNorm}`),
  ];
  const masked = (): ParameterSpec[] => [
    {
      ...vectorSpec(outside.maskedBias[0], config.vocabularySize, 0),
      storedAs: outside.maskedBias.slice(1),
    },
    ...matrix(outside.transform, [C, C]),
    ...norm(outside.transformNorm),
  ];
  const trained = (specs: ParameterSpec[]) =>
    specs.map((spec) => ({ ...spec, trainedWithAdapters: true as const }));
  /** What stands before the classifier: of BERT part of the base, else of the head. */
  const pooler = (): ParameterSpec[] => {
    if (modelType === "bert") return matrix(outside.pooler, [C, C]);
    return trained([
      headSpec(`${outside.pooler}.weight`, [C, C], init),
      vectorSpec(`${outside.pooler}.bias`, C, 0),
    ]);
  };
  const classifier = (): ParameterSpec[] => [
    ...pooler(),
    ...trained([
      headSpec(`${outside.classifier}.weight`, [config.labels.length, C], init),
      vectorSpec(`${outside.classifier}.bias`, config.labels.length, 0),
    ]),
  ];
  return withOptionalPrefix(`${modelType}.`, [
    table("word_embeddings", config.vocabularySize),
    table("position_embeddings", config.positionCount + positionOffset(config)),
    ...config.tokenTypeCount > 0 ? [table("token_type_embeddings", config.tokenTypeCount)] : [],
    ...norm(`${modelType}.embeddings.LayerNorm`),
    ...Array.from({ length: config.layerCount }, (_, l) => block(`${modelType}.${names.path}.${l}`)).flat(),
    ...(config.task === "masked-token" ? masked() : classifier()),
  ]);
}

function head(context: LayerContext, config: BertConfig): Head {
  const { modelType } = config;
  const embeddings = `${modelType}.embeddings`;
  let x = context.scope("embedding", () => {
    const tokens = context.embed(`${embeddings}.word_embeddings`, "tokens", undefined, {
      padding: config.paddingToken,
    });
    const placed = context.embed(`${embeddings}.position_embeddings`, "positions", tokens, {
      offset: positionOffset(config),
    });
    const typed = config.tokenTypeCount > 0
      ? context.embed(`${embeddings}.token_type_embeddings`, "tokenTypes", placed)
      : placed;
    return context.dropout(
      context.layerNorm(typed, `${embeddings}.LayerNorm`, config.normEpsilon),
      "embedding",
    );
  });
  for (let l = 0; l < config.layerCount; l++) {
    const name = `${modelType}.${NAMES[modelType].block.path}.${l}`;
    x = context.scope(`layers.${l}`, () => block(context, config, name, x));
  }
  const { task } = config;
  switch (task) {
    case "masked-token":
      return maskedTokenHead(context, config, x);
    case "sequence-label":
      return labelHead(context, config, x);
    default:
      return task satisfies never;
  }
}

/** Residual branches go through the norm: the sum is normalised, not the branch's input. */
function block(context: LayerContext, config: BertConfig, name: string, x: Value): Value {
  const { block: names } = NAMES[config.modelType];
  const attended = context.scope("attention", () => {
    const qkv = context.queryKeyValue(x, [
      `${name}.${names.query}`,
      `${name}.${names.key}`,
      `${name}.${names.value}`,
    ]);
    const mixed = context.attention(qkv, {
      heads: config.headCount,
      kvHeads: config.headCount,
      headSize: config.hiddenSize / config.headCount,
      causal: false,
    });
    // DistilBERT drops nothing here.
    const sum = config.modelType === "distilbert"
      ? context.linear(mixed, `${name}.${names.attentionOutput}`, x)
      : context.linearOntoResidual(mixed, `${name}.${names.attentionOutput}`, x);
    return context.layerNorm(sum, `${name}.${names.attentionNorm}`, config.normEpsilon);
  });
  return context.scope("feed_forward", () => {
    const [activated] = context.builder.call(
      gelu,
      [context.linear(attended, `${name}.${names.intermediate}`)],
      { approximation: ACTIVATIONS[config.activation] },
    );
    const sum = context.linearOntoResidual(activated, `${name}.${names.output}`, attended);
    return context.layerNorm(sum, `${name}.${names.outputNorm}`, config.normEpsilon);
  });
}

/** The decoder's matrix is the word embedding. */
function maskedTokenHead(context: LayerContext, config: BertConfig, x: Value): Head {
  const { modelType } = config;
  const names = NAMES[modelType];
  // RoBERTa's head has one form of GELU, whatever its layers have.
  const approximation = modelType === "roberta" ? "erf" : ACTIVATIONS[config.activation];
  const hidden = context.scope("transform", () => {
    const [activated] = context.builder.call(gelu, [context.linear(x, names.transform)], { approximation });
    return context.layerNorm(activated, names.transformNorm, config.normEpsilon);
  });
  return {
    hidden,
    weight: context.parameter(`${modelType}.embeddings.word_embeddings.weight`),
    bias: context.parameter(names.maskedBias[0]),
  };
}

/** The first token of a sequence speaks for all of it. */
function labelHead(context: LayerContext, { modelType }: BertConfig, x: Value): Head {
  const names = NAMES[modelType];
  const hidden = context.scope("pooler", () => {
    const [first] = context.builder.call(takeRows, [x], { every: context.sequence });
    const seen = modelType === "roberta" ? context.dropout(first, "classifier") : first;
    const pooled = context.linear(seen, names.pooler);
    const [activated] = context.builder.call(modelType === "distilbert" ? relu : tanh, [pooled], {});
    return context.dropout(activated, "classifier");
  });
  return {
    hidden,
    weight: context.parameter(`${names.classifier}.weight`),
    bias: context.parameter(`${names.classifier}.bias`),
  };
}
