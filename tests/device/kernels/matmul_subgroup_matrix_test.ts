// Products on a device's matrix units. Skipped where there are none: on wgpu, and on most software adapters.
import assert from "node:assert/strict";
import type { Dispatch } from "../../../engine/graph/launch.ts";
import { defineOp } from "../../../kernels/define_op.ts";
import type { OpDefinition } from "../../../engine/graph/op.ts";
import type { Dtype } from "../../../engine/graph/types.ts";
import { SUBGROUP_MATRIX } from "../../../engine/runtime/provider_contract.ts";
import { linear, linearWeightGrad } from "../../../kernels/linear.ts";
import { checkKernel, type TestInput } from "../../support/check_op.ts";
import { matmulProbe, type ProbeAttrs } from "../../support/matmul_probe.ts";
import { isLongRun } from "../../support/long_run.ts";
import { deviceTest, sharedDevice } from "../../support/with_device.ts";
import type { KernelChanges } from "../../support/kernel_changes.ts";

const { kind, target: { subgroupMatrix: shape } } = (await sharedDevice()).gpu.kernels;
const NEEDS = `needs ${SUBGROUP_MATRIX}`;
const options = { ...deviceTest, ignore: !shape };
/** Large tiles take a software adapter up to a minute each to compile. */
const tilesOptions = { ...options, ignore: !shape || (kind === "software" && !isLongRun) };
/** A software adapter's matrix units are there to be tested: its rules name another family. */
const target: KernelChanges = { kind: "gpu", scratchBytes: 0 };

const FORMS = [false, true].flatMap((aTransposed) =>
  [false, true].map((bTransposed) => ({ aTransposed, bTransposed }))
);

/** The probe, in the tile of a name, or in the rules'; either has to be of matrices. */
function probeIn(name?: string): OpDefinition<ProbeAttrs> {
  return defineOp<ProbeAttrs>({
    ...matmulProbe,
    lower: (context) =>
      (matmulProbe.lower(context) as Dispatch[]).map((dispatch) => {
        const launch = name === undefined ? dispatch : dispatch.choice!.use(name);
        assert.match(launch.choice!.chosen, /^matrix /);
        return launch;
      }),
  });
}

interface ProductOptions extends Partial<Pick<ProbeAttrs, "bias" | "residual" | "accumulate" | "alpha">> {
  aTransposed?: boolean;
  bTransposed?: boolean;
  c?: Dtype;
  tile?: string;
  target?: KernelChanges;
}

/** Checks one unbatched product of packed f16 operands. */
async function checkProduct(m: number, n: number, k: number, options: ProductOptions = {}): Promise<void> {
  const { aTransposed = false, bTransposed = false, c = "f32", tile, ...rest } = options;
  const { bias, residual, accumulate, alpha } = rest;
  const inputs: TestInput[] = [
    { shape: aTransposed ? [k, m] : [m, k], dtype: "f16" },
    { shape: bTransposed ? [n, k] : [k, n], dtype: "f16" },
  ];
  if (bias) inputs.push({ shape: [n], dtype: c });
  if (residual) inputs.push({ shape: [m, n], dtype: c });
  if (accumulate) inputs.push({ shape: [m, n], dtype: c });
  const attrs: ProbeAttrs = {
    m,
    n,
    k,
    a: { ld: aTransposed ? m : k, transposed: aTransposed },
    b: { ld: bTransposed ? k : n, transposed: bTransposed },
    c: { ld: n },
    output: { shape: [m, n], dtype: c },
    bias,
    residual,
    accumulate,
    alpha,
  };
  const what = `${m}×${n}×${k} ${aTransposed ? "t" : "n"}${bTransposed ? "t" : "n"} ${tile ?? ""}`;
  await checkKernel(probeIn(tile), inputs, attrs, { target: { ...target, ...rest.target }, terms: k, what });
}

Deno.test(`a product of f16 by matrices equals its reference around a tile (${NEEDS})`, options, async () => {
  // One; primes; eights, fours and odd extents along each side; tile − 1, tile, tile + 1; several tiles.
  const sizes = [[1, 1, 1], [7, 5, 3], [8, 16, 24], [12, 20, 28], [15, 17, 31], [16, 16, 16], [33, 34, 35], [
    40,
    132,
    72,
  ]];
  for (const form of FORMS) {
    for (const [m, n, k] of sizes) await checkProduct(m, n, k, form);
  }
});

Deno.test(`a product by matrices equals its reference in every tile (${NEEDS})`, tilesOptions, async () => {
  const rows = 16 * shape!.m;
  for (const form of [FORMS[0], FORMS[3]]) {
    for (const tile of await tileNames()) await checkProduct(rows - 1, 2 * rows + 8, 72, { ...form, tile });
  }
});

/** All tiles of a product large enough for each. */
async function tileNames(): Promise<readonly string[]> {
  let names: readonly string[] = [];
  const probe = defineOp<ProbeAttrs>({
    ...matmulProbe,
    lower: (context) => {
      const [launch] = matmulProbe.lower(context) as Dispatch[];
      names = launch.choice!.names;
      return [launch];
    },
  });
  const size = 16 * shape!.m;
  await checkKernel(probe, [{ shape: [size, 8], dtype: "f16" }, { shape: [8, size], dtype: "f16" }], {
    m: size,
    n: size,
    k: 8,
    a: { ld: 8 },
    b: { ld: size },
    c: { ld: size },
    output: { shape: [size, size], dtype: "f32" },
  }, { target, terms: 8 });
  assert.ok(names.length > 3 && names.every((name) => name.startsWith("matrix ")), names.join());
  return names;
}

