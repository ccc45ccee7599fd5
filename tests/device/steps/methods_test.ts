import assert from "node:assert/strict";
import type { StepReport, TrainOptions, TrainResult } from "../../../engine/train/options.ts";
import { train } from "../../../engine/train/train.ts";
import { fixtureOptions, gpt2Fixture } from "../../support/gpt2_fixture.ts";
import { assertClose } from "../../support/numerics.ts";
import { deviceTest, deviceTestOf } from "../../support/with_device.ts";

const fixture = await gpt2Fixture();

async function run(
  changes: Partial<TrainOptions>,
): Promise<{ losses: number[]; steps: StepReport[]; result: TrainResult }> {
  const steps: StepReport[] = [];
  const result = await train(fixtureOptions(fixture, { clip: 1, ...changes }), {
    onStep: (step) => steps.push(step),
  });
  return { losses: steps.map(({ loss }) => loss), steps, result };
}

const baseline = await run({});

Deno.test(
  "checkpointing gives bit-identical losses, dropout included, and holds fewer activations",
  deviceTest,
  async () => {
    const plain = await run({ dropout: 0.1 });
    for (const settings of [{}, { blocksPerCheckpoint: 2 }, { selective: true }]) {
      const dropped = await run({
        dropout: 0.1,
        methods: ["checkpoint"],
        methodOptions: { checkpoint: settings },
      });
      assert.deepEqual(dropped.losses, plain.losses, JSON.stringify(settings));
      assert.ok(dropped.result.dispatchesPerStep > plain.result.dispatchesPerStep, "recomputes something");
      assert.ok(
        dropped.result.bookedByRole.activations < plain.result.bookedByRole.activations,
        `${JSON.stringify(settings)}: ${dropped.result.bookedByRole.activations} bytes of activations`,
      );
    }
  },
);

Deno.test(
  "fp16 follows the f32 losses, halves activations and adds two bytes of working weights",
  await deviceTestOf("f16"),
  async () => {
    const half = await run({ methods: ["fp16"] });
    // f16 has 11 bits: single roundings of 5e-4, averaged over the batch; 20
    // steps of training amplify them somewhat.
    assertClose(half.losses, baseline.losses, 2e-3, "loss");
    assert.notDeepEqual(half.losses, baseline.losses);
    const { bookedByRole: bytes } = half.result;
    assert.ok(bytes.masterWeights > 0);
    assert.ok(
      bytes.activations < 0.62 * baseline.result.bookedByRole.activations,
      `${bytes.activations} bytes`,
    );
  },
);

Deno.test(
  "an overflow skips the update and halves the scale, and training recovers",
  await deviceTestOf("f16"),
  async () => {
    // 2^40 overflows every f16 gradient; 2^26 or so no longer does.
    const half = await run({ methods: ["fp16"], methodOptions: { fp16: { lossScale: 2 ** 40 } }, steps: 40 });
    const skipped = half.steps.filter((step) => step.skipped);
    assert.ok(skipped.length >= 3, `${skipped.length} steps skipped`);
    assert.equal(half.steps[1].lossScale, 2 ** 39);
    const atStart = half.steps.findIndex((step) => !step.skipped);
    assert.equal(half.steps[atStart].lossScale, 2 ** (40 - atStart));
    const applied = half.steps.filter((step) => !step.skipped);
    assert.ok(
      applied.length > 10 && applied.every(({ loss, gradientNorm }) => Number.isFinite(loss + gradientNorm)),
    );
  },
);

Deno.test(
  "LoRA starts from the base model's loss, trains adapters alone and drops the base's gradients",
  deviceTest,
  async () => {
    const lora = await run({
      methods: ["lora"],
      methodOptions: { lora: { rank: 4, alpha: 8 } },
      learningRate: 1e-2,
    });
    assertClose([lora.losses[0]], [baseline.losses[0]], 1e-6, "first loss");
    assert.ok(lora.losses[19] < lora.losses[0] + 1, "finite");
    assert.equal(lora.result.trainableParameters, 2 * (4 * 36 + 4 * 108));
    assert.ok(lora.result.bookedByRole.optimizer < baseline.result.bookedByRole.optimizer / 10);
  },
);

Deno.test("fp16, checkpointing, LoRA and accumulation go together", await deviceTestOf("f16"), async () => {
  const all = await run({
    methods: ["checkpoint", "fp16", "lora"],
    microBatchSize: 1,
    gradientAccumulationSteps: 3,
    learningRate: 1e-2,
  });
  assertClose([all.losses[0]], [baseline.losses[0]], 2e-3, "first loss");
  assert.ok(all.losses.every(Number.isFinite));
});

Deno.test(
  "the optimizer inside the backward pass gives bit-identical losses and holds gradients one tensor at a time",
  deviceTest,
  async () => {
    // Short sequences: the weights, not the activations, decide the peak.
    const changes = { clip: 0, microBatchSize: 1, sequenceLength: 4 };
    const after = await run(changes);
    const inside = await run({ ...changes, methods: ["optimizer-in-backward"] });
    assert.deepEqual(inside.losses, after.losses);
    const largest = 4 * 131 * 36;
    // Workspace apart: so small a model has more bytes of kernel parameters than of gradients.
    const held = ({ bookedPeakBytes, bookedByRole }: TrainResult) => bookedPeakBytes - bookedByRole.workspace;
    assert.ok(
      held(inside.result) < held(after.result),
      `${held(inside.result)} of ${held(after.result)} bytes`,
    );
    const gradients = Math.max(...inside.result.timeline.map(({ bytes }) => bytes.gradients));
    assert.ok(gradients <= 3 * largest, `${gradients} bytes of gradients, the largest tensor has ${largest}`);
  },
);

Deno.test(
  "FlashAttention-2 follows the losses of naive attention and plans no T × T tensor",
  deviceTest,
  async () => {
    const flash = await run({ methods: ["flash"] });
    assertClose(flash.losses, baseline.losses, 1e-5, "loss");
    assert.ok(flash.result.bookedByRole.activations < baseline.result.bookedByRole.activations);
  },
);

Deno.test("whole logits give the same losses as chunked ones", deviceTest, async () => {
  const whole = await run({ methods: ["whole-logits"] });
  assertClose(whole.losses, baseline.losses, 1e-6, "loss");
});
