import assert from "node:assert/strict";
import { lossesOf, PINNED_RUNS, PINNED_RUNS_FILE } from "../../support/pinned_runs.ts";
import { placeOf } from "../../support/pins.ts";
import { longDeviceTest } from "../../support/long_run.ts";
import { sharedDevice } from "../../support/with_device.ts";

// For changes that should change no number, as moves of code:
// tests/device/numerics_test.ts has a few of these for every run.

const pinned: { place: string; runs: Record<string, number[]> } = JSON.parse(
  await Deno.readTextFile(PINNED_RUNS_FILE),
);
const isHere = pinned.place === await placeOf((await sharedDevice()).gpu.adapter);
/**
 * Between adapters: sums in other orders and other functions of drivers, grown
 * over ten steps; f16 rounds at 5e-4.
 */
const ALLOWED = 1e-3;

for (const run of PINNED_RUNS) {
  Deno.test(`the losses of ten steps are those that were pinned: ${run.name}`, longDeviceTest, async () => {
    const losses = await lossesOf(run);
    const expected = pinned.runs[run.name];
    if (isHere) return assert.deepEqual(losses, expected);
    assert.equal(losses.length, expected.length);
    losses.forEach((loss, i) => assert.ok(Math.abs(loss / expected[i] - 1) <= ALLOWED, `step ${i}: ${loss}`));
  });
}
