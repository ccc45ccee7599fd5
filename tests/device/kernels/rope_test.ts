import assert from "node:assert/strict";
import { rope } from "../../../kernels/rope.ts";
import { checkKernel } from "../../support/check_op.ts";
import { seededIntegers } from "../../support/seeded.ts";
import { deviceTest, deviceTestOf } from "../../support/with_device.ts";
import { KERNEL_KINDS } from "../../../kernels/kernel_set.ts";

/** Cosines, then sines, of position · 10000^(−2i / D). */
function table(positions: number, headSize: number) {
  const angle = (p: number, i: number) => p * 10000 ** ((-2 * i) / headSize);
  const data = Array.from({ length: positions * headSize }, (_, at) => {
    const [p, i, half] = [Math.floor(at / headSize), at % headSize, headSize / 2];
    return i < half ? Math.cos(angle(p, i)) : Math.sin(angle(p, i - half));
  });
  return { shape: [positions, headSize], data };
}

for (const dtype of ["f32", "f16"] as const) {
  Deno.test(`rope matches its reference in ${dtype}`, await deviceTestOf(dtype), async () => {
    for (
      const [rows, heads, kvHeads, headSize] of [[1, 1, 1, 2], [13, 3, 1, 6], [33, 4, 2, 16], [65, 2, 2, 64]]
    ) {
      const inputs = [
        { shape: [rows, (heads + 2 * kvHeads) * headSize], dtype },
        table(50, headSize),
        { shape: [rows], dtype: "u32" as const, data: seededIntegers(rows, 50, 3) },
      ];
      for (const inverse of [false, true]) {
        for (const kind of KERNEL_KINDS) {
          const what = `${rows} rows, ${heads}/${kvHeads} heads of ${headSize}, inverse ${inverse}`;
          await checkKernel(rope, inputs, { heads, kvHeads, headSize, inverse }, {
            what,
            target: { kind },
          });
        }
      }
    }
  });
}

for (const dtype of ["f32", "f16"] as const) {
  Deno.test(`rope of a part of every head matches in ${dtype}`, await deviceTestOf(dtype), async () => {
    for (const [headSize, rotaryWidth] of [[10, 4], [12, 8], [20, 10], [32, 24], [6, 6]]) {
      const attrs = { heads: 3, kvHeads: 1, headSize, rotaryWidth };
      const inputs = [
        { shape: [13, 5 * headSize], dtype },
        table(50, rotaryWidth),
        { shape: [13], dtype: "u32" as const, data: seededIntegers(13, 50, 3) },
      ];
      for (const inverse of [false, true]) {
        for (const kind of KERNEL_KINDS) {
          const what = `${rotaryWidth} channels of heads of ${headSize}, inverse ${inverse}`;
          await checkKernel(rope, inputs, { ...attrs, inverse }, { what, target: { kind } });
        }
      }
    }
  });
}

Deno.test("rope splits values that pass the binding limit", deviceTest, async () => {
  const inputs = [
    { shape: [600, 12] },
    table(50, 4),
    { shape: [600], dtype: "u32" as const, data: seededIntegers(600, 50, 3) },
  ];
  const attrs = { heads: 1, kvHeads: 1, headSize: 4, inverse: false };
  await checkKernel(rope, inputs, attrs, { target: { maxStorageBufferBindingSize: 256 * 12 * 4 } });
});

Deno.test("rope leaves position 0 and the values alone", deviceTest, async () => {
  const qkv = Array.from({ length: 24 }, (_, i) => i);
  const attrs = { heads: 1, kvHeads: 1, headSize: 4, inverse: false };
  const [turned] = await checkKernel(rope, [
    { shape: [2, 12], data: qkv },
    table(2, 4),
    { shape: [2], dtype: "u32", data: [0, 1] },
  ], attrs);
  assert.deepEqual([...turned.slice(0, 12)], qkv.slice(0, 12));
  assert.deepEqual([...turned.slice(20)], qkv.slice(20));
  assert.notDeepEqual([...turned.slice(12, 20)], qkv.slice(12, 20));
});
