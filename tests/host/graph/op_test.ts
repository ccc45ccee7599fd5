import assert from "node:assert/strict";
import { f32, i32, u32 } from "../../../engine/graph/launch.ts";

Deno.test("u32(), i32() and f32() take what a word can hold, to its ends, and refuse all else with the value", () => {
  for (const value of [0, 1, 2 ** 31, 2 ** 32 - 1]) assert.deepEqual(u32(value), { kind: "u32", value });
  for (const value of [-1, 2 ** 32, 2 ** 32 + 5, 1.5, NaN, Infinity, -Infinity, 2 ** 53]) {
    assert.throws(
      () => u32(value),
      (error: Error) => error instanceof RangeError && error.message.includes(`Cannot pass ${value} as u32`),
    );
  }
  for (const value of [-(2 ** 31), -1, 0, 2 ** 31 - 1]) assert.deepEqual(i32(value), { kind: "i32", value });
  for (const value of [-(2 ** 31) - 1, 2 ** 31, 0.5, NaN, Infinity]) {
    assert.throws(() => i32(value), new RegExp(`Cannot pass ${value} as i32`));
  }
  for (const value of [-1.5, 0, 1e-8, Infinity]) assert.deepEqual(f32(value), { kind: "f32", value });
  assert.throws(() => f32(NaN), /Cannot pass NaN as f32/);
});
