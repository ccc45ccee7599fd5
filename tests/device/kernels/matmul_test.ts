import assert from "node:assert/strict";
import type { Located, Target } from "../../../engine/graph/op.ts";
import type { Dtype } from "../../../engine/graph/types.ts";
import { matmulCommands } from "../../../kernels/matmul.ts";
import { checkKernel, type TestInput } from "../../support/check_op.ts";
import { matmulProbe, type ProbeAttrs } from "../../support/matmul_probe.ts";
import { deviceTest, sharedDevice } from "../../support/with_device.ts";

/** A target that takes the kernels with workgroup memory; the software adapter runs them too. */
const WORKGROUP: Partial<Target> = { software: false, subgroupSize: 0 };
const FAMILIES: [string, Partial<Target>][] = [
  ["this adapter's", {}],
  ["this adapter's 32-bit", { shaderInt64: false }],
  ["workgroup", WORKGROUP],
];

interface ProductOptions {
  aTransposed?: boolean;
  bTransposed?: boolean;
  bias?: boolean;
  residual?: boolean;
  accumulate?: boolean;
  alpha?: number;
  dtypes?: Partial<Record<"a" | "b" | "c" | "bias" | "residual", Dtype>>;
  target?: Partial<Target>;
  tileRows?: number;
}

/** Rows of every tile a family can choose; without being told, only products of millions of outputs take the largest. */
const tilesOf = (target: Partial<Target>) => target.software === false ? [32, 64, 128] : [8, 32, 64];
/** The tile that compiles fastest: enough where the form, not the tile, is what is tested. */
const SMALL = 8;

/** Checks one unbatched product of packed operands. */
function checkProduct(
  m: number,
  n: number,
  k: number,
  options: ProductOptions = {},
): Promise<Float64Array[]> {
  const {
    aTransposed = false,
    bTransposed = false,
    bias,
    residual,
    accumulate,
    alpha,
    dtypes = {},
    tileRows,
  } = options;
  const inputs: TestInput[] = [
    { shape: aTransposed ? [k, m] : [m, k], dtype: dtypes.a },
    { shape: bTransposed ? [n, k] : [k, n], dtype: dtypes.b },
  ];
  if (bias) inputs.push({ shape: [n], dtype: dtypes.bias });
  if (residual) inputs.push({ shape: [m, n], dtype: dtypes.residual });
  if (accumulate) inputs.push({ shape: [m, n], dtype: dtypes.c });
  const attrs: ProbeAttrs = {
    m,
    n,
    k,
    a: { ld: aTransposed ? m : k, transposed: aTransposed },
    b: { ld: bTransposed ? k : n, transposed: bTransposed },
    c: { ld: n },
    output: { shape: [m, n], dtype: dtypes.c ?? "f32" },
    bias,
    residual,
    accumulate,
    alpha,
    tileRows,
  };
  const what = `${m}×${n}×${k} ${aTransposed ? "t" : "n"}${bTransposed ? "t" : "n"}`;
  return checkKernel(matmulProbe, inputs, attrs, { target: options.target, terms: k, what });
}

const FORMS = [false, true].flatMap((aTransposed) =>
  [false, true].map((bTransposed) => ({ aTransposed, bTransposed }))
);

