import assert from "node:assert/strict";
import type { Dtype } from "../../../engine/graph/types.ts";
import { checkKernel } from "../../support/check_op.ts";
import { FAMILIES } from "../../support/matmul_checks.ts";
import { matmulProbe, type ProbeAttrs } from "../../support/matmul_probe.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { isLongRun } from "../../support/long_run.ts";
import { deviceTestOf, sharedDevice } from "../../support/with_device.ts";
import type { KernelChanges } from "../../support/kernel_changes.ts";

/** An odd number of matrices: the threads of a software adapter get a part of one. */
const BATCH = 3;

/** Square matrices of lower triangles, and what else a test wants above the diagonal. */
function triangles(size: number, above: (row: number, column: number) => number): Float64Array {
  return seededNumbers(BATCH * size * size, 3).map((x, i) => {
    const [row, column] = [Math.floor(i / size) % size, i % size];
    return column > row ? above(row, column) : x;
  });
}

/** A product of `size` rows, whose A or C is square. */
function attrsOf(
  of: "a" | "c",
  { size, other, dtype, transposed }: { size: number; other: number; dtype: Dtype; transposed: boolean },
): ProbeAttrs {
  const [n, k] = of === "a" ? [other, size] : [size, other];
  return {
    m: size,
    n,
    k,
    batch: [BATCH],
    a: { ld: k, transposed: of === "a" && transposed, strides: [size * k] },
    b: { ld: of === "a" ? n : k, transposed: of === "c", strides: [n * k] },
    c: { ld: n, strides: [size * n] },
    output: { shape: [BATCH, size, n], dtype },
    alpha: 0.5,
    triangle: of,
  };
}

const shapeOfB = ({ n, k, b }: ProbeAttrs) => [BATCH, ...(b.transposed ? [n, k] : [k, n])];

// Below a tile, its edge, several tiles each way, and what falls into no whole vectors.
const SIZES = [1, 4, 8, 12, 16, 20, 32, 33, 36, 64, 100, 132, 260];

const { kind, target: { maxComputeWorkgroupStorageSize } } = (await sharedDevice()).gpu.kernels;
const takesTeams = kind === "software" || maxComputeWorkgroupStorageSize >= 20480;

/**
 * The adapter's own kernels, and those with workgroup memory, of which a software
 * adapter compiles as few as will do.
 */
const KERNELS: [string, KernelChanges, Dtype, number[], tileRows?: number][] = [
  ["", {}, "f32", SIZES],
  [" in tiles of 32 rows", {}, "f32", [31, 32, 36, 68, 132], 32],
  ["", {}, "f16", SIZES],
  [" in workgroup memory", FAMILIES.workgroup[1], "f32", isLongRun ? SIZES : [33, 132]],
  [" in workgroup memory", FAMILIES.workgroup[1], "f16", isLongRun ? SIZES : []],
  // 20 KiB in tiles of 64 × 64; Mesa's adapter runs them although it promises less.
  [
    " that teams share out",
    { ...FAMILIES.workgroup[1], maxComputeWorkgroupStorageSize: 20480 },
    "f32",
    takesTeams ? [516] : [],
  ],
];

for (const [family, target, dtype, sizes, tileRows] of KERNELS) {
  if (sizes.length === 0) continue;
  const options = await deviceTestOf(dtype);

  Deno.test(
    `a product of a lower triangle of ${dtype}${family} has the bits of the whole product`,
    options,
    async () => {
      for (const transposed of [false, true]) {
        for (const size of sizes) {
          const attrs = { ...attrsOf("a", { size, other: 36, dtype, transposed }), tileRows };
          const inputs = [
            { shape: [BATCH, size, size], dtype, data: triangles(size, () => 0) },
            { shape: shapeOfB(attrs), dtype },
          ];
          const what = `triangle of A, ${size}${transposed ? ", transposed" : ""}`;
          const [part] = await checkKernel(matmulProbe, inputs, attrs, { target, terms: size, what });
          const whole = { ...attrs, triangle: undefined };
          const [all] = await checkKernel(matmulProbe, inputs, whole, { target, terms: size, what });
          assert.deepEqual(part, all, what);
        }
      }
    },
  );

  Deno.test(
    `a lower triangle of a product of ${dtype}${family} has the bits of the whole product`,
    options,
    async () => {
      for (const size of sizes) {
        const attrs = { ...attrsOf("c", { size, other: 12, dtype, transposed: false }), tileRows };
        const inputs = [{ shape: [BATCH, size, 12], dtype }, { shape: shapeOfB(attrs), dtype }];
        // What is above the diagonal may be anything.
        const [part] = await checkKernel(matmulProbe, inputs, attrs, { target, skipOutputs: [0] });
        const [all] = await checkKernel(matmulProbe, inputs, { ...attrs, triangle: undefined }, {
          target,
          terms: 12,
        });
        const lower = (c: Float64Array) => c.filter((_, i) => i % size <= Math.floor(i / size) % size);
        assert.deepEqual(lower(part), lower(all), `triangle of C, ${size}`);
      }
    },
  );
}

Deno.test("products from the scratch texture leave a triangle out", await deviceTestOf("f32"), async () => {
  const { gpu: { kernels } } = await sharedDevice();
  // Other forms may compute all of it.
  if (!kernels.scratch) return;
  // Small products have tiles of 16 rows, however wide the adapter's vectors are.
  const [size, rows] = [100, 16];
  const dtype: Dtype = "f32";
  const tile = (row: number) => Math.floor(row / rows);
  for (const transposed of [false, true]) {
    const attrs = attrsOf("a", { size, other: 36, dtype, transposed });
    const data = triangles(size, (row, column) => tile(column) > tile(row) ? NaN : 0);
    const inputs = [{ shape: [BATCH, size, size], dtype, data }, { shape: shapeOfB(attrs), dtype }];
    const [product] = await checkKernel(matmulProbe, inputs, attrs, { skipOutputs: [0] });
    assert(product.every(Number.isFinite), `a tile read A beyond the diagonal (transposed: ${transposed})`);
  }
  const attrs = attrsOf("c", { size, other: 12, dtype, transposed: false });
  const inputs = [{ shape: [BATCH, size, 12] }, { shape: shapeOfB(attrs) }];
  const [product] = await checkKernel(matmulProbe, inputs, attrs, { skipOutputs: [0] });
  const columns = 4 * kernels.target.subgroupSize;
  product.forEach((x, i) => {
    const [row, column] = [Math.floor(i / size) % size, i % size];
    const computed = Math.floor(column / columns) <= Math.floor(tile(row) * rows / columns);
    assert.equal(Number.isFinite(x), computed, `row ${row}, column ${column}`);
  });
});
