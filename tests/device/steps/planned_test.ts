import assert from "node:assert/strict";
import { describeAdapter } from "../../../engine/runtime/device.ts";
import { likelyAdapter } from "../../../engine/runtime/planned_kernels.ts";
import { planTraining } from "../../../engine/train/plan_training.ts";
import { train } from "../../../engine/train/train.ts";
import { resolveSettings } from "../../../suites/resolve_settings.ts";

/** What is on, and how many sequences at a time. */
const CASES = [
  { methods: [] as string[], optimizer: "adamw", microBatchSize: 2 },
  { methods: ["checkpoint", "fp16"], optimizer: "adafactor", microBatchSize: 1 },
  { methods: ["flash", "qlora-nf4"], optimizer: "adamw8bit", microBatchSize: 2 },
];

const { name, software, features } = await describeAdapter();
// A machine may have a GPU that is not used.
const isPlannedFor = (likelyAdapter() === "software") === software;

for (const { methods, optimizer, microBatchSize } of CASES) {
  Deno.test({
    name: `what is planned without an adapter is what a run books: ${[...methods, optimizer].join(", ")}`,
    ignore: !isPlannedFor || (methods.includes("fp16") && !features.includes("shader-f16")),
    async fn() {
      const config = resolveSettings({
        model: "gpt2-nano",
        data: "moby-dick",
        tokenizer: "bytes",
        methods,
        optimizer,
        microBatchSize,
        effectiveBatchSize: 2,
        steps: 1,
      });
      const plan = await planTraining(config);
      const run = await train(config, {});
      assert.deepEqual(run.bookedByRole, plan.plannedByRole);
      assert.equal(run.bookedPeakBytes, plan.plannedPeakBytes);
      // A GPU that binds more at a time than a plan assumes takes fewer.
      if (/llvmpipe|lavapipe/i.test(name)) assert.equal(run.dispatchesPerStep, plan.dispatchesPerStep);
      else assert.ok(run.dispatchesPerStep <= plan.dispatchesPerStep);
    },
  });
}
