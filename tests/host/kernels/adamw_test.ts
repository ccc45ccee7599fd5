import assert from "node:assert/strict";
import { ShapeError } from "../../../engine/graph/op.ts";
import { adamw, adamwReference } from "../../../kernels/adamw.ts";
import { NEUTRAL_STEP } from "../../../kernels/step_block.ts";
import { assertClose, tolerance } from "../../support/numerics.ts";
import { readOptimizerFixture } from "../../support/optimizer_fixture.ts";

interface Settings {
  lr: number;
  betas: [number, number];
  eps: number;
  weightDecay: number;
}

Deno.test("adamw: the reference agrees with torch.optim.AdamW over ten steps", async () => {
  const fixture = await readOptimizerFixture<Settings>("adamw");
  for (const [run, { lr, betas: [beta1, beta2], eps, weightDecay }] of Object.entries(fixture.runs)) {
    const clip = Float64Array.of(0, 1, 0, 0);
    const attrs = { beta1, beta2, eps, weightDecay: fixture.tensors.map(() => weightDecay) };
    const inputs = fixture.tensors.map(({ name }) => {
      const w = Float64Array.from(fixture.initial(name));
      return [w, w.slice(), new Float64Array(w.length), new Float64Array(w.length)];
    });
    for (let step = 0; step < fixture.steps; step++) {
      inputs.forEach(([, g], i) => g.set(fixture.gradient(fixture.tensors[i].name, step)));
      adamwReference([clip, ...inputs.flat()], attrs, {
        ...NEUTRAL_STEP,
        learningRate: lr,
        biasCorrection1: 1 - beta1 ** (step + 1),
        sqrtBiasCorrection2: Math.sqrt(1 - beta2 ** (step + 1)),
      });
      // torch rounds to f32 in every step.
      const allowed = tolerance("f32", step + 1);
      inputs.forEach(([w], i) => {
        const { name } = fixture.tensors[i];
        assertClose(w, fixture.after(run, name, step), allowed, `${run} ${name} after step ${step}`);
      });
    }
    inputs.forEach(([, , m, v], i) => {
      const { name } = fixture.tensors[i];
      assertClose(m, fixture.state(run, "exp_avg", name), tolerance("f32", 10), `${run} ${name} m`);
      assertClose(v, fixture.state(run, "exp_avg_sq", name), tolerance("f32", 10), `${run} ${name} v`);
    });
  }
});

Deno.test("adamw refuses operands that do not fit", () => {
  const [clip, w, other] = [[4], [3], [5]].map((shape) => ({ shape, dtype: "f32" as const }));
  const attrs = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: [0] };
  assert.deepEqual(adamw.inferTypes([clip, w, w, w, w], attrs), []);
  assert.deepEqual(adamw.mutates!([clip, w, w, w, w], attrs), [1, 3, 4]);
  assert.throws(() => adamw.inferTypes([clip, w, w, w, other], attrs), ShapeError);
  assert.throws(() => adamw.inferTypes([clip, w, w, w], attrs), ShapeError);
  assert.throws(() => adamw.inferTypes([w, w, w, w, w], attrs), ShapeError);
  assert.throws(() => adamw.inferTypes([clip, w, w, w, w, w], attrs), ShapeError);
});
