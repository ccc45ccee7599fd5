import assert from "node:assert/strict";
import { ShapeError } from "../../../engine/graph/op.ts";
import type { TensorType } from "../../../engine/graph/types.ts";
import { adamw8bit, adamw8bitReference } from "../../../kernels/adamw_8bit.ts";
import { NEUTRAL_STEP } from "../../../kernels/step_block.ts";
import { adamw8bitTypes, readAdamW8bitFixture } from "../../support/adamw_8bit_fixture.ts";
import { assertClose, tolerance } from "../../support/numerics.ts";

const CLIP: TensorType = { shape: [4], dtype: "f32" };
const ATTRS = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: [0] };

Deno.test("adamw_8bit: the reference agrees with the algorithm of bitsandbytes over twenty steps", async () => {
  const fixture = await readAdamW8bitFixture();
  const { beta1, beta2 } = fixture.attrs;
  const inputs = fixture.tensors.map(({ initial }) =>
    adamw8bitTypes(initial.length).map(({ shape: [extent] }) => new Float64Array(extent))
  );
  fixture.tensors.forEach(({ initial }, i) => inputs[i][0].set(initial));
  for (let step = 0; step < fixture.steps; step++) {
    inputs.forEach(([, g], i) => g.set(fixture.gradient(fixture.tensors[i].name, step)));
    adamw8bitReference([Float64Array.of(0, 1, 0, 0), ...inputs.flat()], fixture.attrs, {
      ...NEUTRAL_STEP,
      learningRate: fixture.learningRate,
      biasCorrection1: 1 - beta1 ** (step + 1),
      sqrtBiasCorrection2: Math.sqrt(1 - beta2 ** (step + 1)),
    });
    for (const [i, { name }] of fixture.tensors.entries()) {
      // The fixture, in f32, says how far it is from its own algorithm in f64
      // after the last step; both round in every step.
      const { largestParameterDifference, state1CodesThatDiffer } = fixture.sensitivity[name];
      const expected = fixture.after(name, step);
      if (expected) {
        const allowed = largestParameterDifference +
          tolerance("f32", step + 1) * Math.max(...expected.map(Math.abs));
        assertClose(inputs[i][0], expected, allowed, `${name} after ${step}`, 1);
      }
      fixture.states(name, step)?.forEach((state, k) => {
        const what = `${name} state ${k} after ${step}`;
        if (k < 2) {
          assert.ok(differences(inputs[i][2 + k], state) <= (k === 0 ? state1CodesThatDiffer : 0), what);
        } // 1 − 0.999 in f32 is 1.3e-5 off.
        else assertClose(inputs[i][2 + k], state, 2e-5, what);
      });
    }
  }
});

Deno.test("adamw_8bit: the reference leaves out gradients that are not finite as bitsandbytes does", async () => {
  const { nonfinite, attrs, learningRate } = await readAdamW8bitFixture();
  const n = nonfinite.initial.length;
  const inputs = adamw8bitTypes(n).map(({ shape: [extent] }) => new Float64Array(extent));
  inputs[0].set(nonfinite.initial);
  for (let step = 0; step < 3; step++) {
    inputs[1].set(nonfinite.grads.subarray(step * n, (step + 1) * n));
    adamw8bitReference([Float64Array.of(0, 1, 0, 0), ...inputs], { ...attrs, weightDecay: [0.1] }, {
      ...NEUTRAL_STEP,
      learningRate,
      biasCorrection1: 1 - attrs.beta1 ** (step + 1),
      sqrtBiasCorrection2: Math.sqrt(1 - attrs.beta2 ** (step + 1)),
    });
    assertClose(inputs[0], nonfinite.after.subarray(step * n, (step + 1) * n), 2e-5, `after step ${step}`);
  }
  nonfinite.states.slice(0, 2).forEach((codes, k) => assert.equal(differences(inputs[2 + k], codes), 0));
});

Deno.test("adamw_8bit refuses operands that do not fit", () => {
  const tensor = adamw8bitTypes(600);
  assert.deepEqual(adamw8bit.inferTypes([CLIP, ...tensor], ATTRS), []);
  assert.deepEqual(adamw8bit.mutates!([CLIP, ...tensor], ATTRS), [1, 3, 4, 5, 6]);
  assert.throws(() => adamw8bit.inferTypes([CLIP, ...tensor, ...tensor], ATTRS), ShapeError);
  assert.throws(() => adamw8bit.inferTypes([tensor[0], ...tensor], ATTRS), ShapeError);
  for (const wrong of tensor.keys()) {
    const changed = tensor.with(wrong, { ...tensor[wrong], shape: [7] });
    assert.throws(() => adamw8bit.inferTypes([CLIP, ...changed], ATTRS), ShapeError, `value ${wrong}`);
  }
});

function differences(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  return Array.from(expected).filter((code, i) => code !== actual[i]).length;
}
