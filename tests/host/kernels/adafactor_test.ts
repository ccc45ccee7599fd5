import assert from "node:assert/strict";
import { ShapeError } from "../../../engine/graph/op.ts";
import type { TensorType } from "../../../engine/graph/types.ts";
import { adafactor, adafactorReference } from "../../../kernels/adafactor.ts";
import { adafactorRuns, adafactorStateShapes } from "../../support/adafactor_fixture.ts";
import { assertClose, tolerance } from "../../support/numerics.ts";

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
        // transformers rounds weights to f32 in every step, and what it adds to them after sums of up to 96 terms.
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
  assert.equal(adafactor.inferTypes([clip, ...matrix], ATTRS).length, 4);
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

Deno.test("adafactor takes scratch memory for its largest matrix only", () => {
  const matrix = (rows: number, columns: number) => [
    f32(rows, columns),
    f32(rows, columns),
    f32(rows),
    f32(columns),
  ];
  const scratch = (...tensors: TensorType[][]) =>
    adafactor.inferTypes([f32(4), ...tensors.flat()], { ...ATTRS, weightDecay: tensors.map(() => 0) })
      .map(({ shape: [extent] }) => extent);
  // The embedding of GPT-2: 197 slabs of 256 rows.
  assert.deepEqual(scratch(matrix(50257, 768)), [50257, 197 * 768, 768, 4]);
  assert.deepEqual(scratch(matrix(50257, 768), matrix(768, 2304), matrix(768, 768)), [
    50257,
    96 * 2304,
    2304,
    4,
  ]);
  assert.deepEqual(scratch([f32(7), f32(7), f32(7)]), [4, 4, 4, 4]);
});