for (const [family, target] of FAMILIES) {
  Deno.test(
    `${family} product equals its reference at sizes below, at and above a tile`,
    deviceTest,
    async () => {
      // m, n, k: one; primes; multiples of four; tile − 1, tile, tile + 1; several tiles; long k with a remainder.
      const sizes = [
        [1, 1, 1],
        [7, 5, 3],
        [8, 12, 4],
        [31, 33, 15],
        [32, 32, 16],
        [33, 31, 17],
        [65, 67, 71],
        [40, 132, 36],
      ];
      for (const form of FORMS) {
        for (const [m, n, k] of sizes) await checkProduct(m, n, k, { ...form, target });
      }
    },
  );

  Deno.test(`${family} product equals its reference in every tile`, deviceTest, async () => {
    for (const tileRows of tilesOf(target)) {
      for (const form of FORMS) {
        // One row and column less than a tile, with a remainder of k; more than one tile each way, multiples of eight.
        for (const [m, n, k] of [[tileRows - 1, 31, 19], [tileRows + 8, 136, 40]]) {
          await checkProduct(m, n, k, { ...form, target, tileRows });
        }
      }
    }
  });

  Deno.test(
    `${family} product takes vec4s for some operands and scalars for others`,
    deviceTest,
    async () => {
      // Extents that are multiples of four in two dimensions, in one, in none.
      for (const form of FORMS) {
        for (
          const [m, n, k] of [[12, 20, 7], [12, 9, 20], [9, 12, 20], [12, 9, 7], [9, 20, 7], [9, 7, 12], [
            40,
            72,
            24,
          ]]
        ) {
          await checkProduct(m, n, k, { ...form, target, tileRows: SMALL });
        }
      }
    },
  );

  Deno.test(`${family} product adds bias, residual and C, and scales by alpha`, deviceTest, async () => {
    for (const [m, n, k] of [[20, 36, 12], [11, 13, 10]]) {
      await checkProduct(m, n, k, { target, tileRows: SMALL, bias: true, alpha: -0.375 });
      await checkProduct(m, n, k, { target, tileRows: SMALL, residual: true, alpha: 3 });
      await checkProduct(m, n, k, { target, tileRows: SMALL, accumulate: true, alpha: 0.5 });
      await checkProduct(m, n, k, {
        target,
        bias: true,
        residual: true,
        accumulate: true,
        aTransposed: true,
      });
    }
  });

  Deno.test(`${family} product mixes f32 and f16 operands`, deviceTest, async (t) => {
    if (!(await sharedDevice()).gpu.target.shaderF16) {
      return void await t.step({ name: "needs shader-f16", ignore: true, fn() {} });
    }
    for (const [m, n, k] of [[20, 36, 12], [11, 13, 10]]) {
      for (const form of FORMS) {
        await checkProduct(m, n, k, {
          target,
          tileRows: SMALL,
          ...form,
          dtypes: { a: "f16", b: "f32", c: "f16" },
        });
        await checkProduct(m, n, k, {
          target,
          tileRows: SMALL,
          ...form,
          dtypes: { a: "f32", b: "f16", c: "f32" },
        });
      }
      const dtypes = { a: "f16", b: "f16", c: "f16", bias: "f32", residual: "f16" } as const;
      await checkProduct(m, n, k, { target, tileRows: SMALL, dtypes, bias: true, residual: true });
      await checkProduct(m, n, k, {
        target,
        dtypes: { ...dtypes, c: "f32", residual: "f32" },
        bias: true,
        residual: true,
      });
      await checkProduct(m, n, k, { target, tileRows: SMALL, dtypes, accumulate: true });
    }
  });

  Deno.test(`${family} product walks batches with strides, offsets and repeats`, deviceTest, async () => {
    for (const [T, D] of [[13, 6], [36, 8]]) {
      const B = 2, H = 3, C = H * D;
      // Scores of interleaved heads: q and k lie in one value [B, T, 3·C], one binding.
      await checkKernel(matmulProbe, [{ shape: [B, T, 3 * C] }], {
        m: T,
        n: T,
        k: D,
        batch: [B, H],
        a: { ld: 3 * C, strides: [T * 3 * C, D] },
        b: { ld: 3 * C, offset: C, transposed: true, strides: [T * 3 * C, D] },
        c: { ld: T, strides: [H * T * T, T * T] },
        output: { shape: [B, H, T, T], dtype: "f32" },
        alpha: D ** -0.5,
        oneValue: true,
      }, { target, terms: D });
      // Keys shared by the heads of a group (stride 0), three batch dimensions, C interleaved.
      await checkKernel(matmulProbe, [{ shape: [B, 2, H, T, T] }, { shape: [B, 2, T, D] }], {
        m: T,
        n: D,
        k: T,
        batch: [B, 2, H],
        a: { ld: T, strides: [2 * H * T * T, H * T * T, T * T] },
        b: { ld: D, strides: [2 * T * D, T * D, 0] },
        c: { ld: 2 * C, strides: [T * 2 * C, C, D] },
        output: { shape: [B, T, 2 * C], dtype: "f32" },
      }, { target, terms: T });
    }
  });

  Deno.test(`${family} product splits operands past the binding limit`, deviceTest, async () => {
    const small = { ...target, maxStorageBufferBindingSize: 4096 };
    for (const form of FORMS) {
      // Each of A, B and C passes 4096 bytes, aligned and not.
      for (const [m, n, k] of [[48, 40, 52], [37, 41, 43], [5, 3, 2100], [2100, 3, 5], [3, 2100, 5]]) {
        await checkProduct(m, n, k, {
          ...form,
          target: small,
          tileRows: SMALL,
          bias: true,
          residual: true,
          alpha: 2,
        });
      }
    }
    // Batches: each fits, all together do not.
    await checkKernel(matmulProbe, [{ shape: [6, 20, 12] }, { shape: [6, 12, 20] }], {
      m: 20,
      n: 20,
      k: 12,
      batch: [3, 2],
      a: { ld: 12, strides: [480, 240] },
      b: { ld: 20, strides: [480, 240] },
      c: { ld: 20, strides: [800, 400] },
      output: { shape: [6, 20, 20], dtype: "f32" },
    }, { target: small, terms: 12 });
  });

  Deno.test(`${family} product folds grids past the workgroup limit`, deviceTest, async () => {
    // 28 tiles fold into 6 × 5 workgroups; the two to spare must not add to C a second time.
    await checkProduct(100, 196, 8, {
      target: { ...target, maxComputeWorkgroupsPerDimension: 6 },
      accumulate: true,
    });
  });

  Deno.test(`${family} product ignores what lies beyond its operands`, deviceTest, async () => {
    // Infinite padding between rows and after the last one: any product with it would show as NaN or infinity.
    for (const [m, n, k, ld] of [[9, 12, 8, 12], [12, 12, 12, 16], [7, 5, 6, 9]]) {
      const padded = (rows: number, columns: number, seed: number) => {
        const data = new Float64Array(rows * ld).fill(Infinity);
        for (let i = 0; i < rows; i++) {
          for (let j = 0; j < columns; j++) data[i * ld + j] = Math.sin(seed + i * columns + j);
        }
        return { shape: [rows, ld], data };
      };
      for (const { aTransposed, bTransposed } of FORMS) {
        await checkKernel(matmulProbe, [
          aTransposed ? padded(k, m, 1) : padded(m, k, 1),
          bTransposed ? padded(n, k, 2) : padded(k, n, 2),
        ], {
          m,
          n,
          k,
          a: { ld, transposed: aTransposed },
          b: { ld, transposed: bTransposed },
          c: { ld: n },
          output: { shape: [m, n], dtype: "f32" },
        }, { target, terms: k });
      }
    }
  });
}

