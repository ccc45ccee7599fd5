import assert from "node:assert/strict";
import { openSafetensors } from "../../../engine/formats/safetensors.ts";
import { middlesOf, nearestCode } from "../../../kernels/dynamic_map.ts";
import {
  dequantizeInt8,
  dequantizeNf4,
  doubleQuantize,
  NF4_VALUES,
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

Deno.test("NF4 codes are the nearest ones everywhere, the lower half way between two", () => {
  const middles = middlesOf(NF4_VALUES);
  const neighbours = (x: number) => {
    const bits = new Int32Array(Float32Array.of(x).buffer)[0];
    return [bits - 1, bits, bits + 1].map((value) => new Float32Array(Int32Array.of(value).buffer)[0]);
  };
  const cells = Array.from({ length: 129 }, (_, i) => i / 64 - 1);
  const values = [...middles, ...NF4_VALUES, ...cells].filter((x) => x !== 0 && Math.abs(x) < 1).flatMap(
    neighbours,
  );
  // Blocks of two: the other weight makes the scale 1.
  const codesOf = (x: number) => quantizeNf4(Float32Array.of(x, 1), 2).packed[0] >> 4;
  for (const x of [...values, 0, -0, -1, 1, 1e-45, -1e-45]) {
    assert.equal(codesOf(x), nearestCode(x, middles), `${x}`);
  }
  assert.equal(codesOf(NaN), 0);
});

Deno.test("int8 codes are rounded half to even", () => {
  const halves = [-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 126.5, 0.4999999701976776, -126.50000762939453];
  const { codes } = quantizeInt8(Float32Array.of(...halves, 127), 1);
  assert.deepEqual([...codes], [-4, -2, -2, 0, 0, 2, 2, 126, 0, -127, 127]);
});

Deno.test("int8 by rows has bitsandbytes' codes, scales and values", async () => {
  using source = await openSafetensors(`${FOLDER}blockwise.safetensors`);
  const { codes, absmax } = quantizeInt8(await source.read("int8.input"), 7);
  assert.deepEqual(new Uint8Array(codes.buffer), await source.readBytes("int8.codes"));
  assert.deepEqual(absmax, await source.read("int8.absmax"));
  assert.deepEqual(dequantizeInt8({ codes, absmax }), await source.read("int8.dequantized"));
});
