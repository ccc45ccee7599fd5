import type { Value } from "../graph/types.ts";
import { gelu, tanh } from "../../kernels/elementwise.ts";
import { takeRows } from "../../kernels/take_rows.ts";
import type { ConfigReader } from "./config_reader.ts";
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

/** What BERT is trained to predict, by what transformers calls the model with that head. */
const OBJECTIVES = {
  BertForMaskedLM: "masked-token",
  BertForSequenceClassification: "sequence-label",
} as const;
type Architecture = keyof typeof OBJECTIVES;

/** How config.json calls the forms of GELU. */
const ACTIVATIONS = { gelu: "erf", gelu_new: "tanh", gelu_pytorch_tanh: "tanh" } as const;
type Activation = keyof typeof ACTIVATIONS;

/**
 * BERT: learned positions and token types, blocks with layer norms after their
 * branches, attention in both directions, and a head for hidden tokens or for one
 * label per sequence. Devlin et al. 2018, arXiv:1810.04805.
 */
export interface BertConfig {
  family: "bert";
  architecture: Architecture;
  vocabularySize: number;
  positionCount: number;
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
}

export const bert: ModelFamily<BertConfig> = {
  modelTypes: ["bert"],
  parse,
  configJson,
  dropoutJson,
  objective: ({ architecture }) => OBJECTIVES[architecture],
  parameters,
  inputs: ["positions", "positionOrder", "tokenTypes", "tokenTypeOrder", "segments"],
  head,
  forwardFlops(config, sequence) {
    const { hiddenSize: C, feedForwardSize: F, architecture } = config;
    const block = 2 * (4 * C * C + 2 * C * F) + 4 * sequence * C;
    const perHead = architecture === "BertForMaskedLM"
      ? 2 * C * (C + config.vocabularySize)
      : (2 * C * (C + config.labels.length)) / sequence;
    return config.layerCount * block + perHead;
  },
  adapterTargets: {
    "query-value": ["query", "value"],
    "attention": ["query", "key", "value", "attention.output.dense"],
    "all-linear": ["query", "key", "value", "intermediate.dense", "output.dense"],
  },
};

function parse(read: ConfigReader): BertConfig {
  const architecture = read.architecture(Object.keys(OBJECTIVES) as Architecture[]);
  const hiddenSize = read.positiveInteger("hidden_size");
  read.oneOf("position_embedding_type", ["absolute"], "absolute");
  read.oneOf("is_decoder", [false], false);
  read.oneOf("add_cross_attention", [false], false);
  if (architecture === "BertForMaskedLM") read.oneOf("tie_word_embeddings", [true], true);
  const hidden = readDropout(read, "hidden_dropout_prob", 0.1);
  return {
    family: "bert",
    architecture,
    vocabularySize: read.positiveInteger("vocab_size"),
    positionCount: read.positiveInteger("max_position_embeddings"),
    tokenTypeCount: read.positiveInteger("type_vocab_size", 2),
    hiddenSize,
    layerCount: read.layerCount("num_hidden_layers"),
    headCount: read.divisor("num_attention_heads", { field: "hidden_size", value: hiddenSize }),
    feedForwardSize: read.positiveInteger("intermediate_size"),
    activation: read.oneOf("hidden_act", Object.keys(ACTIVATIONS) as Activation[], "gelu"),
    normEpsilon: read.positiveNumber("layer_norm_eps", 1e-12),
    initializerRange: read.positiveNumber("initializer_range", 0.02),
    labels: architecture === "BertForMaskedLM" ? [] : readLabels(read),
    dropout: {
      residual: hidden,
      embedding: hidden,
      attention: readDropout(read, "attention_probs_dropout_prob", 0.1),
      classifier: readDropout(read, "classifier_dropout", hidden),
    },
  };
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
  const { labels } = config;
  return {
    model_type: "bert",
    architectures: [config.architecture],
    vocab_size: config.vocabularySize,
    max_position_embeddings: config.positionCount,
    type_vocab_size: config.tokenTypeCount,
    hidden_size: config.hiddenSize,
    num_hidden_layers: config.layerCount,
    num_attention_heads: config.headCount,
    intermediate_size: config.feedForwardSize,
    hidden_act: config.activation,
    layer_norm_eps: config.normEpsilon,
    initializer_range: config.initializerRange,
    ...labels.length > 0 && {
      id2label: Object.fromEntries(labels.map((label, i) => [i, label])),
      label2id: Object.fromEntries(labels.map((label, i) => [label, i])),
    },
    tie_word_embeddings: true,
    ...dropoutJson(config),
    torch_dtype: "float32",
  };
}

/** Without a rate of its own the classifier has that of the layers. */
function dropoutJson({ dropout, architecture }: BertConfig): Record<string, number> {
  const classifies = architecture === "BertForSequenceClassification";
  return {
    hidden_dropout_prob: dropout.residual,
    attention_probs_dropout_prob: dropout.attention,
    ...classifies && dropout.classifier !== dropout.residual && { classifier_dropout: dropout.classifier },
  };
}

