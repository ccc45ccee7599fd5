import assert from "node:assert/strict";
import { resetAtStepStart, zero } from "../../../kernels/step_start.ts";
import { checkKernel } from "../../support/check_op.ts";
import { openOp } from "../../support/op_session.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { deviceTest } from "../../support/with_device.ts";

Deno.test("reset_at_step_start zeroes all of its input at the first micro-step", deviceTest, async () => {
  for (const size of [1, 4, 13]) await checkKernel(resetAtStepStart, [{ shape: [size] }], {});
});

Deno.test("reset_at_step_start leaves its input alone at later micro-steps", deviceTest, async () => {
  using session = await openOp(resetAtStepStart, [{ shape: [13], dtype: "f32" }], {});
  const before = seededNumbers(13).map(Math.fround);
  session.write(0, before);
  for (const microStepIndex of [1, 2]) {
    await session.run({ microStepIndex });
    assert.deepEqual(await session.read(0), before, `micro-step ${microStepIndex}`);
  }
  await session.run({ microStepIndex: 0 });
  assert.deepEqual(await session.read(0), new Float64Array(13));
});

Deno.test("zero clears every input, neighbours together", deviceTest, async () => {
  // Values begin at multiples of 256 bytes: 64 elements reach to the next value, and the others leave a gap.
  await checkKernel(zero, [1, 13, 63, 64, 65, 4100].map((size) => ({ shape: [size] })), {}, { allowed: 0 });
  await checkKernel(zero, [{ shape: [3, 7] }], {}, { allowed: 0 });
});

Deno.test("zero leaves alone what lies between the values that it clears", deviceTest, async () => {
  const even = (_: unknown, i: number) => i % 2 === 0;
  // Told of all inputs, so that all are compared, it is to clear every other one. One element between two
  // values is the narrowest gap that is no padding.
  const everyOther = {
    ...zero,
    lower: (context: Parameters<typeof zero.lower>[0]) =>
      zero.lower({ ...context, inputs: context.inputs.filter(even) }),
    reference: (
      inputs: Float64Array[],
      attrs: Record<string, never>,
      types: Parameters<typeof zero.reference>[2],
    ) => zero.reference(inputs.filter(even), attrs, types),
  };
  for (const between of [1, 64, 300]) {
    for (const size of [1, 63, 64, 65]) {
      const inputs = [size, between, size, between].map((size) => ({ shape: [size] }));
      await checkKernel(everyOther, inputs, {}, { allowed: 0 });
    }
  }
});
