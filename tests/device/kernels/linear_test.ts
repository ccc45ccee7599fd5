import assert from "node:assert/strict";
import { defineOp } from "../../../kernels/define_op.ts";
import { columnSum } from "../../../kernels/column_sum.ts";
import { linear, linearInputGrad, linearWeightGrad } from "../../../kernels/linear.ts";
import { checkKernel } from "../../support/check_op.ts";
import { isLongRun, longDeviceTest } from "../../support/long_run.ts";
import { deviceTest, runsF16 } from "../../support/with_device.ts";
import type { KernelChanges } from "../../support/kernel_changes.ts";

const FAMILIES: [string, KernelChanges][] = [
  ["this adapter's", {}],
  ["workgroup", { kind: "gpu", subgroupSize: 0 }],
];
/** Rows, Cin, Cout: one, primes, a tile and its neighbours, several tiles. */
const SIZES = [[1, 1, 1], [7, 13, 5], [31, 33, 32], [32, 32, 32], [33, 64, 100]];

for (const [family, target] of FAMILIES) {
  // What an op asks of a product, its adapter's family shows; the workgroup family has tests of its own for
  // every form but sums, and takes a software adapter a minute to compile for these.
  const options = target.kind === "gpu" ? longDeviceTest : deviceTest;

  Deno.test(`${family} linear equals its reference in both layouts of the weight`, options, async () => {
    for (const [rows, cIn, cOut] of SIZES) {
      for (const transposedWeight of [false, true]) {
        const x = { shape: [rows, cIn] };
        const w = { shape: transposedWeight ? [cOut, cIn] : [cIn, cOut] };
        const check = { target, terms: cIn };
        await checkKernel(linear, [x, w], { transposedWeight, bias: false, residual: false }, check);
        await checkKernel(
          linear,
          [x, w, { shape: [cOut] }, { shape: [rows, cOut] }],
          { transposedWeight, bias: true, residual: true },
          check,
        );
      }
    }
  });

  Deno.test(
    `${family} gradients of linear equal their references, with and without a prior`,
    options,
    async () => {
      for (const [rows, cIn, cOut] of SIZES) {
        for (const transposedWeight of [false, true]) {
          const x = { shape: [rows, cIn] };
          const dy = { shape: [rows, cOut] };
          const w = { shape: transposedWeight ? [cOut, cIn] : [cIn, cOut] };
          const attrs = { transposedWeight, bias: false };
          const withBias = { transposedWeight, bias: true };
          const bias = { shape: [cOut] };
          for (const prior of [false, true]) {
            await checkKernel(linearInputGrad, prior ? [dy, w, x] : [dy, w], attrs, { target, terms: cOut });
            const check = { target, terms: rows };
            await checkKernel(linearWeightGrad, prior ? [x, dy, w] : [x, dy], attrs, check);
            await checkKernel(linearWeightGrad, prior ? [x, dy, w, bias] : [x, dy], withBias, check);
          }
        }
      }
    },
  );

  Deno.test(`${family} linear keeps f32 weight gradients beside f16 activations`, options, async (t) => {
    if (!await runsF16(t)) return;
    const [rows, cIn, cOut] = [33, 20, 36];
    const f16 = "f16" as const;
    for (const transposedWeight of [false, true]) {
      const w = { shape: transposedWeight ? [cOut, cIn] : [cIn, cOut] };
      const x = { shape: [rows, cIn], dtype: f16 };
      const dy = { shape: [rows, cOut], dtype: f16 };
      const attrs = { transposedWeight, bias: true, residual: true };
      await checkKernel(linear, [x, { ...w, dtype: f16 }, { shape: [cOut], dtype: f16 }, dy], attrs, {
        target,
      });
      await checkKernel(linear, [x, w, { shape: [cOut] }, dy], attrs, { target });
      await checkKernel(linearInputGrad, [dy, { ...w, dtype: f16 }, x], { transposedWeight }, { target });
      const check = { target, terms: rows };
      await checkKernel(linearWeightGrad, [x, dy, w], { transposedWeight, bias: false }, check);
      await checkKernel(
        linearWeightGrad,
        [x, dy, w, { shape: [cOut] }],
        { transposedWeight, bias: true },
        check,
      );
    }
  });

  Deno.test(
    `${family} gradient of the bias is summed once however the product beside it is split, folded or tiled`,
    deviceTest,
    async () => {
      // Rows, columns and terms past the binding limit; more workgroups than a grid's row has, some to spare,
      // be it for 25 tiles of 32 × 32 or 306 of subgroups of 4 lanes; tall tiles.
      const cases = [
        [[60, 40, 52], { maxStorageBufferBindingSize: 4096 }],
        [[37, 41, 43], { maxStorageBufferBindingSize: 4096 }],
        [[9, 134, 134], { maxComputeWorkgroupsPerDimension: 24 }],
        // A tall tile of scalar loads takes a minute to compile on a software adapter.
        ...!isLongRun ? [] : [[[300, 513, 520], {}] as const],
        // What products in workgroup memory sum in large tiles has tests of its own.
        ...target.kind === "gpu" && !isLongRun ? [] : [[[300, 512, 520], {}] as const],
      ] as const;
      for (const [[rows, cIn, cOut], limits] of cases) {
        for (const transposedWeight of [false, true]) {
          const w = { shape: transposedWeight ? [cOut, cIn] : [cIn, cOut] };
          const inputs = [{ shape: [rows, cIn] }, { shape: [rows, cOut] }, w, { shape: [cOut] }];
          const check = { target: { ...target, ...limits }, terms: rows };
          await checkKernel(linearWeightGrad, inputs, { transposedWeight, bias: true }, check);
        }
      }
    },
  );

  Deno.test(
    `${family} column_sum equals its reference, split over the binding limit too`,
    deviceTest,
    async (t) => {
      for (
        const [rows, columns] of [[1, 1], [7, 13], [63, 31], [64, 32], [65, 36], [1000, 20], [300, 200], [
          301,
          30,
        ]]
      ) {
        for (const limit of [{}, { maxStorageBufferBindingSize: 4096 }]) {
          const check = { target: { ...target, ...limit }, terms: rows };
          await checkKernel(columnSum, [{ shape: [rows, columns] }], {}, check);
          await checkKernel(columnSum, [{ shape: [rows, columns] }, { shape: [columns] }], {}, check);
        }
      }
      const small = { ...target, maxComputeWorkgroupsPerDimension: 3 };
      await checkKernel(columnSum, [{ shape: [5, 76] }, { shape: [76] }], {}, { target: small, terms: 5 });
      if (!await runsF16(t)) return;
      for (const columns of [24, 13]) {
        await checkKernel(columnSum, [{ shape: [70, columns], dtype: "f16" }], {}, { target, terms: 70 });
      }
    },
  );
}

