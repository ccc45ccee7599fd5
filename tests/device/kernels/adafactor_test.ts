import assert from "node:assert/strict";
import { elementCount, type TensorType } from "../../../engine/graph/types.ts";
import { adafactor } from "../../../kernels/adafactor.ts";
import { adafactorReference } from "../../../kernels/adafactor_reference.ts";
import type { AdafactorAttrs } from "../../../kernels/adafactor_tensors.ts";
import { NEUTRAL_STEP } from "../../../kernels/step_block.ts";
import { type AdafactorRun, adafactorRuns, adafactorStateShapes } from "../../support/adafactor_fixture.ts";
import { checkKernel } from "../../support/check_op.ts";
import { assertClose, tolerance } from "../../support/numerics.ts";
import { openOp } from "../../support/op_session.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { deviceTest } from "../../support/with_device.ts";
import type { KernelChanges } from "../../support/kernel_changes.ts";
import { KERNEL_KINDS } from "../../../kernels/kernel_set.ts";

/** A large step, so that an error of the update is not hidden behind the weights. */
const STEP = { ...NEUTRAL_STEP, adafactorBeta2: 0.7, adafactorStep: 2 };
const SCRATCH = [0];
/** Around a vector, a subgroup and a slab of rows; one row, one column. */
const SHAPES = [[1, 1], [1, 4], [5, 1], [7, 12], [8, 4], [9, 40], [13, 7], [64, 32], [257, 33], [1100, 12]];
const LENGTHS = [[1], [3], [4], [13], [1000]];
/** As the adapter is, as a GPU would run it, and as an adapter without subgroups would. */
const TARGETS: KernelChanges[] = [{}, { kind: "gpu" }, { subgroupSize: 0 }];

function check(
  shapes: readonly (readonly number[])[],
  changes: Partial<AdafactorAttrs>,
  target: KernelChanges,
  gradientSize = 1,
) {
  const attrs = {
    eps1: 1e-30,
    eps2: 1e-3,
    clipThreshold: 1,
    beta1: null,
    scaleParameter: true,
    weightDecay: shapes.map((_, i) => (i % 2 ? 0 : 0.1)),
    ...changes,
  };
  const positive = (shape: readonly number[], seed: number) => ({
    shape,
    data: seededNumbers(elementCount({ shape }), seed).map((x) => 0.1 + x * x),
  });
  const inputs = shapes.flatMap((shape, i) => {
    const moments = adafactorStateShapes(shape, null).map((state, k) => positive(state, 700 + 10 * i + k));
    return [
      { shape, scale: 0.5 },
      // Rows of very different size, so that factoring matters.
      {
        shape,
        data: seededNumbers(elementCount({ shape }), i).map((x, at) => gradientSize * x * 10 ** (at % 5 - 2)),
      },
      ...moments,
      ...(attrs.beta1 === null ? [] : [{ shape }]),
    ];
  });
  const op = {
    ...adafactor,
    reference: (
      inputs: Float64Array[],
      attrs: AdafactorAttrs,
      types: { inputs: readonly TensorType[]; outputs: readonly TensorType[] },
    ) => adafactorReference(inputs, attrs, types, STEP),
  };
  return checkKernel(op, [{ shape: [4], data: [1, 0.7, 0, 0] }, ...inputs], attrs, {
    step: STEP,
    target,
    skipOutputs: SCRATCH,
    // A root mean square sums rows, then columns.
    terms: Math.max(...shapes.map((shape) => shape.reduce((a, b) => a + b))),
    what: `adafactor ${JSON.stringify(shapes)} ${JSON.stringify(changes)} ${JSON.stringify(target)}`,
  });
}

Deno.test("adafactor agrees with the reference for matrices and vectors", deviceTest, async () => {
  for (const target of TARGETS) {
    for (const shape of [...SHAPES, ...LENGTHS]) await check([shape], {}, target);
  }
});

Deno.test("adafactor agrees with the reference for many tensors and every option", deviceTest, async () => {
  const shapes = [...SHAPES, ...LENGTHS];
  for (const target of TARGETS) {
    await check(shapes, {}, target);
    await check(shapes, { beta1: 0.9 }, target);
    await check(shapes, { scaleParameter: false, clipThreshold: 0.3, eps1: 1e-2 }, target);
    await check(shapes, { eps2: 0.9 }, target); // above the root mean square of every tensor
  }
});

Deno.test(
  "adafactor agrees with the reference for gradients of zero and all but zero",
  deviceTest,
  async () => {
    for (const target of TARGETS) {
      for (const size of [0, 1e-19, 1e-15, 1e-12]) await check([[64, 32], [13, 7], [13]], {}, target, size);
    }
  },
);