Deno.test(
  "a product has the same bits on every run, and in every tile that a row may fall into",
  deviceTest,
  async () => {
    for (const [, target] of FAMILIES) {
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

Deno.test("matmulCommands() refuses what it cannot bind or would overwrite", () => {
  const located = (buffer: number, dtype: Dtype = "f32"): Located => (
    { name: `v${buffer}`, shape: [4, 4], dtype, buffer, byteOffset: 0, byteLength: 64 }
  );
  const operand = (buffer: number, dtype?: Dtype) => ({ value: located(buffer, dtype), ld: 4 });
  const target: Target = {
    maxStorageBufferBindingSize: 4096,
    maxComputeWorkgroupsPerDimension: 65535,
    maxComputeWorkgroupStorageSize: 16384,
    maxComputeInvocationsPerWorkgroup: 256,
    subgroupSize: 8,
    software: true,
    shaderF16: true,
  };
  const spec = { name: "test", m: 4, n: 4, k: 4, a: operand(0), b: operand(1), c: operand(2) };
  assert.equal(matmulCommands(spec, target).length, 1);
  assert.throws(() => matmulCommands({ ...spec, c: operand(1) }, target), /over an operand/);
  assert.throws(() => matmulCommands({ ...spec, b: operand(1, "u32") }, target), TypeError);
  assert.throws(() => matmulCommands({ ...spec, m: 5 }, target), /Cannot read a/);
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
  assert.equal(matmulCommands({ ...spec, b: { ...codes, ld: 40 } }, target).length, 1);
  assert.throws(() => matmulCommands({ ...spec, b: { ...codes, ld: 42 } }, target), /Cannot read b/);
  assert.throws(() => matmulCommands({ ...spec, a: codes }, target), /only B can be quantized/);
  assert.throws(() => matmulCommands({ ...spec, b: { ...codes, value: located(1) } }, target), /expected u8/);
  const blockless = { ...codes, quantized: { ...quantized, quantBlockSize: 0 } };
  assert.throws(() => matmulCommands({ ...spec, b: blockless }, target), /blocks of 0/);
  assert.throws(() => matmulCommands({ ...spec, k: 0 }, target), RangeError);
  assert.throws(() => matmulCommands({ ...spec, batch: [1, 1, 1, 1] }, target), /at most 3/);
  assert.throws(
    () => matmulCommands(spec, { ...target, maxStorageBufferBindingSize: 2 }),
    /however the product is split/,
  );
});