Deno.test("the gradient of a bias has the same bits beside products of any size", deviceTest, async () => {
  const [rows, cOut] = [299, 520];
  const dy = Float64Array.from({ length: rows * cOut }, (_, i) => Math.sin(i * 12.9898));
  for (const transposedWeight of [false, true]) {
    const runs: Float64Array[] = [];
    // The larger product has taller tiles.
    for (const cIn of [128, 512]) {
      const inputs = [{ shape: [rows, cIn] }, { shape: [rows, cOut], data: dy }];
      const [, db] = await checkKernel(linearWeightGrad, inputs, { transposedWeight, bias: true }, {
        terms: rows,
      });
      runs.push(db);
    }
    assert.deepEqual(runs[1], runs[0]);
  }
});

Deno.test("linear reads a residual that is its own input through one binding", deviceTest, async () => {
  const attrs = { transposedWeight: false, bias: false, residual: true };
  const ofItself = defineOp({
    name: "linear_of_itself",
    inferTypes: ([x, w]) => linear.inferTypes([x, w, x], attrs),
    lower: ({ inputs: [x, w], outputs, kernels }) => {
      const commands = linear.lower({ inputs: [x, w, x], outputs, attrs, kernels });
      for (const command of commands) {
        assert.ok("bindings" in command);
        // x, w and y; where the scratch texture is read, copies of x and w, and y.
        assert.equal(command.bindings.length, command.copies ? 1 : 3);
        assert.equal(command.copies?.length ?? 2, 2);
      }
      return commands;
    },
    reference: ([x, w], _, { inputs: [xType, wType], outputs }) =>
      linear.reference([x, w, x], attrs, { inputs: [xType, wType, xType], outputs }),
  });
  for (const [, target] of FAMILIES) {
    for (const size of [8, 7]) {
      await checkKernel(ofItself, [{ shape: [11, size] }, { shape: [size, size] }], {}, {
        target,
        terms: size,
      });
    }
  }
});
