import { rmsNorm, rmsNormInputGrad, rmsNormParameterGrad } from "../../../kernels/rms_norm.ts";
import { checkKernel } from "../../support/check_op.ts";
import { deviceTest, deviceTestOf } from "../../support/with_device.ts";
import type { KernelChanges } from "../../support/kernel_changes.ts";

const FORMS: { name: string; target: KernelChanges }[] = [
  { name: "this adapter's form", target: {} },
  { name: "one row per workgroup", target: { kind: "gpu", subgroupSize: 0 } },
  { name: "one row per invocation", target: { kind: "software", subgroupSize: 0 } },
];
/** Rows around the 8 of a chunk, columns around a vector and a subgroup of vectors. */
const SIZES = [[1, 1], [7, 30], [8, 32], [9, 33], [300, 64]];

for (const dtype of ["f32", "f16"] as const) {
  const options = await deviceTestOf(dtype);
  for (const { name, target } of FORMS) {
    Deno.test(`rms_norm matches its reference in ${dtype}: ${name}`, options, async () => {
      for (const [rows, columns] of SIZES) {
        const x = { shape: [rows, columns], dtype };
        const w = { shape: [columns] };
        const rstd = { shape: [rows] };
        const terms = Math.max(rows, columns);
        await checkKernel(rmsNorm, [x, w], { eps: 1e-5 }, { target, terms });
        for (const prior of [false, true]) {
          const check = { target, terms, what: `[${rows}, ${columns}]${prior ? " with a prior" : ""}` };
          await checkKernel(rmsNormInputGrad, [x, w, rstd, x, ...(prior ? [x] : [])], { prior }, check);
          await checkKernel(rmsNormParameterGrad, [x, rstd, x, ...(prior ? [w] : [])], { prior }, {
            ...check,
            skipOutputs: [1],
          });
        }
      }
    });
  }
}

Deno.test("rms_norm splits values that pass the binding limit", deviceTest, async () => {
  const target = { maxStorageBufferBindingSize: 256 * 12 * 4 };
  const x = { shape: [600, 12] };
  const rstd = { shape: [600] };
  await checkKernel(rmsNorm, [x, { shape: [12] }], { eps: 1e-6 }, { target, terms: 12 });
  await checkKernel(rmsNormInputGrad, [x, { shape: [12] }, rstd, x], { prior: false }, { target, terms: 12 });
  await checkKernel(rmsNormParameterGrad, [x, rstd, x], { prior: false }, {
    target,
    terms: 600,
    skipOutputs: [1],
  });
});

for (const dtype of ["f32", "f16"] as const) {
  const options = await deviceTestOf(dtype);
  for (const { name, target } of FORMS) {
    Deno.test(`rms_norm over heads, of weights less one, matches in ${dtype}: ${name}`, options, async () => {
      for (const [rows, heads, columns] of [[7, 3, 6], [9, 2, 33], [65, 4, 32]]) {
        const x = { shape: [rows, heads * columns], dtype };
        const w = { shape: [columns] };
        const rstd = { shape: [rows * heads] };
        const terms = rows * heads;
        for (const onePlus of [false, true]) {
          const check = { target, terms, what: `${heads} heads of ${columns}` };
          await checkKernel(rmsNorm, [x, w], { eps: 1e-5, onePlus }, check);
          await checkKernel(rmsNormInputGrad, [x, w, rstd, x, x], { prior: true, onePlus }, check);
        }
        await checkKernel(rmsNormParameterGrad, [x, rstd, x, w], { prior: true }, {
          target,
          terms,
          skipOutputs: [1],
        });
      }
    });
  }
}

Deno.test("rms_norm over heads splits values that pass the binding limit", deviceTest, async () => {
  const check = { target: { maxStorageBufferBindingSize: 256 * 12 * 4 }, terms: 600 };
  const [x, w, rstd] = [{ shape: [300, 24] }, { shape: [12] }, { shape: [600] }];
  await checkKernel(rmsNorm, [x, w], { eps: 1e-6 }, check);
  await checkKernel(rmsNormInputGrad, [x, w, rstd, x], { prior: false }, check);
  await checkKernel(rmsNormParameterGrad, [x, rstd, x], { prior: false }, { ...check, skipOutputs: [1] });
});
