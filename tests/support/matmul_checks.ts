import type { Dtype } from "../../engine/graph/types.ts";
import { checkKernel, type TestInput } from "./check_op.ts";
import { matmulProbe, type ProbeAttrs } from "./matmul_probe.ts";
import { isLongRun } from "./long_run.ts";
import { deviceTest, runsF16 } from "./with_device.ts";
import type { KernelChanges } from "./kernel_changes.ts";

/** Kernel families by name, with the change of target that chooses them; the software adapter runs all. */
export const FAMILIES = {
  own: ["this adapter's", {}],
  /** Read from buffers: what Mesa's software adapter does where operands do not fall into whole vectors. */
  buffers: ["this adapter's, from buffers,", { scratchBytes: 0 }],
  workgroup: ["workgroup", { kind: "gpu", subgroupSize: 0 }],
} as const satisfies Record<string, readonly [string, KernelChanges]>;

interface ProductOptions {
  aTransposed?: boolean;
  bTransposed?: boolean;
  bias?: boolean;
  residual?: boolean;
  accumulate?: boolean;
  alpha?: number;
  dtypes?: Partial<Record<"a" | "b" | "c" | "bias" | "residual", Dtype>>;
  target?: KernelChanges;
  tileRows?: number;
}

/**
 * Rows of every tile a family can choose; without being told, only products of
 * millions of outputs take the largest.
 */
const tilesOf = (target: KernelChanges) => target.kind === "gpu" ? [32, 64, 128] : [8, 32, 64];
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

/**
 * Declares the tests of one kernel family. Each family has a file of its own, because compiling its kernels
 * takes one core for minutes and files run in parallel.
 */
export function testProducts(
  family: string,
  target: KernelChanges,
  options: typeof deviceTest & { ignore?: boolean } = deviceTest,
): void {
  // A GPU's own family has all forms; where a software adapter runs it beside its own, each operand both ways
  // has to do for what takes a minute to compile. What loads A and what loads B are independent texts.
  const bothWays = target.kind === "gpu" && !isLongRun ? [FORMS[0], FORMS[3]] : FORMS;

  Deno.test(
    `${family} product equals its reference at sizes below, at and above a tile`,
    options,
    async () => {
      // m, n, k: one; primes; multiples of four; tile − 1, tile, tile + 1;
      // several tiles; long k with a remainder.
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

  Deno.test(`${family} product equals its reference in every tile`, options, async () => {
    for (const tileRows of tilesOf(target)) {
      // Large tiles compile for seconds, the largest for many.
      const few = tileRows > 64 ? [FORMS[0]] : tileRows > 32 ? [FORMS[0], FORMS[3]] : FORMS;
      for (const form of isLongRun ? FORMS : few) {
        // One row and column less than a tile, with a remainder of k; more than
        // one tile each way, multiples of eight.
        for (const [m, n, k] of [[tileRows - 1, 31, 19], [tileRows + 8, 136, 40]]) {
          await checkProduct(m, n, k, { ...form, target, tileRows });
        }
      }
    }
  });

  Deno.test(
    `${family} product takes vec4s for some operands and scalars for others`,
    options,
    async () => {
      // Extents that are multiples of four in two dimensions, in one, in none.
      for (const form of bothWays) {
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

  Deno.test(`${family} product adds bias, residual and C, and scales by alpha`, options, async () => {
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

  Deno.test(`${family} product mixes f32 and f16 operands`, options, async (t) => {
    if (!await runsF16(t)) return;
    for (const [m, n, k] of [[20, 36, 12], [11, 13, 10]]) {
      for (const form of bothWays) {
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

  Deno.test(`${family} product walks batches with strides, offsets and repeats`, options, async () => {
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

  // How a product is split does not depend on the family.
  const splitting = { ...options, ignore: options.ignore || (target.kind === "gpu" && !isLongRun) };
  Deno.test(`${family} product splits operands past the binding limit`, splitting, async () => {
    const small = { ...target, maxStorageBufferBindingSize: 4096 };
    for (const form of bothWays) {
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
    // A scratch texture of four rows, past which A or B goes, or neither alone.
    for (const form of target.kind === "gpu" ? [] : FORMS) {
      for (const [m, n, k] of [[132, 128, 160], [4, 1028, 36], [516, 8, 36], [12, 20, 1200]]) {
        await checkProduct(m, n, k, { ...form, target: { ...target, scratchBytes: 65536 }, residual: true });
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

  Deno.test(`${family} product folds grids past the workgroup limit`, options, async () => {
    // 15 tiles of 32 × 32, 25 or 45 of subgroups of 8 lanes, 153 of 4: all fold into more workgroups than
    // there are tiles, and those to spare must not add to C a second time.
    await checkProduct(68, 140, 8, {
      target: { ...target, maxComputeWorkgroupsPerDimension: 14 },
      accumulate: true,
    });
  });

  Deno.test(`${family} product ignores what lies beyond its operands`, options, async () => {
    // Infinite padding between rows and after the last one: any product with it
    // would show as NaN or infinity.
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
