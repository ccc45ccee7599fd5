import assert from "node:assert/strict";
import { openSafetensors } from "../../../engine/formats/safetensors.ts";
import {
  dequantizeInt8,
  dequantizeNf4,
  doubleQuantize,
  quantizeInt8,
  quantizeNf4,
  restoreAbsmax,
} from "../../../kernels/quantization.ts";

const FOLDER = `${import.meta.dirname}/../../fixtures/nf4/`;

for (const name of ["a", "b", "c", "d"]) {
  Deno.test(`NF4 and double quantization of weight ${name} are bit for bit those of bitsandbytes`, async () => {
    using source = await openSafetensors(`${FOLDER}nf4.safetensors`);
    const weight = await source.read(`${name}.weight`);
    const quantized = quantizeNf4(weight);
    assert.deepEqual(quantized.packed, await source.readBytes(`${name}.packed`));
    assert.deepEqual(quantized.absmax, await source.read(`${name}.absmax`));
    const double = doubleQuantize(quantized.absmax);
    assert.deepEqual(double.codes, await source.readBytes(`${name}.double.codes`));
    assert.deepEqual(double.nestedAbsmax, await source.read(`${name}.double.nested_absmax`));
    const [offset] = await source.read(`${name}.double.offset`);
    assert.ok(
      Math.abs(double.offset - offset) <= 2 ** -23 * offset,
      `offset ${double.offset}, expected ${offset}`,
    );
    const restored = restoreAbsmax({ ...double, offset });
    assert.deepEqual(restored, await source.read(`${name}.double.absmax`));
    if (source.has(`${name}.dequantized`)) {
      assert.deepEqual(dequantizeNf4(quantized, weight.length), await source.read(`${name}.dequantized`));
    }
    const dequantized = dequantizeNf4({ packed: quantized.packed, absmax: restored }, weight.length);
    assert.deepEqual(dequantized, await source.read(`${name}.double.dequantized`));
  });
}

Deno.test("int8 by rows has bitsandbytes' codes, scales and values", async () => {
  using source = await openSafetensors(`${FOLDER}blockwise.safetensors`);
  const { codes, absmax } = quantizeInt8(await source.read("int8.input"), 7);
  assert.deepEqual(new Uint8Array(codes.buffer), await source.readBytes("int8.codes"));
  assert.deepEqual(absmax, await source.read("int8.absmax"));
  assert.deepEqual(dequantizeInt8({ codes, absmax }), await source.read("int8.dequantized"));
});
