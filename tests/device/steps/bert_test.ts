import assert from "node:assert/strict";
import { computeLogits } from "../../../engine/train/logits.ts";
import { PADDING_SEGMENT } from "../../../kernels/attention_shapes.ts";
import { bertFixture, type BertTask } from "../../support/bert_fixture.ts";
import { assertClose } from "../../support/numerics.ts";
import { lossesOnBatches } from "../../support/train_on_batches.ts";
import { deviceTest, runsF16 } from "../../support/with_device.ts";

const TASKS: readonly BertTask[] = ["classification", "masked_lm"];

for (const task of TASKS) {
  Deno.test(`logits of BERT for ${task} are those of transformers`, deviceTest, async () => {
    const fixture = await bertFixture(task);
    const { batchSize: microBatchSize, sequenceLength, modelFolder, batches: [batch] } = fixture;
    const logits = await computeLogits(modelFolder, batch, { microBatchSize, sequenceLength });
    const expected = await fixture.logits();
    assert.equal(logits.length, expected.length);
    // Padding sees nothing here and real tokens there; its logits mean nothing in either.
    const rows = task === "classification" ? microBatchSize : microBatchSize * sequenceLength;
    const columns = expected.length / rows;
    const real = (numbers: Float32Array) =>
      numbers.filter((_, i) =>
        task === "classification" || batch.segments[Math.floor(i / columns)] !== PADDING_SEGMENT
      );
    assertClose(real(logits), real(expected), 1e-5, "logits");
  });

  Deno.test(`20 AdamW steps of BERT for ${task} follow PyTorch's losses`, deviceTest, async () => {
    const fixture = await bertFixture(task);
    const losses = await lossesOnBatches(fixture, fixture.batches);
    // PyTorch decays all parameters in this run, we exempt norms, biases and embeddings: 20 steps at rate
    // 1e-3 and decay 0.01 make those smaller by 2e-4, of which a tenth shows in the loss.
    assertClose(losses, fixture.expected.runs.adamw.losses, 1e-4, "loss");
  });
}

Deno.test(
  "BERT trains with every method: checkpointing bit for bit, flash attention and f16 nearly so",
  deviceTest,
  async (t) => {
    const fixture = await bertFixture("classification");
    const batches = fixture.batches.slice(0, 5);
    const plain = await lossesOnBatches(fixture, batches);
    const checkpoint = { every: 1, selective: false };
    assert.deepEqual(await lossesOnBatches(fixture, batches, { checkpoint }), plain);
    // The same sums in another order.
    assertClose(await lossesOnBatches(fixture, batches, { flash: true }), plain, 1e-6, "flash");
    if (!await runsF16(t)) return;
    // f16 has 11 bits: single roundings of 5e-4, averaged over the batch.
    assertClose(await lossesOnBatches(fixture, batches, { fp16: true, checkpoint }), plain, 2e-3, "f16");
  },
);
