import assert from "node:assert/strict";
import type { Dtype } from "../../../engine/graph/types.ts";
import { dropout } from "../../../kernels/dropout.ts";
import { dropoutKeep } from "../../../kernels/random.ts";
import { NEUTRAL_STEP } from "../../../kernels/step_block.ts";
import { checkKernel } from "../../support/check_op.ts";
import { deviceTest, runsF16 } from "../../support/with_device.ts";
import { KERNEL_KINDS } from "../../../kernels/kernel_set.ts";

Deno.test("dropout agrees with the reference", deviceTest, async (t) => {
  for (const dtype of ["f32", "f16"] as Dtype[]) {
    if (dtype === "f16" && !await runsF16(t)) return;
    for (const kind of KERNEL_KINDS) {
      for (const size of [1, 13, 252, 255, 256, 257, 1023, 4100]) {
        const attrs = { probability: 0.3, stream: size };
        await checkKernel(dropout, [{ shape: [size], dtype }], attrs, { target: { kind } });
      }
    }
  }
});

Deno.test(
  "dropout draws the same mask when operands are split over the binding limit",
  deviceTest,
  async () => {
    const target = { maxStorageBufferBindingSize: 4096 };
    for (const size of [5000, 5001]) {
      await checkKernel(dropout, [{ shape: [size] }], { probability: 0.5, stream: 1 }, { target });
    }
  },
);

Deno.test("dropout masks follow the seed, step and micro-step of the step block", deviceTest, async () => {
  const size = 512;
  const attrs = { probability: 0.5, stream: 3 };
  const ones = { shape: [size], data: new Float64Array(size).fill(1) };
  for (const key of [{ seed: 123456789 }, { stepIndex: 17 }, { microStepIndex: 5 }]) {
    // The reference knows only the neutral key, so compare with the expected mask by hand.
    const [got] = await checkKernel(dropout, [ones], attrs, { step: key, skipOutputs: [0] });
    const full = { ...NEUTRAL_STEP, ...key };
    got.forEach((y, i) =>
      assert.equal(y, dropoutKeep(full, 3, i, 0.5) ? 2 : 0, `${JSON.stringify(key)} ${i}`)
    );
  }
});
