import assert from "node:assert/strict";
import { gelu, geluGrad } from "../../../kernels/elementwise.ts";
import { linear, linearInputGrad } from "../../../kernels/linear.ts";
import { linearGelu, linearInputGradGelu } from "../../../kernels/linear_gelu.ts";
import { checkKernel } from "../../support/check_op.ts";
import { FAMILIES } from "../../support/matmul_checks.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { isLongRun } from "../../support/long_run.ts";
import { deviceTestOf } from "../../support/with_device.ts";
import type { KernelChanges } from "../../support/kernel_changes.ts";

const GELU = { approximation: "tanh" } as const;
/** Rows, input and output channels: whole vectors of four, and none. */
const SIZES = [[20, 12, 36], [11, 10, 13]] as const;

/** Families whose kernels differ in how they store; that of buffers differs in loads of operands alone. */
const families = [FAMILIES.own, FAMILIES.workgroup, ...isLongRun ? [FAMILIES.buffers] : []];

/**
 * Both ops at one size, against their references and bit for bit against one kernel after the other.
 *
 * @param target Applies to the fused kernels alone.
 */
async function checkBoth(
  [rows, cIn, cOut]: readonly [number, number, number],
  dtype: "f32" | "f16",
  attrs: { transposedWeight: boolean; approximation: "tanh" | "erf" },
  target: KernelChanges,
) {
  // Results from −8 to 8, where GELU bends and where it does not.
  const x = { shape: [rows, cIn], dtype, scale: 4 };
  const weight = (i: number, o: number) => ({ shape: attrs.transposedWeight ? [o, i] : [i, o], dtype });
  const inputs = [x, weight(cIn, cOut), { shape: [cOut], dtype }, { shape: [rows, cOut], dtype }];
  const linearAttrs = { transposedWeight: attrs.transposedWeight, bias: true, residual: true };
  const check = { terms: cIn, what: `${rows} × ${cIn} → ${cOut}` };
  const fused = await checkKernel(linearGelu, inputs, { ...linearAttrs, ...attrs }, { ...check, target });
  const [h] = await checkKernel(linear, inputs, linearAttrs, check);
  assert.deepEqual(fused[0], h);
  assert.deepEqual(fused[1], (await checkKernel(gelu, [{ shape: [rows, cOut], dtype, data: h }], attrs))[0]);

  const dy = { shape: [rows, cIn], dtype, data: seededNumbers(rows * cIn, 9) };
  const operands = [dy, weight(cOut, cIn)];
  const before = { shape: [rows, cOut], dtype, data: h };
  const [dh] = await checkKernel(linearInputGradGelu, [...operands, before], attrs, { ...check, target });
  const [dg] = await checkKernel(linearInputGrad, operands, attrs, check);
  const [expected] = await checkKernel(geluGrad, [before, { shape: [rows, cOut], dtype, data: dg }], attrs);
  assert.deepEqual(dh, expected);
}

for (const dtype of ["f32", "f16"] as const) {
  const options = await deviceTestOf(dtype);
  for (const [family, target] of families) {
    Deno.test(
      `${family} product fuses GELU and its gradient in ${dtype}, with the same bits`,
      options,
      async () => {
        for (const size of dtype === "f16" && !isLongRun ? SIZES.slice(0, 1) : SIZES) {
          await checkBoth(size, dtype, { transposedWeight: false, ...GELU }, target);
        }
      },
    );
  }
}

Deno.test("a product fuses the exact GELU with a transposed weight", await deviceTestOf("f32"), async () => {
  await checkBoth(SIZES[0], "f32", { transposedWeight: true, approximation: "erf" }, {});
});

Deno.test(
  "a product whose terms are split applies GELU after they have met",
  await deviceTestOf("f32"),
  async () => {
    const checkSplit = async ([rows, cIn, cOut]: number[], target: KernelChanges) => {
      const check = { target, terms: cIn, what: `${rows} × ${cIn} → ${cOut}` };
      const attrs = { transposedWeight: false, bias: false, residual: false, ...GELU };
      const inputs = [{ shape: [rows, cIn] }, { shape: [cIn, cOut] }];
      const [h, activated] = await checkKernel(linearGelu, inputs, attrs, check);
      assert.deepEqual((await checkKernel(gelu, [{ shape: [rows, cOut], data: h }], GELU))[0], activated);
      const operands = [{ shape: [rows, cIn] }, { shape: [cOut, cIn] }, { shape: [rows, cOut] }];
      await checkKernel(linearInputGradGelu, operands, { transposedWeight: false, ...GELU }, check);
    };
    // A row of x alone passes what may be bound.
    await checkSplit([3, 2100, 5], { maxStorageBufferBindingSize: 4096, scratchBytes: 0 });
    // Where there is a scratch texture: it takes half of the operands.
    await checkSplit([64, 1024, 64], { scratchBytes: 2 ** 18 });
  },
);
