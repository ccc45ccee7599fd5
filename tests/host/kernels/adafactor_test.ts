import assert from "node:assert/strict";
import type { Dispatch, Located } from "../../../engine/graph/launch.ts";
import { ShapeError } from "../../../engine/graph/op.ts";
import { DTYPE_BYTES, elementCount, type TensorType } from "../../../engine/graph/types.ts";
import { adafactor } from "../../../kernels/adafactor.ts";
import { adafactorReference } from "../../../kernels/adafactor_reference.ts";
import { adafactorRuns, adafactorStateShapes } from "../../support/adafactor_fixture.ts";
import { assertClose, tolerance } from "../../support/numerics.ts";
import { plannedKernels } from "../../../engine/runtime/planned_kernels.ts";
import { kernelsUnder } from "../../../kernels/kernel_sets.ts";

const KERNELS = plannedKernels("gpu");

const f32 = (...shape: number[]): TensorType => ({ shape, dtype: "f32" });
const ATTRS = {
  eps1: 1e-30,
  eps2: 1e-3,
  clipThreshold: 1,
  beta1: null,
  scaleParameter: false,
  weightDecay: [0],
};

Deno.test("adafactor: the reference agrees with transformers over ten steps", async () => {
  for (const run of await adafactorRuns()) {
    const clip = Float64Array.of(0, 1, 0, 0);
    const types = run.tensors.map(({ shape }) => [
      shape,
      shape,
      ...adafactorStateShapes(shape, run.attrs.beta1),
    ]);
    const inputs = types.map((shapes) =>
      shapes.map((shape) => new Float64Array(shape.reduce((a, b) => a * b)))
    );
    run.tensors.forEach(({ initial }, i) => inputs[i][0].set(initial));
    for (let step = 0; step < run.steps; step++) {
      inputs.forEach(([, g], i) => g.set(run.gradient(run.tensors[i].name, step)));
      adafactorReference([clip, ...inputs.flat()], run.attrs, {
        inputs: [f32(4), ...types.flat().map((shape) => f32(...shape))],
        outputs: [],
      }, run.stepBlock(step));
      for (const [i, { name, initial }] of run.tensors.entries()) {
        const expected = run.after(name, step);
        if (!expected) continue;
        const moved = expected.map((x, at) => Math.abs(x - initial[at]));
        // transformers rounds weights to f32 in every step, and what it adds to
        // them after sums of up to 96 terms.
        const allowed = tolerance("f32", step + 1) * Math.max(...expected.map(Math.abs)) +
          tolerance("f32", 96) * Math.max(...moved);
        assertClose(inputs[i][0], expected, allowed, `${run.name} ${name} after step ${step}`, 1);
      }
    }
    for (const [i, { name }] of run.tensors.entries()) {
      run.states(name).forEach((expected, k) =>
        assertClose(inputs[i][2 + k], expected, tolerance("f32", run.steps), `${run.name} ${name} state ${k}`)
      );
    }
  }
});

Deno.test("adafactor refuses operands that do not fit", () => {
  const clip = f32(4);
  const matrix = [f32(3, 5), f32(3, 5), f32(3), f32(5)];
  const vector = [f32(3), f32(3), f32(3)];
  assert.equal(adafactor.inferTypes([clip, ...matrix], ATTRS).length, 1);
  assert.deepEqual(adafactor.mutates!([clip, ...matrix], ATTRS), [1, 3, 4]);
  assert.deepEqual(adafactor.mutates!([clip, ...vector, f32(3)], { ...ATTRS, beta1: 0.9 }), [1, 3, 4]);
  const refused: [TensorType[], Partial<typeof ATTRS> | { beta1: number }][] = [
    [[f32(3), ...matrix], {}],
    [[clip, ...matrix], { beta1: 0.9 }],
    [[clip, ...matrix, ...vector], {}],
    [[clip, f32(3, 5), f32(3, 5), f32(5), f32(3)], {}],
    [[clip, f32(3), f32(4), f32(3)], {}],
    [[clip, f32(3, 5, 2), f32(3, 5, 2), f32(3, 5), f32(3, 2)], {}],
  ];
  for (const [inputs, changes] of refused) {
    assert.throws(() => adafactor.inferTypes(inputs, { ...ATTRS, ...changes }), ShapeError);
  }
});

const matrix = (rows: number, columns: number) => [
  f32(rows, columns),
  f32(rows, columns),
  f32(rows),
  f32(columns),
];
const vector = (length: number) => [f32(length), f32(length), f32(length)];
const withoutDecay = (tensors: readonly TensorType[][]) => ({
  ...ATTRS,
  weightDecay: tensors.map(() => 0),
});

Deno.test("adafactor takes scratch memory for its largest matrix, or a hundredth of the weights", () => {
  const scratch = (...tensors: TensorType[][]) =>
    adafactor.inferTypes([f32(4), ...tensors.flat()], withoutDecay(tensors))[0].shape;
  // The embedding of GPT-2: a slot a row, 197 slabs of 256 rows and the roots, in vectors of four.
  assert.deepEqual(scratch(matrix(50257, 768)), [50257 + 198 * 192 + 1, 4]);
  assert.deepEqual(scratch(matrix(50257, 768), matrix(768, 2304), matrix(768, 768)), [
    Math.floor((50257 * 768 + 768 * 3072) / 400),
    4,
  ]);
  assert.deepEqual(scratch(matrix(64, 32), matrix(5, 7)), [64 + 3 * 8 + 1 + 5 + 2 * 7 + 1, 4]);
  assert.deepEqual(scratch(vector(7)), [1, 4]);
});

Deno.test("adafactor updates all of GPT-2 124M in a few dispatches of each kernel", () => {
  const block = [matrix(768, 2304), matrix(768, 768), matrix(768, 3072), matrix(3072, 768)];
  const vectors = [768, 768, 2304, 768, 768, 768, 3072, 768].map(vector);
  const tensors = [
    matrix(50257, 768),
    matrix(1024, 768),
    ...Array.from({ length: 12 }, () => [...block, ...vectors]).flat(),
  ];
  const place = placer();
  const located = [f32(4), ...tensors.flat()].map(place);
  const attrs = withoutDecay(tensors);
  const dispatches = adafactor.lower({
    inputs: located,
    outputs: adafactor.inferTypes(located, attrs).map(place),
    attrs,
    kernels: kernelsUnder(KERNELS, { maxStorageBufferBindingSize: 2 ** 31 - 4 }),
  }) as Dispatch[];
  const counts: Record<string, number> = {};
  for (const { kernel: { name } } of dispatches) counts[name] = (counts[name] ?? 0) + 1;
  assert.deepEqual(counts, {
    adafactor_rows: 3,
    adafactor_columns: 3,
    adafactor_factors: 3,
    adafactor_norm: 3,
    adafactor_total: 3,
    adafactor_apply: 3,
    adafactor_vector: 1,
  });
});

/** Places values one after another in a buffer, as the planner does: aligned to 256 bytes. */
function placer(): (type: TensorType) => Located {
  let end = 0;
  return (type) => {
    const byteLength = elementCount(type) * DTYPE_BYTES[type.dtype];
    const located = { ...type, name: "", buffer: 0, byteOffset: end, byteLength };
    end = Math.ceil((end + byteLength) / 256) * 256;
    return located;
  };
}
