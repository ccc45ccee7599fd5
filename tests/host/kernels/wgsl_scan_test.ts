import assert from "node:assert/strict";
import { workgroupBytes, writtenSlots, wrongDeclarations } from "../../support/wgsl_scan.ts";

/** A kernel with four arrays and a body, and functions before it. */
const kernel = (body: string, functions = "") => ({
  entryPoint: "main",
  code: `@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(3) var<storage, read_write> also_y: array<u32>; // x[0] = y[0];
@group(1) @binding(0) var<uniform> params: Params;
var<workgroup> shared_x: array<array<vec4<f32>, LANES>, 2 * TEAMS>;
const LANES: u32 = 16u;
const TEAMS: u32 = 4u;
const ADDS = false;
${functions}
@compute @workgroup_size(1) fn main(@builtin(local_invocation_index) i: u32) { ${body} }`,
});

/** Bodies, and functions they call, with the slots that are written. */
const SCANS: readonly (readonly [body: string, slots: number[], functions?: string])[] = [
  ["x[i] = y[i];", [0]],
  ["x[i].x = y[i].x; also_y[i]++;", [0, 3]],
  ["also_y[i]--;", [3]],
  ["x[i] += y[i];", [0]],
  ["also_y[i] <<= 2u; also_y[i] >>= x[0];", [3]],
  ["(x)[i] = y[i];", [0]],
  ["(x[i]).y = 1.0;", [0]],
  ["let a = x[i] == y[i]; if (x[i].x <= y[i].x && x[i].x >= 1.0) { }", []],
  ["let p = &x[i]; *p = y[i];", [0]],
  ["let p = &x[i]; let q = p; (*q).x = 1.0;", [0]],
  ["let p = &x[i]; let v = *p;", []],
  ["atomicAdd(&counts[0], 1u);", [2]],
  ["let n = atomicLoad(&counts[0]) + arrayLength(&x);", []],
  ["put(&x[i], y[i]);", [0], "fn put(p: ptr<storage, vec4<f32>, read_write>, v: vec4<f32>) { *p = v; }"],
  ["get(&x[i]);", [], "fn get(p: ptr<storage, vec4<f32>, read_write>) -> vec4<f32> { return *p; }"],
  ["put(i);", [1], "fn put(i: u32) { store(i); }\nfn store(i: u32) { y[i] = vec4<f32>(); }"],
  ["", [], "fn unused() { y[0] = vec4<f32>(); }"],
  ["for (var k = 0u; k < 4u; k++) { y[k] = x[k]; }", [1]],
  ["switch (i) { case 0u: { x[0] = y[0]; } default: { } }", [0]],
  ["if (ADDS) { x[i] = y[i]; } else { y[i] = x[i]; }", [1]],
  ["if (ADDS) { x[i] = y[i]; }", []],
  ["let v = vec4<f32>(); var w = v; w.x = y[i].x; shared_x[0][i] = w;", []],
];

Deno.test("writtenSlots() reads assignments, increments, pointers, atomics and calls, and no comparison", () => {
  for (const [body, slots, functions] of SCANS) {
    assert.deepEqual(writtenSlots(kernel(body, functions)), slots, body);
  }
});

Deno.test("workgroupBytes() counts the variables that the entry point reaches", () => {
  assert.equal(workgroupBytes(kernel("x[i] = y[i];")), 0);
  assert.equal(workgroupBytes(kernel("shared_x[0][i] = y[i];")), 16 * 16 * 8);
});

Deno.test("a declaration that names too many bindings or too few, or other bytes, is found", () => {
  const { code, entryPoint } = kernel("x[0].x++; shared_x[0][i] = y[i];");
  const declared = (writes: number[], bytes: number) =>
    wrongDeclarations({ name: "kernel", code, entryPoint, writes, workgroupBytes: bytes });
  assert.deepEqual(declared([0], 2048), []);
  assert.deepEqual(declared([], 2048), ["kernel writes 0, and declares "]);
  assert.deepEqual(declared([0, 1], 2048), ["kernel writes 0, and declares 0,1"]);
  assert.deepEqual(declared([1], 2048), ["kernel writes 0, and declares 1"]);
  assert.deepEqual(declared([0], 0), ["kernel takes 2048 bytes of a workgroup, and declares 0"]);
});