function parameters(config: BertConfig): ParameterSpec[] {
  const { hiddenSize: C, feedForwardSize: F } = config;
  const init = normal(config.initializerRange);
  const table = (name: string, rows: number) => embeddingSpec(`bert.embeddings.${name}`, [rows, C], init);
  const matrix = (name: string, [cIn, cOut]: [number, number]) =>
    linearSpecs(name, { cIn, cOut, init, bias: true });
  // The first checkpoints, written by TensorFlow's users, have gamma and beta.
  const norm = (name: string) =>
    normSpecs(`${name}.LayerNorm`, C, { bias: true }).map((spec) => ({
      ...spec,
      storedAs: [spec.name.replace(/weight$/, "gamma").replace(/bias$/, "beta")],
    }));
  const block = (name: string): ParameterSpec[] => [
    ...matrix(`${name}.attention.self.query`, [C, C]),
    ...matrix(`${name}.attention.self.key`, [C, C]),
    ...matrix(`${name}.attention.self.value`, [C, C]),
    ...matrix(`${name}.attention.output.dense`, [C, C]),
    ...norm(`${name}.attention.output`),
    ...matrix(`${name}.intermediate.dense`, [C, F]),
    ...matrix(`${name}.output.dense`, [F, C]),
    ...norm(`${name}.output`),
  ];
  const masked = (): ParameterSpec[] => [
    {
      ...vectorSpec("cls.predictions.bias", config.vocabularySize, 0),
      storedAs: ["cls.predictions.decoder.bias"],
    },
    ...matrix("cls.predictions.transform.dense", [C, C]),
    ...norm("cls.predictions.transform"),
  ];
  const classifier = (): ParameterSpec[] => [
    ...matrix("bert.pooler.dense", [C, C]),
    { ...headSpec("classifier.weight", [config.labels.length, C], init), trainedWithAdapters: true },
    { ...vectorSpec("classifier.bias", config.labels.length, 0), trainedWithAdapters: true },
  ];
  return withOptionalPrefix("bert.", [
    table("word_embeddings", config.vocabularySize),
    table("position_embeddings", config.positionCount),
    table("token_type_embeddings", config.tokenTypeCount),
    ...norm("bert.embeddings"),
    ...Array.from({ length: config.layerCount }, (_, l) => block(`bert.encoder.layer.${l}`)).flat(),
    ...(config.architecture === "BertForMaskedLM" ? masked() : classifier()),
  ]);
}

function head(context: LayerContext, config: BertConfig): Head {
  let x = context.scope("embedding", () => {
    const tokens = context.embed("bert.embeddings.word_embeddings", "tokens");
    const placed = context.embed("bert.embeddings.position_embeddings", "positions", tokens);
    const typed = context.embed("bert.embeddings.token_type_embeddings", "tokenTypes", placed);
    return context.dropout(
      context.layerNorm(typed, "bert.embeddings.LayerNorm", config.normEpsilon),
      "embedding",
    );
  });
  for (let l = 0; l < config.layerCount; l++) {
    x = context.scope(`layers.${l}`, () => block(context, config, `bert.encoder.layer.${l}`, x));
  }
  const { architecture } = config;
  switch (architecture) {
    case "BertForMaskedLM":
      return maskedTokenHead(context, config, x);
    case "BertForSequenceClassification":
      return labelHead(context, x);
    default:
      return architecture satisfies never;
  }
}

/** Residual branches go through the norm: the sum is normalised, not the branch's input. */
function block(context: LayerContext, config: BertConfig, name: string, x: Value): Value {
  const attended = context.scope("attention", () => {
    const qkv = context.queryKeyValue(x, [
      `${name}.attention.self.query`,
      `${name}.attention.self.key`,
      `${name}.attention.self.value`,
    ]);
    const mixed = context.attention(qkv, {
      heads: config.headCount,
      kvHeads: config.headCount,
      headSize: config.hiddenSize / config.headCount,
      causal: false,
    });
    const sum = context.linearOntoResidual(mixed, `${name}.attention.output.dense`, x);
    return context.layerNorm(sum, `${name}.attention.output.LayerNorm`, config.normEpsilon);
  });
  return context.scope("feed_forward", () => {
    const [activated] = context.builder.call(
      gelu,
      [context.linear(attended, `${name}.intermediate.dense`)],
      { approximation: ACTIVATIONS[config.activation] },
    );
    const sum = context.linearOntoResidual(activated, `${name}.output.dense`, attended);
    return context.layerNorm(sum, `${name}.output.LayerNorm`, config.normEpsilon);
  });
}

/** The decoder's matrix is the word embedding. */
function maskedTokenHead(context: LayerContext, config: BertConfig, x: Value): Head {
  const hidden = context.scope("transform", () => {
    const [activated] = context.builder.call(
      gelu,
      [context.linear(x, "cls.predictions.transform.dense")],
      { approximation: ACTIVATIONS[config.activation] },
    );
    return context.layerNorm(activated, "cls.predictions.transform.LayerNorm", config.normEpsilon);
  });
  return {
    hidden,
    weight: context.parameter("bert.embeddings.word_embeddings.weight"),
    bias: context.parameter("cls.predictions.bias"),
  };
}

/** The first token of a sequence speaks for all of it. */
function labelHead(context: LayerContext, x: Value): Head {
  const hidden = context.scope("pooler", () => {
    const [first] = context.builder.call(takeRows, [x], { every: context.sequence });
    const [pooled] = context.builder.call(tanh, [context.linear(first, "bert.pooler.dense")], {});
    return context.dropout(pooled, "classifier");
  });
  return {
    hidden,
    weight: context.parameter("classifier.weight"),
    bias: context.parameter("classifier.bias"),
  };
}
