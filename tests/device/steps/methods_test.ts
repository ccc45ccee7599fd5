import assert from "node:assert/strict";
import type { StepReport, TrainOptions, TrainResult } from "../../../engine/train/options.ts";
import { train } from "../../../engine/train/train.ts";
import { fixtureOptions, gpt2Fixture } from "../../support/gpt2_fixture.ts";
import { assertClose } from "../../support/numerics.ts";
import { deviceTest } from "../../support/with_device.ts";

const fixture = await gpt2Fixture();

async function run(changes: Partial<TrainOptions>): Promise<{ losses: number[]; steps: StepReport[]; result: TrainResult }> {
  const steps: StepReport[] = [];
  const result = await train(fixtureOptions(fixture, { clip: 1, ...changes }), { onStep: (step) => steps.push(step) });
  return { losses: steps.map(({ loss }) => loss), steps, result };
}

const baseline = await run({});

Deno.test("checkpointing gives bit-identical losses, dropout included, and holds fewer activations", deviceTest, async () => {
  const plain = await run({ dropout: 0.1 });
  for (const settings of [{}, { blocksPerCheckpoint: 2 }, { selective: true }]) {
    const dropped = await run({ dropout: 0.1, methods: ["checkpoint"], methodOptions: { checkpoint: settings } });
    assert.deepEqual(dropped.losses, plain.losses, JSON.stringify(settings));
    assert.ok(dropped.result.dispatchesPerStep > plain.result.dispatchesPerStep, "recomputes something");
    assert.ok(
      dropped.result.bookedByRole.activations < plain.result.bookedByRole.activations,
      `${JSON.stringify(settings)}: ${dropped.result.bookedByRole.activations} bytes of activations`,
    );
  }
});

Deno.test("fp16 follows the f32 losses, halves activations and adds two bytes of working weights", deviceTest, async () => {
  const half = await run({ methods: ["fp16"] });
  // f16 has 11 bits: single roundings of 5e-4, averaged over the batch; 20 steps of training amplify them somewhat.
  assertClose(half.losses, baseline.losses, 2e-3, "loss");
  assert.notDeepEqual(half.losses, baseline.losses);
  const { bookedByRole: bytes } = half.result;
  assert.ok(bytes.masterWeights > 0);
  assert.ok(bytes.activations < 0.62 * baseline.result.bookedByRole.activations, `${bytes.activations} bytes`);
});

Deno.test("an overflow skips the update and halves the scale, and training recovers", deviceTest, async () => {
  // 2^40 overflows every f16 gradient; 2^26 or so no longer does.
  const half = await run({ methods: ["fp16"], methodOptions: { fp16: { lossScale: 2 ** 40 } }, steps: 40 });
  const skipped = half.steps.filter((step) => step.skipped);
  assert.ok(skipped.length >= 3, `${skipped.length} steps skipped`);
  assert.equal(half.steps[1].lossScale, 2 ** 39);
  const atStart = half.steps.findIndex((step) => !step.skipped);
  assert.equal(half.steps[atStart].lossScale, 2 ** (40 - atStart));
  const applied = half.steps.filter((step) => !step.skipped);
  assert.ok(applied.length > 10 && applied.every(({ loss, gradientNorm }) => Number.isFinite(loss + gradientNorm)));
});

Deno.test("LoRA starts from the base model's loss, trains adapters alone and drops the base's gradients", deviceTest, async () => {
  const lora = await run({ methods: ["lora"], methodOptions: { lora: { rank: 4, alpha: 8 } }, learningRate: 1e-2 });
  assertClose([lora.losses[0]], [baseline.losses[0]], 1e-6, "first loss");
  assert.ok(lora.losses[19] < lora.losses[0] + 1, "finite");
  assert.equal(lora.result.trainableParameters, 2 * (4 * 36 + 4 * 108));
  assert.ok(lora.result.bookedByRole.optimizer < baseline.result.bookedByRole.optimizer / 10);
});

Deno.test("fp16, checkpointing, LoRA and accumulation go together", deviceTest, async () => {
  const all = await run({
    methods: ["checkpoint", "fp16", "lora"],
    microBatchSize: 1,
    gradientAccumulationSteps: 3,
    learningRate: 1e-2,
  });
  assertClose([all.losses[0]], [baseline.losses[0]], 2e-3, "first loss");
  assert.ok(all.losses.every(Number.isFinite));
});
