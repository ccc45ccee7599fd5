import assert from "node:assert/strict";
import { train } from "../../../engine/train/train.ts";
import type { TrainOptions } from "../../../engine/train/options.ts";
import { fixtureOptions, gpt2Fixture } from "../../support/gpt2_fixture.ts";
import { assertClose } from "../../support/numerics.ts";
import { deviceTest } from "../../support/with_device.ts";

/** Losses of a training run, one a step. */
async function lossesOf(options: TrainOptions): Promise<number[]> {
  const losses: number[] = [];
  await train(options, { onStep: ({ loss }) => losses.push(loss) });
  return losses;
}

const fixture = await gpt2Fixture();

Deno.test("20 AdamW steps follow PyTorch's losses", deviceTest, async () => {
  const losses = await lossesOf(fixtureOptions(fixture));
  // PyTorch decays all parameters in this run, we exempt norms, biases and embeddings: 20 steps at rate 1e-3
  // and decay 0.01 make those smaller by 2e-4, of which a tenth shows in the loss.
  assertClose(losses, fixture.expected.runs.adamw.losses, 1e-4, "loss");
});

Deno.test(
  "20 AdamW steps with clipping and no decay of norms, biases and embeddings follow PyTorch",
  deviceTest,
  async () => {
    const losses = await lossesOf(fixtureOptions(fixture, { clip: 1 }));
    assertClose(losses, fixture.expected.runs.adamwClipLinearDecay.losses, 1e-6, "loss");
  },
);

Deno.test("accumulation of 3 × 1 sequences gives the losses of 1 × 3", deviceTest, async () => {
  const accumulated = await lossesOf(
    fixtureOptions(fixture, { microBatchSize: 1, gradientAccumulationSteps: 3, clip: 1 }),
  );
  assertClose(accumulated, await lossesOf(fixtureOptions(fixture, { clip: 1 })), 1e-6, "loss");
});

Deno.test("a second run gives bit-identical losses", deviceTest, async () => {
  const options = fixtureOptions(fixture, { clip: 1, dropout: 0.1, steps: 5 });
  assert.deepEqual(await lossesOf(options), await lossesOf(options));
});
