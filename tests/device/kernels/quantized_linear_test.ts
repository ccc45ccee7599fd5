import assert from "node:assert/strict";
import { openSafetensors } from "../../../engine/formats/safetensors.ts";
import { dequantizeInt8 } from "../../../kernels/quantization.ts";
import {
  dequantizationTables,
  quantizedLinear,
  quantizedLinearInputGrad,
  quantizedTypes,
  type QuantizedWeightAttrs,
} from "../../../kernels/quantized_linear.ts";
import { checkKernel, type TestInput } from "../../support/check_op.ts";
import { seededIntegers, seededNumbers } from "../../support/seeded.ts";
import { isLongRun, longDeviceTest } from "../../support/long_run.ts";
import { deviceTest, runsF16 } from "../../support/with_device.ts";
import type { KernelChanges } from "../../support/kernel_changes.ts";

const FOLDER = new URL("../../fixtures/nf4/", import.meta.url).pathname;
const FAMILIES: [string, KernelChanges][] = [
  ["this adapter's", {}],
  ["workgroup", { kind: "gpu", subgroupSize: 0 }],
];
/**
 * Rows, cIn, cOut, weights in a block: one of each; an odd count in blocks across rows; rows of whole words
 * in blocks across rows; rows of half words; a row per block; several tiles of rows of whole blocks, k no
 * multiple of a step of them.
 */
const SIZES = [
  [1, 1, 1, 64],
  [3, 13, 7, 32],
  [5, 40, 9, 64],
  [7, 36, 20, 64],
  [4, 8, 40, 8],
  [33, 192, 72, 64],
  [8, 72, 136, 24],
];

/**
 * The sizes to check a family at. A GPU's own family has all; where a software
 * adapter runs it beside its own, and takes half a second to compile each form,
 * blocks across rows, half words and several tiles do, except in long runs.
 */
function sizesOf(target: KernelChanges): typeof SIZES {
  return target.kind === "gpu" && !isLongRun ? [SIZES[1], SIZES[3], SIZES[5]] : SIZES;
}

/** Storage of a weight nobody quantized: any codes and scales decode to something. */
function storage(attrs: QuantizedWeightAttrs, seed: number): TestInput[] {
  const types = quantizedTypes(attrs);
  const [codes, absmax, nested] = types.map(({ shape: [count] }) => count);
  return [
    seededIntegers(codes, 256, seed),
    attrs.doubleQuantization
      ? seededIntegers(absmax, 256, seed + 1)
      : seededNumbers(absmax, seed + 1).map((x) => 0.6 + 0.4 * x),
    attrs.doubleQuantization
      ? seededNumbers(nested, seed + 2).map((x, i) => (i === 0 ? 0.8 : 0.5 + 0.1 * x))
      : new Float64Array(nested),
    Float64Array.from(dequantizationTables()),
  ].map((data, i) => ({ shape: types[i].shape, dtype: types[i].dtype, data }));
}

/** Every format of a weight of these sizes; int8 has a scale a row. */
function formats(cIn: number, cOut: number, quantBlockSize: number): QuantizedWeightAttrs[] {
  return [
    { cIn, cOut, format: "nf4", quantBlockSize, doubleQuantization: false },
    { cIn, cOut, format: "nf4", quantBlockSize, doubleQuantization: true },
    { cIn, cOut, format: "int8", quantBlockSize: cIn, doubleQuantization: false },
  ];
}

