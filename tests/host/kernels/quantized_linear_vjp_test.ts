import assert from "node:assert/strict";
import { ShapeError } from "../../../engine/graph/op.ts";
import {
  dequantizationTables,
  quantizedLinear,
  type QuantizedLinearAttrs,
  quantizedTypes,
} from "../../../kernels/quantized_linear.ts";
import { checkVjp, type TestInput } from "../../support/check_op.ts";
import { seededIntegers, seededNumbers } from "../../support/seeded.ts";

const WEIGHT = { cIn: 6, cOut: 5, quantBlockSize: 8, bias: true, residual: true };
const FORMATS: QuantizedLinearAttrs[] = [
  { ...WEIGHT, format: "nf4", doubleQuantization: false },
  { ...WEIGHT, format: "nf4", doubleQuantization: true },
  { ...WEIGHT, format: "int8", quantBlockSize: 6, doubleQuantization: false },
];

/** Rows of x, the storage of any weight, then bias and residual. */
function inputsOf(attrs: QuantizedLinearAttrs, rows: number): TestInput[] {
  const types = quantizedTypes(attrs);
  const data = [
    seededIntegers(types[0].shape[0], 256, 3),
    attrs.doubleQuantization
      ? seededIntegers(types[1].shape[0], 256, 4)
      : seededNumbers(types[1].shape[0], 4).map(Math.abs),
    seededNumbers(types[2].shape[0], 5).map(Math.abs),
    dequantizationTables(),
  ];
  return [
    { shape: [rows, attrs.cIn] },
    ...types.map(({ shape, dtype }, i) => ({ shape, dtype, data: data[i] })),
    { shape: [attrs.cOut] },
    { shape: [rows, attrs.cOut] },
  ];
}

for (const attrs of FORMATS) {
  const name = `${attrs.format}${attrs.doubleQuantization ? " with double quantization" : ""}`;
  Deno.test(`VJP of quantized_linear agrees with central differences, ${name}`, () => {
    const inputs = inputsOf(attrs, 4);
    // Codes, scales and tables are frozen: the gradients are those of input, bias and residual.
    checkVjp(quantizedLinear, inputs, attrs, { wrt: [0, 5, 6] });
    checkVjp(quantizedLinear, inputs.slice(0, 6), { ...attrs, residual: false }, { wrt: [0, 5] });
    checkVjp(quantizedLinear, inputs.slice(0, 5), { ...attrs, bias: false, residual: false }, { wrt: [0] });
  });
}

Deno.test("quantized_linear refuses storage of another weight", () => {
  const [nf4] = FORMATS;
  const types = inputsOf(nf4, 4).map(({ shape, dtype = "f32" as const }) => ({ shape, dtype }));
  assert.deepEqual(quantizedLinear.inferTypes(types, nf4), [{ shape: [4, 5], dtype: "f32" }]);
  assert.throws(() => quantizedLinear.inferTypes(types, { ...nf4, cIn: 7 }), ShapeError);
  assert.throws(() => quantizedLinear.inferTypes(types, { ...nf4, quantBlockSize: 4 }), ShapeError);
  assert.throws(() => quantizedLinear.inferTypes(types, { ...nf4, doubleQuantization: true }), ShapeError);
  assert.throws(() => quantizedLinear.inferTypes(types, { ...nf4, format: "int8" }), ShapeError);
  assert.throws(() => quantizedLinear.inferTypes(types.slice(1), nf4), ShapeError);
});