Deno.test(`a product by matrices adds bias, residual and C, and scales (${NEEDS})`, options, async () => {
  for (const c of ["f32", "f16"] as const) {
    for (const [m, n, k] of [[20, 36, 16], [11, 13, 10]]) {
      await checkProduct(m, n, k, { c, bias: true, alpha: -0.375 });
      await checkProduct(m, n, k, { c, bias: true, residual: true, alpha: 3 });
      await checkProduct(m, n, k, { c, accumulate: true, alpha: 0.5 });
      await checkProduct(m, n, k, { c, bias: true, residual: true, accumulate: true, aTransposed: true });
    }
  }
});

Deno.test(
  `a product by matrices walks batches with strides, offsets and repeats (${NEEDS})`,
  options,
  async () => {
    for (const [T, D] of [[13, 6], [36, 8]]) {
      const B = 2, H = 3, C = H * D;
      // Scores of interleaved heads: q and k lie in one value [B, T, 3·C], one binding.
      await checkKernel(probeIn(), [{ shape: [B, T, 3 * C], dtype: "f16" }], {
        m: T,
        n: T,
        k: D,
        batch: [B, H],
        a: { ld: 3 * C, strides: [T * 3 * C, D] },
        b: { ld: 3 * C, offset: C, transposed: true, strides: [T * 3 * C, D] },
        c: { ld: T, strides: [H * T * T, T * T] },
        output: { shape: [B, H, T, T], dtype: "f16" },
        alpha: D ** -0.5,
        oneValue: true,
      }, { target, terms: D });
      // Keys shared by the heads of a group (stride 0), three batch dimensions, C interleaved.
      const values = [{ shape: [B, 2, H, T, T], dtype: "f16" }, {
        shape: [B, 2, T, D],
        dtype: "f16",
      }] as const;
      await checkKernel(probeIn(), values, {
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
  },
);

Deno.test(
  `a product by matrices splits operands and folds grids past the limits (${NEEDS})`,
  options,
  async () => {
    for (const form of [FORMS[0], FORMS[3]]) {
      for (const [m, n, k] of [[48, 40, 72], [37, 41, 83], [5, 3, 2100], [2100, 3, 5]]) {
        const small = { maxStorageBufferBindingSize: 4096 };
        await checkProduct(m, n, k, { ...form, target: small, bias: true, residual: true, alpha: 2 });
      }
    }
    // Workgroups to spare must not add to C a second time.
    await checkProduct(100, 196, 8, { target: { maxComputeWorkgroupsPerDimension: 12 }, accumulate: true });
  },
);

Deno.test(`a product by matrices ignores what lies beyond its operands (${NEEDS})`, options, async () => {
  // Infinite padding between rows and after the last one: any product with it would show as NaN or infinity.
  for (const [m, n, k, ld] of [[9, 12, 8, 12], [16, 24, 8, 32], [12, 12, 12, 16], [7, 5, 6, 9]]) {
    const padded = (rows: number, columns: number, seed: number) => {
      const data = new Float64Array(rows * ld).fill(Infinity);
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < columns; j++) data[i * ld + j] = Math.sin(seed + i * columns + j);
      }
      return { shape: [rows, ld], data, dtype: "f16" as const };
    };
    for (const { aTransposed, bTransposed } of FORMS) {
      await checkKernel(probeIn(), [
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

Deno.test(
  `linear and its weight gradient, with sums for the bias, by matrices (${NEEDS})`,
  options,
  async () => {
    const f16 = "f16" as const;
    for (const [rows, cIn, cOut] of [[33, 20, 36], [7, 13, 5], [80, 72, 200]]) {
      for (const transposedWeight of [false, true]) {
        const w = { shape: transposedWeight ? [cOut, cIn] : [cIn, cOut] };
        const [x, dy] = [{ shape: [rows, cIn], dtype: f16 }, { shape: [rows, cOut], dtype: f16 }];
        const bias = { shape: [cOut] };
        const attrs = { transposedWeight, bias: true, residual: true };
        await checkKernel(linear, [x, { ...w, dtype: f16 }, { ...bias, dtype: f16 }, dy], attrs, {
          target,
          terms: cIn,
        });
        for (const prior of [false, true]) {
          const inputs = prior ? [x, dy, w, bias] : [x, dy];
          const check = { target, terms: rows };
          await checkKernel(linearWeightGrad, inputs, { transposedWeight, bias: true }, check);
        }
      }
    }
  },
);

Deno.test(`a product with an operand of f32 has no tile of matrices (${NEEDS})`, options, async () => {
  const probe = defineOp<ProbeAttrs>({
    ...matmulProbe,
    lower: (context) => {
      const launches = matmulProbe.lower(context) as Dispatch[];
      for (const { choice } of launches) {
        assert.ok(choice!.names.every((name) => name.startsWith("workgroup ")), choice!.names.join());
      }
      return launches;
    },
  });
  await checkKernel(probe, [{ shape: [8, 8], dtype: "f16" }, { shape: [8, 8] }], {
    m: 8,
    n: 8,
    k: 8,
    a: { ld: 8 },
    b: { ld: 8 },
    c: { ld: 8 },
    output: { shape: [8, 8], dtype: "f32" },
  }, { target, terms: 8 });
});
