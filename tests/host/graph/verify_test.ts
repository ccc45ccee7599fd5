import assert from "node:assert/strict";
import { GraphBuilder } from "../../../engine/graph/builder.ts";
import { defineOp } from "../../../kernels/define_op.ts";
import type { OpDefinition } from "../../../engine/graph/op.ts";
import type { TensorType } from "../../../engine/graph/types.ts";
import { GraphError, verifyGraph } from "../../../engine/graph/verify.ts";
import { add, tanh } from "../../../kernels/elementwise.ts";

const TYPE: TensorType = { shape: [4], dtype: "f32" };

/** An op without outputs that mutates the inputs it is told to. */
const mutator = (...indices: number[]): OpDefinition =>
  defineOp({
    name: "mutator",
    inferTypes: () => [],
    mutates: () => indices,
    lower: () => [],
    reference: () => [],
  });

/** A weight and a gradient, and what a test adds to them. */
function graphOf(build: (builder: GraphBuilder) => void) {
  const builder = new GraphBuilder();
  build(builder);
  return builder.finish("test", []);
}
const refuses = (build: (builder: GraphBuilder) => void, message: RegExp) =>
  assert.throws(() => verifyGraph(graphOf(build), "test"), (error: Error) => {
    assert.ok(error instanceof GraphError);
    assert.match(error.message, message);
    return true;
  });
const weight = (builder: GraphBuilder, name = "w") => builder.persistents.declare(name, TYPE, "weights");

Deno.test("verifyGraph() takes an update that mutates weights and state, and what reads them in the update", () => {
  verifyGraph(
    graphOf((builder) => {
      const [w, m] = [weight(builder), weight(builder, "m")];
      const [g] = builder.call(tanh, [w], {});
      builder.phase = "update";
      builder.call(mutator(0, 2), [w, g, m], {});
      builder.call(mutator(), [w], {});
    }),
    "test",
  );
});

Deno.test("verifyGraph() refuses an op that mutates what is no input, an input twice, or storage that it has twice", () => {
  refuses((builder) => builder.call(mutator(1), [weight(builder)], {}), /mutates input 1, it has 1/);
  refuses((builder) => builder.call(mutator(-1), [weight(builder)], {}), /mutates input -1, it has 1/);
  refuses((builder) => builder.call(mutator(0.5), [weight(builder)], {}), /mutates input 0.5, it has 1/);
  refuses(
    (builder) => builder.call(mutator(0, 0), [weight(builder)], {}),
    /mutates inputs 0, 0, one of them twice/,
  );
  refuses((builder) => {
    const w = weight(builder);
    builder.call(mutator(0), [w, w], {});
  }, /mutates w, and w and w share its storage/);
  refuses((builder) => {
    const [w, b] = [weight(builder), weight(builder, "b")];
    const [sum] = builder.call(add, [w, b], {});
    builder.call(mutator(0), [sum, w], {});
  }, /mutates add, and add and w share its storage/);
});

Deno.test("verifyGraph() refuses to read a transient value that an op has mutated", () => {
  refuses((builder) => {
    const [x] = builder.call(tanh, [weight(builder)], {});
    builder.call(mutator(0), [x], {});
    builder.call(tanh, [x], {});
  }, /node 2 tanh .* reads tanh, whose storage mutator \(\) has overwritten/);
});

Deno.test("verifyGraph() refuses to compute with a weight after its update", () => {
  refuses((builder) => {
    const w = weight(builder);
    builder.phase = "update";
    builder.call(mutator(0), [w], {});
    builder.phase = "backward";
    builder.call(tanh, [w], {});
  }, /node 1 tanh .* computes with w after mutator \(\) has updated it/);
});
