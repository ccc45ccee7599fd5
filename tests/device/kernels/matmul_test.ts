import assert from "node:assert/strict";
import type { Located } from "../../../engine/graph/launch.ts";
import type { Dtype } from "../../../engine/graph/types.ts";
import { matmulCommands } from "../../../kernels/matmul/matmul.ts";
import { checkKernel } from "../../support/check_op.ts";
import { matmulProbe } from "../../support/matmul_probe.ts";
import { deviceTest } from "../../support/with_device.ts";
import { FAMILIES, testProducts } from "../../support/matmul_checks.ts";
import { kernelsFor, kernelsUnder } from "../../../kernels/kernel_sets.ts";

testProducts(...FAMILIES.own);

Deno.test(
  "a product has the same bits on every run, and in every tile that a row may fall into",
  deviceTest,
  async () => {
    for (const [, target] of Object.values(FAMILIES)) {
      const runs: Float64Array[] = [];
      // More rows mean taller tiles; the first rows of A are the same numbers each time.
      for (const m of [5, 5, 40, 512]) {
        const data = (rows: number, columns: number) =>
          Float64Array.from({ length: rows * columns }, (_, i) => Math.sin(i * 12.9898) * 0.5);
        const [c] = await checkKernel(matmulProbe, [
          { shape: [m, 36], data: data(m, 36) },
          { shape: [36, 288], data: data(36, 288) },
        ], {
          m,
          n: 288,
          k: 36,
          a: { ld: 36 },
          b: { ld: 288 },
          c: { ld: 288 },
          output: { shape: [m, 288], dtype: "f32" },
        }, {
          target,
          terms: 36,
        });
        runs.push(c.slice(0, 5 * 288));
      }
      for (const run of runs.slice(1)) assert.deepEqual(run, runs[0]);
    }
  },
);

Deno.test("a product has the same bits in tiles of its size and in tall ones", deviceTest, async () => {
  // Rows, columns and, where the form allows it, terms beyond the last whole tile and step.
  const [m, n] = [72, 136];
  for (const [aTransposed, bTransposed] of [[false, false], [false, true], [true, false]]) {
    const k = aTransposed ? 45 : 44;
    const inputs = [{ shape: aTransposed ? [k, m] : [m, k] }, { shape: bTransposed ? [n, k] : [k, n] }];
    const attrs = {
      m,
      n,
      k,
      a: { ld: aTransposed ? m : k, transposed: aTransposed },
      b: { ld: bTransposed ? k : n, transposed: bTransposed },
      c: { ld: n },
      output: { shape: [m, n], dtype: "f32" as const },
    };
    const runs: Float64Array[] = [];
    for (const tileRows of [undefined, 32]) {
      runs.push((await checkKernel(matmulProbe, inputs, { ...attrs, tileRows }, { terms: k }))[0]);
    }
    assert.deepEqual(runs[1], runs[0]);
  }
});

Deno.test("matmulCommands() refuses what it cannot bind or would overwrite", () => {
  const located = (buffer: number, dtype: Dtype = "f32"): Located => (
    { name: `v${buffer}`, shape: [4, 4], dtype, buffer, byteOffset: 0, byteLength: 64 }
  );
  const operand = (buffer: number, dtype?: Dtype) => ({ value: located(buffer, dtype), ld: 4 });
  const kernels = kernelsFor("software", {
    maxStorageBufferBindingSize: 4096,
    maxComputeWorkgroupsPerDimension: 65535,
    maxComputeWorkgroupStorageSize: 16384,
    maxComputeInvocationsPerWorkgroup: 256,
    maxStorageBuffersPerShaderStage: 8,
    subgroupSize: 8,
    shaderF16: true,
  }, 0);
  const spec = { name: "test", m: 4, n: 4, k: 4, a: operand(0), b: operand(1), c: operand(2) };
  assert.equal(matmulCommands(spec, kernels).length, 1);
  assert.throws(() => matmulCommands({ ...spec, c: operand(1) }, kernels), /over an operand/);
  assert.throws(() => matmulCommands({ ...spec, b: operand(1, "u32") }, kernels), TypeError);
  assert.throws(() => matmulCommands({ ...spec, m: 5 }, kernels), /Cannot read a/);
  const quantized = {
    format: "nf4" as const,
    absmax: located(3),
    nested: located(4),
    tables: located(5),
    quantBlockSize: 64,
    doubleQuantization: false,
  };
  const codes = { ...operand(1, "u8"), quantized };
  // 64 bytes are 128 codes of NF4.
  assert.equal(matmulCommands({ ...spec, b: { ...codes, ld: 40 } }, kernels).length, 1);
  assert.throws(() => matmulCommands({ ...spec, b: { ...codes, ld: 42 } }, kernels), /Cannot read b/);
  assert.throws(() => matmulCommands({ ...spec, a: codes }, kernels), /only B can be quantized/);
  assert.throws(
    () => matmulCommands({ ...spec, b: { ...codes, value: located(1) } }, kernels),
    /expected u8/,
  );
  const blockless = { ...codes, quantized: { ...quantized, quantBlockSize: 0 } };
  assert.throws(() => matmulCommands({ ...spec, b: blockless }, kernels), /blocks of 0/);
  assert.throws(() => matmulCommands({ ...spec, k: 0 }, kernels), RangeError);
  assert.throws(() => matmulCommands({ ...spec, batch: [1, 1, 1, 1] }, kernels), /at most 3/);
  assert.throws(
    () => matmulCommands(spec, kernelsUnder(kernels, { maxStorageBufferBindingSize: 2 })),
    /however the product is split/,
  );
});