Deno.test("adafactor changes nothing where a gradient was not finite", deviceTest, async () => {
  const shapes = [[13, 7], [64, 32], [5], [1000]];
  for (const target of TARGETS) {
    const inputs = [[4], ...shapes.flatMap((shape) => [shape, shape, ...adafactorStateShapes(shape, 0.9)])]
      .map((shape): TensorType => ({ shape, dtype: "f32" }));
    const attrs = { eps1: 1e-30, eps2: 1e-3, clipThreshold: 1, beta1: 0.9, scaleParameter: true };
    using session = await openOp(adafactor, inputs, { ...attrs, weightDecay: [0.1, 0.1, 0.1, 0.1] }, target);
    const before = inputs.map((type, i) => Float32Array.from(seededNumbers(elementCount(type), i)));
    before[0].set([NaN, 0, 1, 0]);
    shapes.forEach((shape, tensor) => {
      const perTensor =
        shapes.slice(0, tensor).flatMap((s) => [0, 0, ...adafactorStateShapes(s, 0.9)]).length;
      before[2 + perTensor].set([Infinity, NaN].slice(0, elementCount({ shape })));
    });
    before.forEach((numbers, i) => session.write(i, numbers));
    await session.run(STEP);
    for (const i of inputs.keys()) {
      assert.deepEqual(Array.from(await session.read(i)), Array.from(before[i]), `input ${i}`);
    }
  }
});

Deno.test("adafactor splits matrices larger than a binding, with the same bits", deviceTest, async () => {
  for (const kind of KERNEL_KINDS) {
    const shapes = [[1100, 12], [257, 33], [64, 32]];
    const types = [[4], ...shapes.flatMap((shape) => [shape, shape, ...adafactorStateShapes(shape, null)])]
      .map((shape): TensorType => ({ shape, dtype: "f32" }));
    const attrs = { eps1: 1e-30, eps2: 1e-3, clipThreshold: 1, beta1: null, scaleParameter: true };
    const results = [];
    const dispatches = [];
    for (const maxStorageBufferBindingSize of [2 ** 27, 34_000]) {
      const target = { kind, maxStorageBufferBindingSize };
      using session = await openOp(adafactor, types, { ...attrs, weightDecay: [0.1, 0, 0] }, target);
      types.forEach((type, i) =>
        session.write(i, i === 0 ? [0, 1, 0, 0] : seededNumbers(elementCount(type), i))
      );
      // Moments are squares; zero is what a fresh state holds.
      types.forEach((type, i) =>
        type.shape.length === 1 && i > 0 && session.write(i, new Float64Array(type.shape[0]))
      );
      await session.run({ ...STEP, adafactorBeta2: 0 });
      await session.run(STEP);
      dispatches.push(session.dispatches);
      results.push(await Promise.all(types.map((_, i) => session.read(i))));
    }
    assert.ok(dispatches[1] > dispatches[0], `${dispatches}`);
    assert.deepEqual(results[1], results[0]);
  }
});

Deno.test("adafactor agrees with transformers over ten steps", deviceTest, async () => {
  for (const run of await adafactorRuns()) {
    const types = run.tensors.flatMap(({ shape }) =>
      [shape, shape, ...adafactorStateShapes(shape, run.attrs.beta1)].map((shape): TensorType => ({
        shape,
        dtype: "f32",
      }))
    );
    using session = await openOp(adafactor, [{ shape: [4], dtype: "f32" }, ...types], run.attrs);
    session.write(0, [0, 1, 0, 0]);
    let next = 1;
    const places = run.tensors.map(({ shape }) => {
      const first = next;
      next += 2 + adafactorStateShapes(shape, run.attrs.beta1).length;
      return first;
    });
    run.tensors.forEach(({ initial }, i) => session.write(places[i], initial));
    for (let step = 0; step < run.steps; step++) {
      run.tensors.forEach(({ name }, i) => session.write(places[i] + 1, run.gradient(name, step)));
      await session.run(run.stepBlock(step));
      for (const [i, { name }] of run.tensors.entries()) {
        const expected = run.after(name, step);
        if (!expected) continue;
        assertClose(
          await session.read(places[i]),
          expected,
          allowedError(run, i, step, expected),
          `${run.name} ${name} after step ${step}`,
          1,
        );
      }
    }
    for (const [i, { name }] of run.tensors.entries()) {
      for (const [k, expected] of run.states(name).entries()) {
        // Sums of up to 64 squares in another order, every step.
        const allowed = tolerance("f32", run.steps + 64);
        assertClose(
          await session.read(places[i] + 2 + k),
          expected,
          allowed,
          `${run.name} ${name} state ${k}`,
        );
      }
    }
  }
});

/** Weights are rounded in every step; sums in another order change what was added to them. */
function allowedError(
  { tensors }: AdafactorRun,
  tensor: number,
  step: number,
  expected: Float32Array,
): number {
  const { initial, shape } = tensors[tensor];
  const largest = expected.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
  const moved = expected.reduce((max, x, i) => Math.max(max, Math.abs(x - initial[i])), 0);
  return tolerance("f32", step + 1) * largest + tolerance("f32", shape.reduce((a, b) => a + b)) * moved;
}