for (const [family, target] of FAMILIES) {
  for (const dtype of ["f32", "f16"] as const) {
    Deno.test(
      `${family} product with a quantized weight equals its reference, ${dtype}`,
      // How workgroup products load halves, they show without codes.
      dtype === "f16" && target.kind === "gpu" ? longDeviceTest : deviceTest,
      async (t) => {
        if (dtype === "f16" && !await runsF16(t)) return;
        // Half precision changes how activations are loaded, which two sizes show.
        const sizes = dtype === "f32" ? sizesOf(target) : sizesOf(target).slice(1, 3);
        for (const [rows, cIn, cOut, quantBlockSize] of sizes) {
          for (const weight of formats(cIn, cOut, quantBlockSize)) {
            const what = `${weight.format}${
              weight.doubleQuantization ? " double" : ""
            } ${rows}×${cIn}×${cOut}`;
            const stored = storage(weight, 7);
            const x = { shape: [rows, cIn], dtype };
            const dy = { shape: [rows, cOut], dtype };
            // Every form is a kernel to compile: each size has some, all sizes all of them.
            const withBias = rows % 2 === 1;
            await checkKernel(
              quantizedLinear,
              [x, ...stored, ...withBias ? [{ shape: [cOut] }, dy] : []],
              { ...weight, bias: withBias, residual: withBias },
              { target, terms: cIn, what },
            );
            const prior = rows > 4 ? [x] : [];
            const check = { target, terms: cOut, what };
            await checkKernel(quantizedLinearInputGrad, [dy, ...stored, ...prior], weight, check);
          }
        }
      },
    );
  }

  // How a product is split does not depend on the family.
  const splitting = target.kind === "gpu" ? longDeviceTest : deviceTest;
  Deno.test(`${family} product splits codes past the binding limit`, splitting, async () => {
    const small = { ...target, maxStorageBufferBindingSize: 4096 };
    const [rows, terms] = [12, 200];
    const weights = [...formats(200, 96, 64), ...formats(99, 131, 64)];
    // int8 by whole words, double quantization by single codes.
    for (const weight of [weights[2], weights[4]]) {
      const { cIn, cOut } = weight;
      const stored = storage(weight, 11);
      assert.ok(quantizedTypes(weight)[0].shape[0] > 4096);
      const attrs = { ...weight, bias: true, residual: true };
      const [x, dy] = [{ shape: [rows, cIn] }, { shape: [rows, cOut] }];
      const check = { target: small, terms };
      await checkKernel(quantizedLinear, [x, ...stored, { shape: [cOut] }, dy], attrs, check);
      await checkKernel(quantizedLinearInputGrad, [dy, ...stored], weight, check);
    }
  });

  Deno.test(
    `${family} product with the identity gives back the weights that bitsandbytes decodes, bit for bit`,
    deviceTest,
    async () => {
      using nf4 = await openSafetensors(`${FOLDER}nf4.safetensors`);
      using blockwise = await openSafetensors(`${FOLDER}blockwise.safetensors`);
      for (
        const [name, cOut, cIn] of [["a", 64, 48], ["b", 33, 70], ["c", 160, 130], ["d", 9, 15]] as const
      ) {
        for (const doubleQuantization of [false, true]) {
          if (!doubleQuantization && !nf4.has(`${name}.dequantized`)) continue;
          const weight = { cIn, cOut, format: "nf4" as const, quantBlockSize: 64, doubleQuantization };
          const double = `${name}.double`;
          const nested = doubleQuantization
            ? [...await nf4.read(`${double}.offset`), ...await nf4.read(`${double}.nested_absmax`)]
            : [0];
          const absmax = doubleQuantization
            ? await nf4.readBytes(`${double}.codes`)
            : await nf4.read(`${name}.absmax`);
          const data = [await nf4.readBytes(`${name}.packed`), absmax, nested, dequantizationTables()];
          await checkDecoded(
            weight,
            data,
            await nf4.read(`${doubleQuantization ? double : name}.dequantized`),
            target,
          );
        }
      }
      const [cOut, cIn] = [7, 33];
      const codes = await blockwise.readBytes("int8.codes");
      const absmax = await blockwise.read("int8.absmax");
      await checkDecoded(
        { cIn, cOut, format: "int8", quantBlockSize: cIn, doubleQuantization: false },
        [codes, absmax, [0], dequantizationTables()],
        await blockwise.read("int8.dequantized"),
        target,
      );
      // The fixture's rows are no multiple of four; these take the path of whole words.
      const aligned = seededIntegers(24 * 16, 256, 5);
      const scales = Float32Array.from(seededNumbers(24, 6), Math.abs);
      await checkDecoded(
        { cIn: 16, cOut: 24, format: "int8", quantBlockSize: 16, doubleQuantization: false },
        [aligned, scales, [0], dequantizationTables()],
        dequantizeInt8({ codes: Int8Array.from(aligned), absmax: scales }),
        target,
      );
    },
  );
}

/**
 * Both forms of the product, with the identity for the other factor: every other
 * term is zero, so sums are exact.
 */
async function checkDecoded(
  weight: QuantizedWeightAttrs,
  data: readonly ArrayLike<number>[],
  expected: Float32Array,
  target: KernelChanges,
): Promise<void> {
  const { cIn, cOut } = weight;
  const stored = quantizedTypes(weight).map((type, i) => ({ ...type, data: data[i] }));
  const identity = (size: number) => ({
    shape: [size, size],
    data: Float64Array.from({ length: size * size }, (_, i) => Number(i % (size + 1) === 0)),
  });
  const attrs = { ...weight, bias: false, residual: false };
  const [columns] = await checkKernel(quantizedLinear, [identity(cIn), ...stored], attrs, { target });
  const [rows] = await checkKernel(quantizedLinearInputGrad, [identity(cOut), ...stored], weight, { target });
  for (let o = 0; o < cOut; o++) {
    for (let i = 0; i < cIn; i++) {
      const at = o * cIn + i;
      // −0 and 0 are one weight.
      assert.equal(columns[i * cOut + o] + 0, expected[at] + 0, `forward, weight [${o}, ${i}]`);
      assert.equal(rows[at] + 0, expected[at] + 0, `backward, weight [${o}, ${i}]`);
    }
  }
}
