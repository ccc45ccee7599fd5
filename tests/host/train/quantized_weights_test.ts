import assert from "node:assert/strict";
import type { Parameter, QuantizedStorage } from "../../../engine/passes/step.ts";
import type { Session } from "../../../engine/runtime/session.ts";
import { readQuantized, writeQuantized } from "../../../engine/train/quantized_weights.ts";
import { keyedRandom } from "../../../engine/train/random.ts";
import { dequantizeInt8, quantizeInt8 } from "../../../kernels/quantization.ts";

/** Above one transposed block, and no multiple of it. */
const C_IN = 70, C_OUT = 45;

/** A session that keeps what is written. */
function memorySession() {
  const written = new Map<unknown, ArrayBuffer>();
  const session = {
    write: (value: unknown, data: { buffer: ArrayBuffer }) => void written.set(value, data.buffer),
    read: (value: unknown) => Promise.resolve(written.get(value)!),
  };
  return { session: session as unknown as Session, written };
}

Deno.test("a weight stored [in, out] is quantized as [out, in], and read back in its own layout", async () => {
  const weight = new Float32Array(C_IN * C_OUT);
  keyedRandom(3, "weight").fillNormal(weight, 0.02);
  const storage = {
    attrs: { cIn: C_IN, cOut: C_OUT, format: "int8" },
    tables: "tables",
    codes: "codes",
    absmax: "absmax",
  } as unknown as QuantizedStorage;
  const parameter = { spec: { linear: "in_out" } } as unknown as Parameter;
  const { session, written } = memorySession();
  writeQuantized(session, parameter, storage, weight);

  const outIn = Float32Array.from(weight, (_, i) => weight[(i % C_IN) * C_OUT + Math.floor(i / C_IN)]);
  const expected = quantizeInt8(outIn, C_OUT);
  assert.deepEqual(new Int8Array(written.get("codes")!), expected.codes);
  assert.deepEqual(new Float32Array(written.get("absmax")!), expected.absmax);
  const decoded = dequantizeInt8(expected);
  assert.deepEqual(
    await readQuantized(session, parameter, storage),
    Float32Array.from(decoded, (_, i) => decoded[(i % C_OUT) * C_IN + Math.floor(i / C_OUT)]),
  );
});
