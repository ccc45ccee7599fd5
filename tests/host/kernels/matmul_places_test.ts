import assert from "node:assert/strict";
import type { Located } from "../../../engine/graph/launch.ts";
import { type Dtype, DTYPE_BYTES } from "../../../engine/graph/types.ts";
import { plannedKernels } from "../../../engine/runtime/planned_kernels.ts";
import { matmulCommands } from "../../../kernels/matmul/matmul.ts";
import type { MatmulSpec } from "../../../kernels/matmul/product.ts";

const fresh = () => plannedKernels("software");

function located(buffer: number, byteOffset: number, count: number, dtype: Dtype = "f32"): Located {
  const name = `value at ${byteOffset} of ${buffer}`;
  return { name, shape: [count], dtype, buffer, byteOffset, byteLength: count * DTYPE_BYTES[dtype] };
}

/** Lowers the products one after the other for one set, and checks each against a set that saw no other. */
function checkInTurn(specs: readonly MatmulSpec[]): void {
  const kernels = fresh();
  for (const spec of specs) {
    const commands = matmulCommands(spec, kernels);
    assert.ok(commands.every((command) => "copies" in command));
    assert.deepEqual(commands, matmulCommands(spec, fresh()));
  }
}

/** Products that pass the scratch texture, with all that one can read and write beside its operands. */
function product(places: readonly [buffer: number, byteOffset: number][], dtype: Dtype = "f32"): MatmulSpec {
  const [m, n, k] = [4096, 1024, 2048];
  const sizes = [m * k, k * n, m * n, n, m * n, m * n];
  const [a, b, c, bias, residual, activated] = sizes.map((size, i) => located(...places[i], size, dtype));
  return {
    name: "product",
    m,
    n,
    k,
    a: { value: a, ld: k },
    b: { value: b, ld: n },
    c: { value: c, ld: n },
    bias,
    residual,
    gelu: { approximation: "tanh", activated },
  };
}

const MIB = 2 ** 20;

Deno.test("products that differ by where their values lie have the dispatches they would have alone", () => {
  const apart = [0, 1, 2, 3, 4, 5].map((buffer): [number, number] => [buffer, 0]);
  const together = [0, 32, 40, 80, 56, 96].map((mib): [number, number] => [7, mib * MIB + 256]);
  checkInTurn([product(apart), product(together), product(together.toReversed()), product(apart)]);
  checkInTurn([product(together), product(together, "f16"), product(apart), product(apart, "f16")]);
});

Deno.test("products that differ in anything but places are lowered each for itself", () => {
  const places = [0, 1, 2, 3, 4, 5].map((buffer): [number, number] => [buffer, 256]);
  const spec = product(places);
  checkInTurn([
    spec,
    { ...spec, alpha: 2 },
    { ...spec, bias: undefined },
    { ...spec, residual: undefined },
    { ...spec, gelu: undefined },
    { ...spec, gelu: { approximation: "erf", activated: spec.gelu!.activated } },
    { ...spec, name: "another" },
    { ...spec, m: spec.m / 2 },
    // Added to in place, which is the residual's absence.
    { ...spec, residual: spec.c.value },
    { ...spec, gelu: undefined, accumulate: true, residual: undefined },
  ]);
});

Deno.test("operands that overlap share ranges as far as they do, wherever they lie", () => {
  const [t, d] = [512, 64];
  const scores = (buffer: number, byteOffset: number, apart: number, batch: number): MatmulSpec => {
    const operand = { ld: 3 * d, strides: [t * 3 * d] };
    const size = batch * t * 3 * d;
    return {
      name: "scores",
      m: t,
      n: t,
      k: d,
      batch: [batch],
      a: { ...operand, value: located(buffer, byteOffset, size) },
      b: { ...operand, value: located(buffer, byteOffset + apart, size), offset: d, transposed: true },
      c: { value: located(buffer + 1, byteOffset, batch * t * t), ld: t, strides: [t * t] },
      triangle: "c",
    };
  };
  for (const batch of [4, 128]) {
    checkInTurn([
      scores(0, 0, 0, batch),
      scores(3, 1024, 0, batch),
      scores(0, 0, 4 * 3 * d * t, batch),
      scores(2, 512, 4 * 3 * d * t, batch),
      scores(2, 512, 0, batch),
      scores(2, 512, 1024 * MIB, batch),
    ]);
  }
});

Deno.test("errors name the values of their own product", () => {
  const kernels = fresh();
  const value = (buffer: number) => located(buffer, 0, 64 * 64);
  const spec = (buffer: number, rows = 64): MatmulSpec => ({
    name: "product",
    m: rows,
    n: 64,
    k: 64,
    a: { value: value(buffer), ld: 64 },
    b: { value: value(buffer + 1), ld: 64 },
    c: { value: value(buffer + 2), ld: 64 },
  });
  matmulCommands(spec(0), kernels);
  matmulCommands(spec(3), kernels);
  for (const buffer of [0, 3]) {
    assert.throws(() => matmulCommands(spec(buffer, 65), kernels), {
      name: "RangeError",
      message: new RegExp(`"value at 0 of ${buffer}" has 4096`),
    });
  }
});
