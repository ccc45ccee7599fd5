import type { Dtype } from "../../../engine/graph/types.ts";
import { layerNorm, layerNormInputGrad, layerNormParameterGrad } from "../../../kernels/layer_norm.ts";
import { checkKernel, type TestInput } from "../../support/check_op.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { deviceTest, deviceTestOf, sharedDevice } from "../../support/with_device.ts";
import type { KernelChanges } from "../../support/kernel_changes.ts";
import { KERNEL_KINDS } from "../../../kernels/kernel_set.ts";

const { gpu } = await sharedDevice();

const EPS = 1e-5;
/**
 * One element, primes, one less and one more than a row of lanes, several
 * workgroups; widths with and without vec4.
 */
const SIZES = [[1, 1], [1, 4], [13, 30], [31, 28], [32, 32], [33, 36], [63, 5], [65, 64], [130, 260]];
const FORMS: Record<string, KernelChanges> = {
  "software, subgroups": { kind: "software" },
  "software, no subgroups": { kind: "software", subgroupSize: 0 },
  "GPU": { kind: "gpu" },
};

/** x, w, b and statistics that belong to x, which the gradient kernels assume. */
function rows(
  N: number,
  C: number,
  dtype: Dtype,
): Record<"x" | "w" | "b" | "mean" | "rstd" | "dy", TestInput> {
  const data = seededNumbers(N * C, 1);
  const x = dtype === "f16" ? Float64Array.from(Float16Array.from(data)) : data;
  const w = seededNumbers(C, 2);
  const types = { inputs: [{ shape: [N, C], dtype }], outputs: [] };
  const [, mean, rstd] = layerNorm.reference([x, w, w], { eps: EPS }, types);
  return {
    x: { shape: [N, C], dtype, data: x },
    w: { shape: [C], dtype, data: w },
    b: { shape: [C], dtype },
    mean: { shape: [N], data: mean },
    rstd: { shape: [N], data: rstd },
    dy: { shape: [N, C], dtype },
  };
}

for (const [form, target] of Object.entries(FORMS)) {
  const lacksSubgroups = form === "software, subgroups" && gpu.kernels.target.subgroupSize === 0;
  for (const dtype of ["f32", "f16"] as Dtype[]) {
    const { ignore } = await deviceTestOf(dtype);
    const options = { ...deviceTest, ignore: ignore || lacksSubgroups };
    Deno.test(`layer_norm in ${dtype} (${form}) agrees with the reference`, options, async () => {
      for (const [N, C] of SIZES) {
        const { x, w, b } = rows(N, C, dtype);
        await checkKernel(layerNorm, [x, w, b], { eps: EPS }, { target, terms: C });
      }
    });

    Deno.test(
      `layer_norm input gradient in ${dtype} (${form}) agrees with the reference`,
      options,
      async () => {
        for (const [N, C] of SIZES) {
          // With one column dx is zero, the difference of equal numbers: there is
          // no magnitude to measure errors by.
          if (C === 1) continue;
          const { x, w, mean, rstd, dy } = rows(N, C, dtype);
          const check = { target, terms: C };
          await checkKernel(layerNormInputGrad, [x, w, mean, rstd, dy], { prior: false }, check);
          await checkKernel(layerNormInputGrad, [x, w, mean, rstd, dy, { ...dy }], { prior: true }, check);
        }
      },
    );
  }
}

for (
  const [dtype, kind] of (["f32", "f16"] as Dtype[]).flatMap((dtype) =>
    KERNEL_KINDS.map((kind) => [dtype, kind] as const)
  )
) {
  const name = `layer_norm parameter gradients in ${dtype} (${kind}) agree with the reference, priors or not`;
  Deno.test(name, await deviceTestOf(dtype), async () => {
    for (const [N, C] of [...SIZES, [300, 8], [9, 124], [9, 516], [5, 131]]) {
      const { x, mean, rstd, dy } = rows(N, C, dtype);
      for (const priorW of [false, true]) {
        for (const priorB of [false, true]) {
          const priors = Array.from({ length: Number(priorW) + Number(priorB) }, () => ({ shape: [C] }));
          await checkKernel(layerNormParameterGrad, [x, mean, rstd, dy, ...priors], { priorW, priorB }, {
            target: { kind },
            terms: N,
            skipOutputs: [2],
          });
        }
      }
    }
  });
}

Deno.test("layer_norm splits operands over the binding limit", deviceTest, async () => {
  const target = { maxStorageBufferBindingSize: 256 * 4 * 12 };
  const [N, C] = [600, 10];
  const { x, w, b, mean, rstd, dy } = rows(N, C, "f32");
  await checkKernel(layerNorm, [x, w, b], { eps: EPS }, { target, terms: C });
  await checkKernel(layerNormInputGrad, [x, w, mean, rstd, dy], { prior: false }, { target, terms: C });
  await checkKernel(layerNormParameterGrad, [x, mean, rstd, dy], { priorW: false, priorB: false }, {
    target,
    terms: N,
    skipOutputs: [2],
  });
});

Deno.test(
  "layer_norm keeps its accuracy when the mean is large against the deviation",
  deviceTest,
  async () => {
    const [N, C] = [16, 256];
    // Multiples of 2⁻¹⁰ below 2¹²: exact in f32, so only the kernel's own rounding counts.
    const data = seededNumbers(N * C).map((v) => 3000 + Math.round(v * 1024) / 1024);
    const [x, w, b] = [{ shape: [N, C], data }, { shape: [C] }, { shape: [C] }];
    // The mean is rounded to 3000 · 2⁻²⁴ at best, the deviation is about 0.6.
    const allowed = 8 * 2 ** -24 * (3000 / 0.6);
    await checkKernel(layerNorm, [x, w, b], { eps: EPS }, { allowed });
  },
);
