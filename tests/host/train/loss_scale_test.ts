import assert from "node:assert/strict";
import { LossScaler } from "../../../engine/train/loss_scale.ts";

interface ScalerRun {
  settings: { init_scale: number; growth_interval: number; growth_factor?: number };
  steps: { scaleBefore: number; skipped: boolean; scale: number; growthTracker: number }[];
}

const runs: Record<string, ScalerRun> = JSON.parse(
  await Deno.readTextFile(new URL("../../fixtures/grad_scaler/expected.json", import.meta.url)),
);

for (const name of ["main", "ceiling"]) {
  Deno.test(`LossScaler follows torch.amp.GradScaler, run ${name}`, () => {
    const { settings, steps } = runs[name];
    const scaler = new LossScaler({
      initialScale: settings.init_scale,
      growthInterval: settings.growth_interval,
    });
    for (const [i, step] of steps.entries()) {
      assert.equal(scaler.scale, step.scaleBefore, `scale before step ${i}`);
      scaler.update(step.skipped);
      assert.equal(scaler.scale, step.scale, `scale after step ${i}`);
      assert.equal(scaler.goodUpdates, step.growthTracker, `tracker after step ${i}`);
    }
  });
}

Deno.test("LossScaler stops at scale 1, where torch goes on towards zero, and then calls the run hopeless", () => {
  const scaler = new LossScaler({ initialScale: 4, growthInterval: 10 });
  for (let i = 0; i < 10; i++) scaler.update(true);
  assert.equal(scaler.scale, 1);
  assert.equal(scaler.hopeless, false);
  for (let i = 0; i < 20; i++) scaler.update(true);
  assert.equal(scaler.hopeless, true);
  scaler.update(false);
  assert.equal(scaler.hopeless, false);
});

Deno.test("LossScaler has torch's defaults: from 65536, doubled after 2000 good updates, halved after a bad one", () => {
  const scaler = new LossScaler();
  for (let i = 0; i < 1999; i++) scaler.update(false);
  assert.equal(scaler.scale, 65536);
  scaler.update(false);
  assert.equal(scaler.scale, 131072);
  scaler.update(true);
  assert.equal(scaler.scale, 65536);
});

Deno.test("twenty skips in a row at scale 1 are hopeless, nineteen are not, and a good update begins anew", () => {
  const scaler = new LossScaler({ initialScale: 2, growthInterval: 1000 });
  const skip = (times: number) => {
    for (let i = 0; i < times; i++) scaler.update(true);
    return scaler.hopeless;
  };
  assert.equal(skip(1), false, "from 2 to 1: the scale could still go down");
  assert.deepEqual([skip(19), skip(1)], [false, true]);
  scaler.update(false);
  assert.deepEqual([skip(19), skip(1)], [false, true]);
});
