import assert from "node:assert/strict";
import {
  dropoutJson,
  type ModelConfig,
  modelConfigJson,
  modelOf,
  parseModelConfig,
} from "../../../engine/model/config.ts";
import { NO_DROPOUT } from "../../../engine/model/dropout.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import { buildStep } from "../../../engine/passes/pipeline.ts";
import type { AttentionAttrs } from "../../../kernels/attention_shapes.ts";
import fixture from "../../fixtures/dropout/places.json" with { type: "json" };
import { dropoutRates } from "../../../engine/train/trainer.ts";

const GPT2 = { model_type: "gpt2", vocab_size: 32, n_positions: 16, n_embd: 8, n_layer: 2, n_head: 2 };
const BERT = {
  model_type: "bert",
  architectures: ["BertForSequenceClassification"],
  vocab_size: 32,
  max_position_embeddings: 16,
  hidden_size: 8,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 16,
};
const LLAMA = {
  model_type: "llama",
  vocab_size: 32,
  max_position_embeddings: 16,
  hidden_size: 8,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 16,
};
const parsed = (json: Record<string, unknown>) => parseModelConfig(json, "config.json");

Deno.test("where config.json says nothing of dropout, GPT-2 and BERT have transformers' 0.1, Llama none", () => {
  const tenth = { residual: 0.1, embedding: 0.1, attention: 0.1 };
  assert.deepEqual(parsed(GPT2).dropout, { ...tenth, classifier: 0 });
  assert.deepEqual(parsed(BERT).dropout, { ...tenth, classifier: 0.1 });
  assert.deepEqual(parsed(LLAMA).dropout, NO_DROPOUT);
});

Deno.test("each probability of config.json goes to the place that it has in transformers", () => {
  assert.deepEqual(parsed({ ...GPT2, resid_pdrop: 0.2, embd_pdrop: 0, attn_pdrop: 0.3 }).dropout, {
    residual: 0.2,
    embedding: 0,
    attention: 0.3,
    classifier: 0,
  });
  const bert = { ...BERT, hidden_dropout_prob: 0.2, attention_probs_dropout_prob: 0.3 };
  assert.deepEqual(parsed(bert).dropout, { residual: 0.2, embedding: 0.2, attention: 0.3, classifier: 0.2 });
  assert.equal(parsed({ ...bert, classifier_dropout: null }).dropout.classifier, 0.2);
  assert.equal(parsed({ ...bert, classifier_dropout: 0 }).dropout.classifier, 0);
  assert.deepEqual(parsed({ ...LLAMA, attention_dropout: 0.4 }).dropout, { ...NO_DROPOUT, attention: 0.4 });
});

Deno.test("the other families have their places, too, with transformers' defaults", async () => {
  const family = async (name: string, changes: Record<string, unknown>) => {
    const file = `${import.meta.dirname}/../../fixtures/families/${name}/model/config.json`;
    const whole = { ...JSON.parse(await Deno.readTextFile(file)), ...changes };
    const config = parsed(JSON.parse(JSON.stringify(whole)));
    const { embedding, attention, residual, classifier } = config.dropout;
    return [embedding, attention, residual, classifier];
  };
  assert.deepEqual(await family("phi3", { attention_dropout: 0.1, resid_pdrop: 0.2 }), [0, 0.1, 0.2, 0]);
  assert.deepEqual(await family("gpt_neox", { attention_dropout: 0.1, hidden_dropout: 0.2 }), [
    0.2,
    0.1,
    0.2,
    0,
  ]);
  assert.deepEqual(await family("opt", { dropout: undefined, attention_dropout: 0.2 }), [0, 0.2, 0.1, 0]);
  assert.deepEqual(await family("qwen3", { attention_dropout: 0.3 }), [0, 0.3, 0, 0]);
  const distilled = { dropout: undefined, attention_dropout: undefined, seq_classif_dropout: undefined };
  assert.deepEqual(await family("distilbert/classification", distilled), [0.1, 0.1, 0.1, 0.2]);
  const roberta = { hidden_dropout_prob: 0.3, classifier_dropout: undefined };
  assert.deepEqual(await family("roberta/classification", roberta), [0.3, 0, 0.3, 0.3]);
});

