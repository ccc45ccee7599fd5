import assert from "node:assert/strict";
import type { ReferenceTypes } from "../../../engine/graph/op.ts";
import type { StepBlock } from "../../../kernels/step_block.ts";
import { NEUTRAL_STEP } from "../../../kernels/step_block.ts";
import { globalNorm, globalNormReference } from "../../../kernels/global_norm.ts";
import { checkKernel, type KernelCheck, type TestInput } from "../../support/check_op.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { deviceTest } from "../../support/with_device.ts";
import type { KernelChanges } from "../../support/kernel_changes.ts";

/** Sizes around a vector and a block of 4096, with and without a scalar rest. */
const MIXED = [[1], [2, 2], [13], [4095], [4096], [4097], [3, 4100], [64, 65]];
const FORMS: KernelChanges[] = [{ kind: "software" }, { kind: "software", subgroupSize: 0 }, { kind: "gpu" }];

/** Checks against the reference of a given step; the metrics are all sums over many products at most. */
function check(gradients: readonly TestInput[], maxNorm: number, settings: KernelCheck = {}) {
  const step: StepBlock = { ...NEUTRAL_STEP, ...settings.step };
  const op = {
    ...globalNorm,
    reference: (inputs: Float64Array[], attrs: { maxNorm: number }, { inputs: types }: ReferenceTypes) =>
      globalNormReference(inputs, attrs, types, step),
  };
  return checkKernel(op, gradients, { maxNorm }, { terms: 30, skipOutputs: [1], ...settings });
}

Deno.test(
  "global_norm agrees with the reference, with clipping off, inactive and active",
  deviceTest,
  async () => {
    for (const target of FORMS) {
      for (const shape of MIXED) await check([{ shape }], 0, { target });
      const gradients = MIXED.map((shape) => ({ shape }));
      for (const maxNorm of [0, 1e6, 1]) await check(gradients, maxNorm, { target });
    }
  },
);

Deno.test("global_norm takes the loss scale out before it squares", deviceTest, async () => {
  // Squares of these overflow f32; the norm without the scale is about one.
  const gradients = MIXED.map((shape) => ({ shape, scale: 2 ** 100 }));
  await check(gradients, 1, { step: { inverseLossScale: 2 ** -100 } });
});

Deno.test("global_norm finds one infinity or NaN anywhere and sets the factor to 0", deviceTest, async () => {
  for (const bad of [Infinity, -Infinity, NaN]) {
    for (const at of [0, 4094, 4096]) {
      const data = seededNumbers(4097);
      data[at] = bad;
      const [clip] = await checkKernel(
        globalNorm,
        [{ shape: [5] }, { shape: [4097], data }],
        { maxNorm: 1 },
        {
          skipOutputs: [0, 1],
        },
      );
      assert.deepEqual([...clip.slice(1, 3)], [0, 1], `${bad} at ${at}`);
    }
  }
});

Deno.test(
  "global_norm does not depend on where gradients lie or how they are windowed, to the bit",
  deviceTest,
  async () => {
    const data = MIXED.map((shape, i) => ({
      shape,
      data: seededNumbers(shape.reduce((a, b) => a * b), i + 1),
    }));
    const [all] = await check(data, 1);
    const [windowed] = await check(data, 1, { target: { maxStorageBufferBindingSize: 32768 } });
    assert.deepEqual(windowed, all);
    const [again] = await check(data, 1, { target: { maxStorageBufferBindingSize: 16384 } });
    assert.deepEqual(again, all);
  },
);

Deno.test("global_norm covers more tensors than one table holds", deviceTest, async () => {
  const gradients = Array.from({ length: 1100 }, (_, i) => ({ shape: [i % 9 + 1, 4] }));
  await check(gradients, 1);
  await check(gradients.map(({ shape }) => ({ shape: [shape[0]] })), 1);
});

Deno.test("global_norm of zeros is 0 with the full factor", deviceTest, async () => {
  const [clip] = await check([{ shape: [8], data: new Float64Array(8) }], 1);
  assert.deepEqual([...clip], [0, 1, 0, 0]);
});
