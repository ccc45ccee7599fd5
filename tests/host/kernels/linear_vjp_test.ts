import assert from "node:assert/strict";
import { GraphBuilder } from "../../../engine/graph/builder.ts";
import { ShapeError } from "../../../engine/graph/op.ts";
import { appendBackward } from "../../../engine/passes/autodiff.ts";
import { columnSum } from "../../../kernels/column_sum.ts";
import { linear } from "../../../kernels/linear.ts";
import { checkVjp } from "../../support/check_op.ts";

Deno.test("linear's VJP agrees with central differences in both layouts of the weight", () => {
  for (const transposedWeight of [false, true]) {
    for (const [rows, cIn, cOut] of [[1, 1, 1], [5, 3, 4], [4, 6, 2]]) {
      const inputs = [
        { shape: [rows, cIn] },
        { shape: transposedWeight ? [cOut, cIn] : [cIn, cOut] },
        { shape: [cOut] },
        { shape: [rows, cOut] },
      ];
      checkVjp(linear, inputs, { transposedWeight, bias: true, residual: true });
      checkVjp(linear, inputs.slice(0, 3), { transposedWeight, bias: true, residual: false });
      checkVjp(linear, [inputs[0], inputs[1], inputs[3]], { transposedWeight, bias: false, residual: true });
      checkVjp(linear, inputs.slice(0, 2), { transposedWeight, bias: false, residual: false });
    }
  }
});

Deno.test("linear makes gradient nodes for what needs them only", () => {
  const attrs = { transposedWeight: false, bias: true, residual: true };
  const backward = (trained: readonly string[], accumulated: readonly string[] = []) => {
    const builder = new GraphBuilder();
    const declare = (name: string, shape: number[]) =>
      builder.persistents.declare(name, { shape, dtype: "f32" }, "weights");
    const values = [
      declare("x", [3, 4]),
      declare("w", [4, 5]),
      declare("bias", [5]),
      declare("residual", [3, 5]),
    ];
    const [loss] = builder.call(linear, values, attrs);
    const seed = declare("seed", [3, 5]);
    const trainable = values.filter((value) => trained.includes(value.name));
    const accumulators = new Map([[loss, seed]]);
    for (const value of values) {
      if (accumulated.includes(value.name)) {
        accumulators.set(value, declare(`${value.name}.grad`, [...value.shape]));
      }
    }
    const gradients = appendBackward(builder, { loss, trainable, accumulators });
    assert.equal(gradients.size, trained.length);
    return builder.nodes.filter((node) => node.phase === "backward").map((node) => node.op.name);
  };
  assert.deepEqual(backward(["x"]), ["linear_input_grad"]);
  assert.deepEqual(backward(["w"]), ["linear_weight_grad"]);
  assert.deepEqual(backward(["bias"]), ["column_sum"]);
  assert.deepEqual(backward(["residual"]), []);
  // The input gradient comes last: it may take over memory that the others still read.
  assert.deepEqual(backward(["x", "w", "bias", "residual"]), ["linear_weight_grad", "linear_input_grad"]);
  assert.deepEqual(backward(["w", "bias"]), ["linear_weight_grad"]);
  assert.deepEqual(backward(["x", "bias"]), ["column_sum", "linear_input_grad"]);
  assert.deepEqual(backward(["w", "bias"], ["w", "bias"]), ["linear_weight_grad"]);
  // One of them is added to something, the other is not: two kernels, and none of the sums is lost.
  assert.deepEqual(backward(["w", "bias"], ["w"]), ["linear_weight_grad", "column_sum"]);
  assert.deepEqual(backward(["w", "bias"], ["bias"]), ["linear_weight_grad", "column_sum"]);
});

Deno.test("linear and column_sum refuse shapes that do not fit", () => {
  const f32 = (...shape: number[]) => ({ shape, dtype: "f32" as const });
  const attrs = { transposedWeight: false, bias: false, residual: false };
  assert.throws(() => linear.inferTypes([f32(3, 4), f32(5, 4)], attrs), ShapeError);
  assert.throws(() => linear.inferTypes([f32(3, 4), f32(4)], attrs), ShapeError);
  assert.throws(
    () => linear.inferTypes([f32(3, 4), f32(4, 5), f32(4)], { ...attrs, bias: true }),
    ShapeError,
  );
  assert.throws(
    () => linear.inferTypes([f32(3, 4), f32(4, 5), f32(5)], { ...attrs, residual: true }),
    ShapeError,
  );
  assert.throws(() => linear.inferTypes([f32(3, 4), f32(4, 5)], { ...attrs, bias: true }), ShapeError);
  assert.deepEqual(linear.inferTypes([f32(3, 4), f32(5, 4)], { ...attrs, transposedWeight: true }), [
    f32(3, 5),
  ]);
  assert.throws(() => columnSum.inferTypes([f32(3, 4), f32(3)], {}), ShapeError);
});