Deno.test("what is no probability below 1 is refused with its field", () => {
  for (const value of [1, -0.1, "0.1", true]) {
    assert.throws(() => parsed({ ...GPT2, attn_pdrop: value }), {
      name: "InputError",
      message: new RegExp(`^config.json: attn_pdrop is ${JSON.stringify(value)}, expected a number`),
    });
  }
  assert.equal(parsed({ ...GPT2, attn_pdrop: 0.999 }).dropout.attention, 0.999);
});

Deno.test("a configuration is written with the dropout that it has, and presets with 0", () => {
  for (
    const json of [
      { ...GPT2, resid_pdrop: 0.2, embd_pdrop: 0, attn_pdrop: 0.3 },
      { ...BERT, hidden_dropout_prob: 0.2, classifier_dropout: 0.5 },
      { ...LLAMA, attention_dropout: 0.4 },
    ]
  ) {
    const config = parsed(json);
    assert.deepEqual(parsed(modelConfigJson(config)).dropout, config.dropout);
  }
  for (const [name, config] of Object.entries(PRESETS)) {
    const written = modelConfigJson({ ...config, vocabularySize: 512 });
    for (const field of Object.keys(dropoutJson(config))) assert.equal(written[field], 0, `${name} ${field}`);
    assert.deepEqual(parsed(written).dropout, NO_DROPOUT, name);
  }
});

const [BATCH, SEQUENCE] = [2, 4];

/** The probability and shape of all that a training graph's forward pass drops, in order. */
function placesOf(
  config: ModelConfig,
  dropout: Parameters<typeof dropoutRates>[0]["dropout"] = "model",
): string[] {
  const model = modelOf(config);
  const { graphs } = buildStep({
    model,
    microBatchSize: BATCH,
    gradientAccumulationSteps: 1,
    sequenceLength: SEQUENCE,
    methods: {},
    optimizer: "sgd",
    optimizerOptions: { momentum: 0, weightDecay: 0 },
    clip: 0,
    dropout: dropoutRates({ dropout }, model),
    evaluate: true,
  });
  const evaluation = graphs.at(-1)!.nodes.filter(({ op, attrs }) => op.name === "dropout" || attrs.dropout);
  assert.equal(evaluation.length, 0, "evaluation drops something");
  return graphs[0].nodes.flatMap(({ op, attrs, inputs: [x], outputs, phase }) => {
    if (phase !== "forward") return [];
    if (op.name === "dropout") {
      const [rows, columns] = x.shape;
      const shape = rows === BATCH ? [rows, columns] : [BATCH, SEQUENCE, columns];
      return [`${attrs.probability} ${shape.join("x")}`];
    }
    const own = op.name === "attention" ? (attrs as AttentionAttrs).dropout : null;
    return own ? [`${own.probability} ${outputs[1].shape.join("x")}`] : [];
  });
}

Deno.test("training drops what transformers drops, where it does, with the same probabilities", () => {
  for (const { config, places } of fixture as { config: Record<string, unknown>; places: string[] }[]) {
    assert.deepEqual(placesOf(parsed(config)), places, JSON.stringify(config));
  }
});

Deno.test("a probability that is asked for holds everywhere, and 0 turns off what config.json has", () => {
  assert.deepEqual(placesOf(parsed(GPT2), 0), []);
  assert.equal(
    placesOf(parsed({ ...GPT2, resid_pdrop: 0 }), 0.5).filter((text) => text.startsWith("0.5 ")).length,
    7,
  );
  assert.deepEqual(placesOf({ ...PRESETS["gpt2-pico"], vocabularySize: 512 } as ModelConfig), []);
});
