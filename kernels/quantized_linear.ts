import type { Located } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { type OutputType, ShapeError } from "../engine/graph/op.ts";
import type { TensorType, Value } from "../engine/graph/types.ts";
import { columnSum } from "./column_sum.ts";
import { dynamicMap } from "./dynamic_map.ts";
import { matmulCommands } from "./matmul/matmul.ts";
import type { QuantizedOperand } from "./matmul/product.ts";
import { bytesOf, mayBeSplit, meetingType, unusedOutputs } from "./matmul/partial_sums.ts";
import { NESTED_BLOCK_SIZE, NF4_VALUES } from "./quantization.ts";

/** How a frozen weight is stored. */
export type QuantizedFormat = "nf4" | "int8";

/** What every op over a quantized weight knows of it; the weight is [cOut, cIn], flattened row by row. */
export interface QuantizedWeightAttrs {
  cIn: number;
  cOut: number;
  format: QuantizedFormat;
  /** Weights that share one absmax; for int8 the row, cIn. */
  quantBlockSize: number;
  /** Whether the absmax values are 8-bit codes themselves. */
  doubleQuantization: boolean;
}

/** Attributes of `quantizedLinear`. */
export interface QuantizedLinearAttrs extends QuantizedWeightAttrs {
  bias: boolean;
  residual: boolean;
}

/** The signed dynamic map, then the 16 values of NF4: what kernels decode with, f32 [272]. */
export function dequantizationTables(): Float32Array<ArrayBuffer> {
  return Float32Array.of(...dynamicMap(true), ...NF4_VALUES);
}
export const DEQUANTIZATION_TABLE_SIZE = 272;

/** Values that store one quantized weight, in the order in which ops take them. */
export const QUANTIZED_INPUTS = 4;

/**
 * Types of those values: codes u8, absmax (f32, or u8 codes under double quantization), nested f32 (the
 * offset, then one absmax per 256 blocks; a single zero without double quantization) and the decoding tables.
 */
export function quantizedTypes(attrs: QuantizedWeightAttrs): TensorType[] {
  const count = attrs.cIn * attrs.cOut;
  const blocks = Math.ceil(count / attrs.quantBlockSize);
  const nested = attrs.doubleQuantization ? 1 + Math.ceil(blocks / NESTED_BLOCK_SIZE) : 1;
  return [
    { shape: [attrs.format === "nf4" ? Math.ceil(count / 2) : count], dtype: "u8" },
    { shape: [blocks], dtype: attrs.doubleQuantization ? "u8" : "f32" },
    { shape: [nested], dtype: "f32" },
    { shape: [DEQUANTIZATION_TABLE_SIZE], dtype: "f32" },
  ];
}

/**
 * `linear` over a frozen, quantized weight:
 * `(x [N, cIn], codes, absmax, nested, tables, bias?, residual?) → y [N, cOut]`. Weights are decoded tile by
 * tile inside the product and never exist as a whole. The only gradient is the input's.
 */
export const quantizedLinear = defineOp<QuantizedLinearAttrs>({
  name: "quantized_linear",
  inferTypes: (inputs, attrs) => {
    const [x] = inputs;
    const expected = 1 + QUANTIZED_INPUTS + Number(attrs.bias) + Number(attrs.residual);
    if (inputs.length !== expected || x.shape.length !== 2 || x.shape[1] !== attrs.cIn) {
      throw new ShapeError(
        `Cannot apply quantized_linear to x [${x.shape}] and ${
          inputs.length - 1
        } more inputs: expected x [N, ${attrs.cIn}] and ${expected - 1}`,
      );
    }
    requireStorage("quantized_linear", inputs.slice(1), attrs);
    return [{ shape: [x.shape[0], attrs.cOut], dtype: x.dtype }];
  },
  lower: ({ inputs, outputs: [y], attrs, kernels }) =>
    matmulCommands({
      name: `${attrs.format}_linear`,
      m: inputs[0].shape[0],
      n: attrs.cOut,
      k: attrs.cIn,
      a: { value: inputs[0], ld: attrs.cIn },
      b: { value: inputs[1], ld: attrs.cIn, transposed: true, quantized: operand(inputs.slice(1), attrs) },
      c: { value: y, ld: attrs.cOut },
      bias: attrs.bias ? inputs[1 + QUANTIZED_INPUTS] : undefined,
      residual: attrs.residual ? inputs.at(-1) : undefined,
    }, kernels),
  vjp: ({ builder, inputs, attrs, outGrads: [dy], needs, takePrior }) => {
    const gradients: (Value | undefined)[] = inputs.map(() => undefined);
    if (!dy) return gradients;
    const biasAt = 1 + QUANTIZED_INPUTS;
    if (attrs.bias && needs(biasAt)) {
      const prior = takePrior(biasAt);
      [gradients[biasAt]] = builder.call(columnSum, [dy, ...prior ? [prior] : []], {});
    }
    if (needs(0)) {
      const prior = takePrior(0);
      const storage = inputs.slice(1, 1 + QUANTIZED_INPUTS);
      [gradients[0]] = builder.call(
        quantizedLinearInputGrad,
        [dy, ...storage, ...prior ? [prior] : []],
        weightAttrs(attrs),
      );
    }
    if (attrs.residual && needs(inputs.length - 1)) gradients[inputs.length - 1] = dy;
    return gradients;
  },
  reference: (inputs, attrs, { inputs: [{ shape: [rows] }] }) => {
    const weight = decodeReference(inputs.slice(1), attrs);
    const bias = attrs.bias ? inputs[1 + QUANTIZED_INPUTS] : undefined;
    const residual = attrs.residual ? inputs.at(-1) : undefined;
    const y = new Float64Array(rows * attrs.cOut);
    for (let n = 0; n < rows; n++) {
      for (let o = 0; o < attrs.cOut; o++) {
        let sum = (bias?.[o] ?? 0) + (residual?.[n * attrs.cOut + o] ?? 0);
        for (let i = 0; i < attrs.cIn; i++) sum += inputs[0][n * attrs.cIn + i] * weight[o * attrs.cIn + i];
        y[n * attrs.cOut + o] = sum;
      }
    }
    return [y];
  },
});

