import assert from "node:assert/strict";
import { widenBfloat16, widenFloat16 } from "../../../engine/formats/float16.ts";

const ALL_BITS = Uint16Array.from({ length: 0x10000 }, (_, bits) => bits);

Deno.test("widenFloat16() equals the conversion of the JavaScript engine for all 65536 values", () => {
  const widened = new Uint32Array(ALL_BITS.length);
  widenFloat16(ALL_BITS, widened);
  const actual = new Float32Array(widened.buffer);
  new Float16Array(ALL_BITS.buffer).forEach((expected, bits) => {
    // Object.is tells 0 from -0, and takes all NaN for one value: their payload
    // is not the engine's to choose.
    assert.ok(
      Object.is(actual[bits], expected),
      `0x${bits.toString(16)}: got ${actual[bits]}, expected ${expected}`,
    );
  });
});

Deno.test("widenBfloat16() keeps the upper half of the bits", () => {
  const widened = new Uint32Array(ALL_BITS.length);
  widenBfloat16(ALL_BITS, widened);
  ALL_BITS.forEach((bits) => assert.equal(widened[bits], bits * 0x10000));
});
