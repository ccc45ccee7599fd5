import assert from "node:assert/strict";
import { modelOf } from "../../../engine/model/config.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import { Session } from "../../../engine/runtime/session.ts";
import { profileStep, type StepProfile } from "../../../engine/runtime/timing.ts";
import { planStep } from "../../../engine/train/trainer.ts";
import { deviceTest, sharedDevice } from "../../support/with_device.ts";

/**
 * Profiles of one step of a model that keeps the device busy, by every method the device has. Of a model that
 * is small for a GPU a step would be launches and waiting, not kernels.
 */
async function profiles(): Promise<StepProfile[]> {
  const { gpu, pipelines } = await sharedDevice();
  const [preset, microBatchSize, sequenceLength] = gpu.kernels.kind === "software"
    ? ["gpt2-nano" as const, 1, 32]
    : ["gpt2" as const, 8, 512];
  const { graphs, plan } = planStep({
    model: modelOf({ ...PRESETS[preset], layerCount: 1, vocabularySize: 512 } as never),
    microBatchSize,
    gradientAccumulationSteps: 1,
    sequenceLength,
    methods: {},
    optimizer: "adamw",
    optimizerOptions: { weightDecay: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8 },
    clip: 0,
    dropout: 0,
    evaluate: false,
  }, gpu.kernels);
  const session = await Session.open(gpu, plan, { pipelines });
  try {
    await session.run(graphs.programs.micro); // compiles
    const methods = gpu.device.features.has("timestamp-query")
      ? ["timestamps", "differential"] as const
      : ["differential"] as const;
    const found: StepProfile[] = [];
    for (const method of methods) found.push(await profileStep(session, [graphs.programs.micro], { method }));
    return found;
  } finally {
    session.close();
  }
}

Deno.test(
  "profileStep() names the same kernels, FLOPs and bytes by timestamps and by differences",
  deviceTest,
  async () => {
    const all = await profiles();
    const facts = all.map(({ kernels }) =>
      kernels.map(({ kernel, dispatches, flops, bytes }) => ({ kernel, dispatches, flops, bytes }))
        .sort((a, b) => a.kernel.localeCompare(b.kernel))
    );
    for (const fact of facts) assert.deepEqual(fact, facts[0]);
    for (const { kernel, dispatches, bytes } of facts[0]) assert.ok(dispatches > 0 && bytes > 0, kernel);
    assert.ok(facts[0].some(({ flops }) => flops > 0));
    for (const { kernels, wallMs, method } of all) {
      const sum = kernels.reduce((total, { ms }) => total + ms, 0);
      // The machine may be busy with other things in either measurement, so no more than the order of
      // magnitude; where a GPU takes less than a millisecond for the step, differences are what other
      // processes make one of two submits wait.
      const waiting = method === "differential" ? 4 * kernels.length : 0;
      assert.ok(sum > wallMs / 10 && sum < 10 * wallMs + waiting, `${method}: ${sum} ms of ${wallMs}`);
      assert.deepEqual(kernels, [...kernels].sort((a, b) => b.ms - a.ms));
    }
  },
);
