// RoBERTa and DistilBERT against transformers, on the batches of bert_tiny.
import assert from "node:assert/strict";
import { openWeights } from "../../../engine/formats/safetensors.ts";
import { type ModelConfig, modelOf } from "../../../engine/model/config.ts";
import { computeLogits, LogitsProgram } from "../../../engine/train/logits.ts";
import { loadWeights } from "../../../engine/train/weights.ts";
import { PADDING_SEGMENT } from "../../../kernels/attention_shapes.ts";
import { bertFixture, type BertTask } from "../../support/bert_fixture.ts";
import { assertClose } from "../../support/numerics.ts";
import { lossesOnBatches } from "../../support/train_on_batches.ts";
import { deviceTest, sharedDevice } from "../../support/with_device.ts";

const TASKS: readonly BertTask[] = ["classification", "masked_lm"];

for (const family of ["roberta", "distilbert"]) {
  for (const task of TASKS) {
    const fixture = await bertFixture(task, `families/${family}`);
    const { batchSize: microBatchSize, sequenceLength, modelFolder, batches: [batch] } = fixture;

    Deno.test(`logits of ${family} for ${task} are those of transformers`, deviceTest, async () => {
      const logits = await computeLogits(modelFolder, batch, { microBatchSize, sequenceLength });
      const expected = await fixture.logits();
      assert.equal(logits.length, expected.length);
      // Padding sees nothing here and real tokens there; its logits mean nothing in either.
      const columns = expected.length / (microBatchSize * (task === "classification" ? 1 : sequenceLength));
      const real = (numbers: Float32Array) =>
        numbers.filter((_, i) =>
          task === "classification" || batch.segments[Math.floor(i / columns)] !== PADDING_SEGMENT
        );
      assertClose(real(logits), real(expected), 1e-5, "logits");
    });

    Deno.test(`20 AdamW steps of ${family} for ${task} follow PyTorch's losses`, deviceTest, async () => {
      // Both decay matrices of linear layers alone.
      const losses = await lossesOnBatches(fixture, fixture.batches);
      assertClose(losses, fixture.expected.runs.adamw.losses, 1e-5, "loss");
    });
  }
}

Deno.test(
  "RoBERTa's positions begin behind the padding token's, and its logits depend on it",
  deviceTest,
  async () => {
    const fixture = await bertFixture("classification", "families/roberta");
    const { batchSize: microBatchSize, sequenceLength, modelFolder, batches: [batch], model } = fixture;
    const { gpu } = await sharedDevice();
    using weights = (await openWeights(modelFolder))!;
    const config = model.config as Extract<ModelConfig, { family: "bert" }>;
    // One row earlier: as many rows in all.
    const earlier = modelOf({ ...config, paddingToken: 0, positionCount: config.positionCount + 1 });
    const program = await LogitsProgram.open(gpu, { model: earlier, microBatchSize, sequenceLength });
    try {
      await loadWeights(program.session, program.parameters, weights);
      const [logits, expected] = [await program.compute(batch), await fixture.logits()];
      assert.throws(() => assertClose(logits, expected, 1e-4, "logits"));
    } finally {
      program.close();
    }
  },
);
