import assert from "node:assert/strict";
import { linearWeightGrad } from "../../../kernels/linear.ts";
import { fittingTiles } from "../../../kernels/matmul/matmul.ts";
import { normalise } from "../../../kernels/matmul/product.ts";
import { checkKernel } from "../../support/check_op.ts";
import { assertClose, tolerance } from "../../support/numerics.ts";
import { changed, type KernelChanges } from "../../support/kernel_changes.ts";
import { FAMILIES } from "../../support/matmul_checks.ts";
import { matmulProbe, type ProbeAttrs } from "../../support/matmul_probe.ts";
import { isLongRun } from "../../support/long_run.ts";
import { deviceTest, sharedDevice } from "../../support/with_device.ts";

const [, WORKGROUP] = FAMILIES.workgroup;
/**
 * A product of few tiles and so many terms that four teams share them out, and
 * one for two; both leave a remainder.
 */
const EXTENTS = { 4: [70, 66, 2051], 2: [33, 20, 600] } as const;

// The largest tiles take 45 KiB: more than some adapters have, which then do without teams.
const TARGET: KernelChanges = { ...WORKGROUP, maxComputeWorkgroupStorageSize: 49152 };

/** Names of the tiles for a product, the chosen one first. */
async function tilesFor([m, n, k]: readonly [number, number, number]): Promise<string[]> {
  const value = { name: "v", shape: [1], dtype: "f32", buffer: 0, byteOffset: 0, byteLength: 4 } as const;
  const [a, b, c] = [k, n, n].map((ld, buffer) => ({ value: { ...value, shape: [1], buffer }, ld }));
  const spec = normalise({ name: "product", m, n, k, a, b, c });
  const whole = (count: number) => ({ first: 0, count });
  const part = { batchFirst: [0, 0, 0], batchCount: [1, 1, 1], m: whole(m), n: whole(n), k: whole(k) };
  const kernels = changed((await sharedDevice()).gpu.kernels, TARGET);
  const names = fittingTiles(spec, part, kernels).map(({ name }) => name);
  assert.equal(kernels.products.chosen(spec, part).name, names[0]);
  return names;
}

Deno.test(
  "products of many terms and few tiles have teams, those of few terms never",
  deviceTest,
  async () => {
    for (const [teams, extents] of Object.entries(EXTENTS)) {
      const names = await tilesFor(extents);
      // Other numbers of teams would add in another order.
      assert.ok(names.every((name) => name.endsWith(`split ${teams}`)), names.join());
    }
    for (const extents of [[70, 66, 500], [4096, 4096, 4096], [1, 1, 511]] as const) {
      const names = await tilesFor(extents);
      assert.ok(names.every((name) => !name.includes("split")), names.join());
    }
  },
);

/** The largest tile takes 45 KiB; Mesa's adapter runs it although it promises less. */
const { kind, target: { maxComputeWorkgroupStorageSize } } = (await sharedDevice()).gpu.kernels;
const options = { ...deviceTest, ignore: kind === "gpu" && maxComputeWorkgroupStorageSize < 46080 };

for (const teams of [2, 4] as const) {
  const [m, n, k] = EXTENTS[teams];

  Deno.test(`a product that ${teams} teams share out equals its reference`, options, async () => {
    const target = TARGET;
    for (const [aTransposed, bTransposed] of [[false, false], [true, true], [true, false], [false, true]]) {
      // The other two load no operand in another way.
      if (aTransposed !== bTransposed && !isLongRun) continue;
      const attrs: ProbeAttrs = {
        m,
        n,
        k,
        a: { ld: aTransposed ? m : k, transposed: aTransposed },
        b: { ld: bTransposed ? k : n, transposed: bTransposed },
        c: { ld: n },
        output: { shape: [m, n], dtype: "f32" },
        bias: true,
        residual: true,
        alpha: 0.5,
      };
      const inputs = [aTransposed ? [k, m] : [m, k], bTransposed ? [n, k] : [k, n], [n], [m, n]];
      await checkKernel(matmulProbe, inputs.map((shape) => ({ shape })), attrs, { target, terms: k });
    }
  });

  Deno.test(`${teams} teams sum an operand too`, options, async () => {
    const target = TARGET;
    for (const transposedWeight of [false, true]) {
      const inputs = [{ shape: [k, m] }, { shape: [k, n] }];
      await checkKernel(linearWeightGrad, inputs, { transposedWeight, bias: true }, { target, terms: k });
    }
  });
}

Deno.test("padding behind rows is loaded in whole vectors and never multiplied", deviceTest, async () => {
  const target = TARGET;
  // What is multiplied with padding would show: NaN.
  const padded = (rows: number, columns: number, ld: number) =>
    Float64Array.from({ length: rows * ld }, (_, i) => i % ld < columns ? Math.fround(Math.sin(i)) : NaN);
  // Terms, then columns of C, then columns of a transposed A that end in the middle of a vector.
  const cases: [number, number, number, boolean][] = [[9, 8, 10, false], [9, 11, 8, false], [10, 8, 9, true]];
  for (const [m, n, k, transposed] of cases) {
    const [rows, columns] = transposed ? [k, m] : [m, k];
    const [ld, cLd] = [columns, n].map((count) => Math.ceil(count / 4) * 4);
    const [a, b] = [padded(rows, columns, ld), padded(k, n, n)];
    const [c] = await checkKernel(matmulProbe, [{ shape: [rows, ld], data: a }, { shape: [k, n], data: b }], {
      m,
      n,
      k,
      a: { ld, transposed, padded: true },
      b: { ld: n },
      c: { ld: cLd, padded: true },
      output: { shape: [m, cLd], dtype: "f32" },
    }, { target, skipOutputs: [0] });
    const got = [], expected = [];
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let q = 0; q < k; q++) sum += a[transposed ? q * ld + i : i * ld + q] * b[q * n + j];
        got.push(c[i * cLd + j]);
        expected.push(sum);
      }
    }
    assertClose(got, expected, tolerance("f32", k), `${m} × ${n} × ${k}`);
  }
});
