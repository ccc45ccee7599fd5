import assert from "node:assert/strict";
import type { Dispatch, Located } from "../../../engine/graph/launch.ts";
import { DTYPE_BYTES } from "../../../engine/graph/types.ts";
import { adamw } from "../../../kernels/adamw.ts";
import { globalNorm } from "../../../kernels/global_norm.ts";
import { seededIntegers } from "../../support/seeded.ts";
import { plannedKernels } from "../../../engine/runtime/planned_kernels.ts";
import { kernelsUnder } from "../../../kernels/kernel_sets.ts";

const KERNELS = plannedKernels("gpu");

/** Places values one after another in a buffer, as the planner does: aligned to 256 bytes. */
class Shelf {
  readonly buffer: number;
  #end = 0;
  constructor(buffer: number) {
    this.buffer = buffer;
  }
  place(count: number): Located {
    const byteLength = count * DTYPE_BYTES.f32;
    const located = {
      name: "",
      shape: [count],
      dtype: "f32" as const,
      buffer: this.buffer,
      byteOffset: this.#end,
      byteLength,
    };
    this.#end = Math.ceil((this.#end + byteLength) / 256) * 256;
    return located;
  }
}

/** Parameters of a GPT-2 with `layers` blocks of width C, in order of declaration. */
function gpt2Sizes(layers: number, C: number, V: number, T: number): number[] {
  const block = [C, C, 3 * C * C, 3 * C, C * C, C, C, C, 4 * C * C, 4 * C, 4 * C * C, C];
  return [V * C, T * C, ...Array.from({ length: layers }, () => block).flat(), C, C];
}

function lowerAdamW(clip: Located, tensors: Located[][], kernels = KERNELS): Dispatch[] {
  const attrs = {
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weightDecay: tensors.map(() => 0),
  };
  return adamw.lower({ inputs: [clip, ...tensors.flat()], outputs: [], attrs, kernels }) as Dispatch[];
}

/** Elements of a tensor's operands that dispatches of the vector form cover, read back from their tables. */
function coveredVectors(dispatches: Dispatch[], headerWords: number): number {
  return dispatches.reduce((sum, { params }) => {
    const entries = params[0].value;
    for (let e = 0; e < entries; e++) sum += params[headerWords + 8 * e + 1].value;
    return sum;
  }, 0);
}

function assertApart({ bindings }: Dispatch): void {
  for (const [i, a] of bindings.entries()) {
    for (const b of bindings.slice(0, i)) {
      const apart = a.buffer !== b.buffer || a.byteOffset + a.byteLength <= b.byteOffset ||
        b.byteOffset + b.byteLength <= a.byteOffset;
      assert.ok(apart, `${JSON.stringify(a)} overlaps ${JSON.stringify(b)}`);
    }
  }
}

Deno.test("adamw of a small GPT-2 is one dispatch, wherever its state lies", () => {
  const sizes = gpt2Sizes(6, 192, 1024, 128);
  const vectors = sizes.reduce((a, b) => a + b) / 4;
  const layouts: Record<string, [number, () => Located[][]]> = {
    "a buffer for each operand": [5, () => {
      const shelves = [0, 1, 2, 3].map((i) => new Shelf(i));
      return sizes.map((n) => shelves.map((shelf) => shelf.place(n)));
    }],
    "moments in turn in one buffer": [4, () => {
      const [w, g, state] = [0, 1, 2].map((i) => new Shelf(i));
      return sizes.map((n) => [w.place(n), g.place(n), state.place(n), state.place(n)]);
    }],
    "everything in turn in one buffer": [2, () => {
      const shelf = new Shelf(0);
      return sizes.map((n) => [0, 1, 2, 3].map(() => shelf.place(n)));
    }],
  };
  for (const [name, [bindings, place]] of Object.entries(layouts)) {
    const dispatches = lowerAdamW(new Shelf(9).place(4), place());
    assert.equal(dispatches.length, 1, name);
    assert.equal(dispatches[0].bindings.length, bindings, name);
    assertApart(dispatches[0]);
    assert.equal(coveredVectors(dispatches, 8), vectors, name);
  }
});

Deno.test("adamw of GPT-2 124M stays within 128 MiB bindings in few dispatches", () => {
  const sizes = gpt2Sizes(12, 768, 50257, 1024);
  const shelves = [0, 1, 2, 3].map((i) => new Shelf(i));
  const tensors = sizes.map((n) => shelves.map((shelf) => shelf.place(n)));
  const dispatches = lowerAdamW(new Shelf(9).place(4), tensors);
  // 475 MiB for each operand in windows of at most 128 MiB; the table is never the limit.
  assert.equal(dispatches.length, 4);
  // Where bindings take more it is one.
  const roomy = kernelsUnder(KERNELS, { maxStorageBufferBindingSize: 2 ** 31 - 4 });
  assert.equal(lowerAdamW(new Shelf(9).place(4), tensors, roomy).length, 1);
  dispatches.forEach(assertApart);
  for (const { bindings } of dispatches) {
    for (const { byteLength, byteOffset } of bindings) {
      assert.ok(byteLength <= KERNELS.target.maxStorageBufferBindingSize);
      assert.equal(byteOffset % 256, 0);
    }
  }
  assert.equal(coveredVectors(dispatches, 8), sizes.reduce((a, b) => a + b) / 4);
});

Deno.test("clip and partial sums amid the gradients share their binding", () => {
  const arena = new Shelf(0);
  const [first, clip, second, partials, third] = [8, 4, 8, 12, 8].map((n) => arena.place(n));
  const gradients = [first, second, third];
  const outputs = [clip, { ...partials, shape: [3, 4] }];
  const norm = globalNorm.lower({
    inputs: gradients,
    outputs,
    attrs: { maxNorm: 1 },
    kernels: KERNELS,
  });
  assert.equal(norm.length, 2);
  assert.deepEqual((norm[0] as Dispatch).bindings.length, 1);
  const shelves = [1, 2, 3].map((i) => new Shelf(i));
  const update = lowerAdamW(
    clip,
    gradients.map((g) => [shelves[0].place(8), g, shelves[1].place(8), shelves[2].place(8)]),
  );
  assert.equal(update.length, 1);
  assert.equal(update[0].bindings.length, 4);
});

Deno.test("tables cover every vector once for random sizes, places and limits, without overlapping bindings", () => {
  for (let seed = 1; seed <= 40; seed++) {
    const sizes = [...seededIntegers(30, 9000, seed)].map((n) => n + 1);
    const buffers = seededIntegers(4, 3, seed + 100);
    const shelves = [new Shelf(0), new Shelf(1), new Shelf(2)];
    const tensors = sizes.map((n) => [0, 1, 2, 3].map((k) => shelves[buffers[k]].place(n)));
    const kernels = kernelsUnder(KERNELS, { maxStorageBufferBindingSize: 2 ** (13 + seed % 8) });
    const dispatches = lowerAdamW(shelves[seed % 3].place(4), tensors, kernels);
    for (const dispatch of dispatches) {
      assertApart(dispatch);
      for (const { byteLength } of dispatch.bindings) {
        assert.ok(byteLength <= kernels.target.maxStorageBufferBindingSize);
      }
    }
    const scalar = dispatches.filter(({ kernel }) => /const WIDTH: u32 = 1u/.test(kernel.code));
    const vector = dispatches.filter((dispatch) => !scalar.includes(dispatch));
    const [whole, rest] = [vector, scalar].map((some) => coveredVectors(some, 8));
    assert.equal(4 * whole + rest, sizes.reduce((a, b) => a + b), `seed ${seed}`);
  }
});
