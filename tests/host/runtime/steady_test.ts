import assert from "node:assert/strict";
import { MOST_MEASUREMENTS, STEADY_SPREAD, steadyRate } from "../../../engine/runtime/steady.ts";

/** `steadyRate` over these rates, the last again and again. */
function over(rates: readonly number[]) {
  let i = 0;
  return steadyRate(() => Promise.resolve(rates[Math.min(i++, rates.length - 1)]));
}

Deno.test("steadyRate() ends with three measurements that agree", async () => {
  assert.deepEqual(await over([100, 99, 98]), { rate: 100, steadiness: { measurements: 3, spread: 0.02 } });
});

Deno.test("steadyRate() takes a spread of 5 % for steady, and no more", async () => {
  const low = 100 * (1 - STEADY_SPREAD);
  assert.equal((await over([100, low, 100])).steadiness.measurements, 3);
  assert.equal((await over([100, low - 0.01, 100, 100])).steadiness.measurements, 5);
});

Deno.test("steadyRate() waits for a device that has been idle to reach its clock", async () => {
  const { rate, steadiness } = await over([811, 1500, 2900, 4800, 5000, 5062, 5050]);
  assert.deepEqual([rate, steadiness.measurements], [5062, 7]);
});

Deno.test("steadyRate() keeps the highest rate, however slow the machine becomes", async () => {
  assert.deepEqual(await over([5062, 811]), { rate: 5062, steadiness: { measurements: 4, spread: 0 } });
});

Deno.test("steadyRate() ends where nothing becomes steady, and says how far apart it was", async () => {
  let i = 0;
  const { rate, steadiness } = await steadyRate(() => Promise.resolve(i++ % 2 === 0 ? 100 : 50));
  assert.deepEqual([i, rate], [MOST_MEASUREMENTS, 100]);
  assert.deepEqual(steadiness, { measurements: MOST_MEASUREMENTS, spread: 0.5 });
});
