import { type Binding, type Located, u32, whole } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { ShapeError } from "../engine/graph/op.ts";
import { elementCount } from "../engine/graph/types.ts";

/**
 * Zeroes a small accumulator at the first micro-step of a step and leaves it alone at the others:
 * `(x f32 [n]) → x`, in place. The micro-step is data (`step.microStepIndex`), so
 * one recording serves all of them.
 */
export const resetAtStepStart = defineOp({
  name: "reset_at_step_start",
  inferTypes: ([x]) => {
    if (x.dtype !== "f32") throw new ShapeError(`Cannot reset ${x.dtype} [${x.shape}]: expected f32`);
    return [{ ...x, aliasOfInput: 0 }];
  },
  lower: ({ inputs: [x] }) => [{
    kernel: {
      name: "reset_at_step_start",
      entryPoint: "reset_at_step_start",
      writes: [0],
      code: `@group(0) @binding(0) var<storage, read_write> x: array<f32>;
struct Params { count: u32 }
@group(1) @binding(0) var<uniform> params: Params;
@compute @workgroup_size(1) fn reset_at_step_start() {
  if (step.microStepIndex == 0u) { for (var i = 0u; i < params.count; i++) { x[i] = 0.0; } }
}`,
    },
    bindings: [whole(x)],
    params: [u32(elementCount(x))],
    workgroups: [1, 1, 1],
  }],
  // As at the first micro-step, which is where NEUTRAL_STEP stands.
  reference: ([x]) => [new Float64Array(x.length)],
});

/**
 * Zeroes any number of values in place: gradients that the next step adds to.
 * Neighbours are cleared together.
 */
export const zero = defineOp({
  name: "zero",
  inferTypes: () => [],
  mutates: (inputs) => inputs.map((_, i) => i),
  lower: ({ inputs }) => mergeNeighbours(inputs).map((clear) => ({ clear })),
  reference: (inputs) => {
    inputs.forEach((x) => x.fill(0));
    return [];
  },
});

/** Ranges that follow each other, but for alignment padding, as one. */
function mergeNeighbours(values: readonly Located[]): Binding[] {
  const sorted = values.map(whole).sort((a, b) => a.buffer - b.buffer || a.byteOffset - b.byteOffset);
  const merged: Binding[] = [];
  for (const range of sorted) {
    const last = merged.at(-1);
    const gap = last ? range.byteOffset - (last.byteOffset + last.byteLength) : Infinity;
    if (last && last.buffer === range.buffer && gap >= 0 && gap < 256) {
      last.byteLength = range.byteOffset + range.byteLength - last.byteOffset;
    } else merged.push({ ...range });
  }
  return merged;
}