/**
 * Gradient of `quantizedLinear` by its input:
 * `(dy, codes, absmax, nested, tables, prior?) → dx = dy · W`, added to `prior`.
 */
export const quantizedLinearInputGrad = defineOp<QuantizedWeightAttrs>({
  name: "quantized_linear_input_grad",
  inferTypes: (inputs, attrs) => {
    const [dy] = inputs;
    if (dy.shape.length !== 2 || dy.shape[1] !== attrs.cOut) {
      throw new ShapeError(
        `Cannot apply quantized_linear_input_grad to dy [${dy.shape}]: expected [N, ${attrs.cOut}]`,
      );
    }
    requireStorage("quantized_linear_input_grad", inputs.slice(1), attrs);
    const dx: OutputType = { shape: [dy.shape[0], attrs.cIn], dtype: dy.dtype, name: "dx" };
    return [
      inputs.length > 1 + QUANTIZED_INPUTS ? { ...dx, aliasOfInput: 1 + QUANTIZED_INPUTS } : dx,
      ...meetingType(dx, mayBeSplit(bytesOf(inputs[1]))),
    ];
  },
  lower: ({ inputs, outputs: [dx, meeting], attrs, kernels }) =>
    matmulCommands({
      name: `${attrs.format}_linear_input_grad`,
      m: inputs[0].shape[0],
      n: attrs.cIn,
      k: attrs.cOut,
      a: { value: inputs[0], ld: attrs.cOut },
      b: { value: inputs[1], ld: attrs.cIn, quantized: operand(inputs.slice(1), attrs) },
      c: { value: dx, ld: attrs.cIn },
      meeting,
      accumulate: inputs.length > 1 + QUANTIZED_INPUTS,
    }, kernels),
  reference: (inputs, attrs, { inputs: [{ shape: [rows] }], outputs }) => {
    const weight = decodeReference(inputs.slice(1), attrs);
    const prior = inputs[1 + QUANTIZED_INPUTS];
    const dx = new Float64Array(rows * attrs.cIn);
    for (let n = 0; n < rows; n++) {
      for (let i = 0; i < attrs.cIn; i++) {
        let sum = prior?.[n * attrs.cIn + i] ?? 0;
        for (let o = 0; o < attrs.cOut; o++) sum += inputs[0][n * attrs.cOut + o] * weight[o * attrs.cIn + i];
        dx[n * attrs.cIn + i] = sum;
      }
    }
    return [dx, ...unusedOutputs(outputs, 1)];
  },
});

function operand([, absmax, nested, tables]: Located[], attrs: QuantizedWeightAttrs): QuantizedOperand {
  const { format, quantBlockSize, doubleQuantization } = attrs;
  return { format, absmax, nested, tables, quantBlockSize, doubleQuantization };
}

function weightAttrs(
  { cIn, cOut, format, quantBlockSize, doubleQuantization }: QuantizedLinearAttrs,
): QuantizedWeightAttrs {
  return { cIn, cOut, format, quantBlockSize, doubleQuantization };
}

function requireStorage(op: string, storage: readonly TensorType[], attrs: QuantizedWeightAttrs): void {
  quantizedTypes(attrs).forEach(({ shape, dtype }, i) => {
    const given = storage[i];
    if (given?.dtype === dtype && given.shape.join() === shape.join()) return;
    throw new ShapeError(
      `Cannot apply ${op} to weight storage ${i} ${given?.dtype} [${given?.shape}]: expected ${dtype} [${shape}]`,
    );
  });
}

/** The whole weight in f64, [cOut, cIn]: what the kernels never make. */
function decodeReference(
  [codes, absmax, nested, tables]: Float64Array[],
  attrs: QuantizedWeightAttrs,
): Float64Array {
  const weight = new Float64Array(attrs.cIn * attrs.cOut);
  for (let i = 0; i < weight.length; i++) {
    const block = Math.floor(i / attrs.quantBlockSize);
    const scale = attrs.doubleQuantization
      ? tables[absmax[block]] * nested[1 + Math.floor(block / NESTED_BLOCK_SIZE)] + nested[0]
      : absmax[block];
    if (attrs.format === "nf4") {
      const byte = codes[i >> 1];
      weight[i] = tables[256 + (i % 2 === 0 ? byte >> 4 : byte & 15)] * scale;
    } else {
      weight[i] = ((codes[i] << 24) >> 24) * (scale / 127);
    }
  }
  return weight;
}
