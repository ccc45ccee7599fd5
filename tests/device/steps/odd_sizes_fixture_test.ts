import { computeLogits } from "../../../engine/train/logits.ts";
import { languageModelFixture } from "../../support/model_fixture.ts";
import { assertClose } from "../../support/numerics.ts";
import { lossesOnBatches } from "../../support/train_on_batches.ts";
import { deviceTest } from "../../support/with_device.ts";

for (const name of ["gpt2", "llama", "bert"]) {
  const fixture = await languageModelFixture(`odd_sizes/${name}`);
  const { batchSize, sequenceLength, tokens, modelFolder } = fixture;
  const size = batchSize * sequenceLength;

  Deno.test(`${name} of odd sizes, stored in bf16, has transformers' logits`, deviceTest, async () => {
    const batch = { tokens: tokens.subarray(0, size) };
    const logits = await computeLogits(modelFolder, batch, { microBatchSize: batchSize, sequenceLength });
    // Sums of up to 97 f32 products in a few ops: roundings of 6e-8, a few times over.
    assertClose(logits, await fixture.logits(), 1e-5, "logits");
  });

  Deno.test(`20 AdamW steps of ${name} at odd sizes follow PyTorch's losses`, deviceTest, async () => {
    const batches = Array.from({ length: 20 }, (_, step) => ({
      tokens: tokens.subarray(step * size, (step + 1) * size),
      targets: Int32Array.from(tokens.subarray(step * size + 1, (step + 1) * size + 1)),
    }));
    // PyTorch decays all parameters in this run, we exempt norms, biases and embeddings: 20 steps at rate
    // 1e-3 and decay 0.01 make those smaller by 2e-4, of which a tenth shows in the loss.
    assertClose(
      await lossesOnBatches(fixture, batches),
      fixture.expected.runs.adamw.losses,
      1e-4,
      "loss",
    );
  });
}
