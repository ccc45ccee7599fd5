import assert from "node:assert/strict";
import { ShapeError } from "../../../engine/graph/op.ts";
import { sgd, sgdReference } from "../../../kernels/sgd.ts";
import { assertClose, tolerance } from "../../support/numerics.ts";
import { readOptimizerFixture } from "../../support/optimizer_fixture.ts";

interface Settings {
  lr: number;
  momentum: number;
  weightDecay: number;
}

Deno.test("sgd: the reference agrees with torch.optim.SGD over ten steps", async () => {
  const fixture = await readOptimizerFixture<Settings>("sgd");
  for (const [run, { lr, momentum, weightDecay }] of Object.entries(fixture.runs)) {
    const clip = Float64Array.of(0, 1, 0, 0);
    const attrs = { momentum, weightDecay: fixture.tensors.map(() => weightDecay) };
    const inputs = fixture.tensors.map(({ name }) => {
      const w = Float64Array.from(fixture.initial(name));
      return [w, w.slice(), ...(momentum === 0 ? [] : [new Float64Array(w.length)])];
    });
    for (let step = 0; step < fixture.steps; step++) {
      inputs.forEach(([, g], i) => g.set(fixture.gradient(fixture.tensors[i].name, step)));
      sgdReference([clip, ...inputs.flat()], attrs, { learningRate: lr });
      // torch rounds to f32 in every step.
      inputs.forEach(([w], i) => {
        const { name } = fixture.tensors[i];
        assertClose(
          w,
          fixture.after(run, name, step),
          tolerance("f32", step + 1),
          `${run} ${name} after step ${step}`,
        );
      });
    }
    if (momentum === 0) continue;
    inputs.forEach(([, , buffer], i) => {
      const { name } = fixture.tensors[i];
      assertClose(
        buffer,
        fixture.state(run, "momentum_buffer", name),
        tolerance("f32", 10),
        `${run} ${name} buffer`,
      );
    });
  }
});

Deno.test("sgd refuses operands that do not fit", () => {
  const [clip, w, other] = [[4], [3], [5]].map((shape) => ({ shape, dtype: "f32" as const }));
  assert.deepEqual(sgd.mutates!([clip, w, w], { momentum: 0, weightDecay: [0] }), [1]);
  assert.deepEqual(sgd.mutates!([clip, w, w, w], { momentum: 0.9, weightDecay: [0] }), [1, 3]);
  assert.throws(() => sgd.inferTypes([clip, w, other], { momentum: 0, weightDecay: [0] }), ShapeError);
  assert.throws(() => sgd.inferTypes([clip, w, w], { momentum: 0.9, weightDecay: [0] }), ShapeError);
});
