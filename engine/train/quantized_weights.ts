import type { Parameter, QuantizedStorage } from "../passes/step.ts";
import type { Session } from "../runtime/session.ts";
import {
  dequantizeInt8,
  dequantizeNf4,
  doubleQuantize,
  quantizeInt8,
  quantizeNf4,
  restoreAbsmax,
} from "../../kernels/quantization.ts";
import { dequantizationTables } from "../../kernels/quantized_linear.ts";

/**
 * Quantizes a whole weight on the host and uploads codes and scales. As transformers does with bitsandbytes,
 * a weight stored `[in, out]` is quantized as `[out, in]`.
 */
export function writeQuantized(
  session: Session,
  { spec }: Parameter,
  storage: QuantizedStorage,
  values: Float32Array<ArrayBuffer>,
): void {
  const { attrs: { cIn, cOut, format, quantBlockSize, doubleQuantization } } = storage;
  const weight = spec.linear === "in_out" ? transpose(values, cIn, cOut) : values;
  session.write(storage.tables, dequantizationTables());
  if (format === "int8") {
    const { codes, absmax } = quantizeInt8(weight, cOut);
    session.write(storage.codes, codes);
    session.write(storage.absmax, absmax);
    return;
  }
  const { packed, absmax } = quantizeNf4(weight, quantBlockSize);
  session.write(storage.codes, packed);
  if (!doubleQuantization) {
    session.write(storage.absmax, absmax);
    return;
  }
  const double = doubleQuantize(absmax);
  session.write(storage.absmax, double.codes);
  session.write(storage.nested, Float32Array.from([double.offset, ...double.nestedAbsmax]));
}

/** What a quantized weight stands for, in the layout of the checkpoint. */
export async function readQuantized(
  session: Session,
  { spec }: Parameter,
  storage: QuantizedStorage,
): Promise<Float32Array<ArrayBuffer>> {
  const { attrs: { cIn, cOut, format, quantBlockSize, doubleQuantization } } = storage;
  const count = cIn * cOut;
  const codes = await session.read(storage.codes);
  const scales = await session.read(storage.absmax);
  let weight: Float32Array<ArrayBuffer>;
  if (format === "int8") {
    weight = dequantizeInt8({ codes: new Int8Array(codes), absmax: new Float32Array(scales) });
  } else {
    const blocks = Math.ceil(count / quantBlockSize);
    let absmax = new Float32Array();
    if (doubleQuantization) {
      const [offset, ...nestedAbsmax] = new Float32Array(await session.read(storage.nested));
      const double = {
        codes: new Uint8Array(scales, 0, blocks),
        nestedAbsmax: Float32Array.from(nestedAbsmax),
        offset,
      };
      absmax = restoreAbsmax(double);
    } else absmax = new Float32Array(scales);
    weight = dequantizeNf4({ packed: new Uint8Array(codes), absmax }, count, quantBlockSize);
  }
  return spec.linear === "in_out" ? transpose(weight, cOut, cIn) : weight;
}

/**
 * Rows and columns of a block that is transposed at once: what it reads and
 * writes stays in the nearest cache.
 */
const TRANSPOSED_BLOCK = 32;

/** `[rows, columns]` to `[columns, rows]`. */
function transpose(values: Float32Array, rows: number, columns: number): Float32Array<ArrayBuffer> {
  const result = new Float32Array(values.length);
  for (let top = 0; top < rows; top += TRANSPOSED_BLOCK) {
    const bottom = Math.min(top + TRANSPOSED_BLOCK, rows);
    for (let left = 0; left < columns; left += TRANSPOSED_BLOCK) {
      const right = Math.min(left + TRANSPOSED_BLOCK, columns);
      for (let c = left; c < right; c++) {
        for (let r = top; r < bottom; r++) result[c * rows + r] = values[r * columns + c];
      }
    }
  }
  return result;
}
