import assert from "node:assert/strict";
import { modelOf } from "../../../engine/model/config.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import {
  checkBounds,
  compareRuns,
  comparisonText,
  ENGINE,
  type PeerRun,
} from "../../bench/peers/comparison.ts";
import { textureBytes } from "../../bench/peers/counted_gpu.ts";
import { SHAPES, someTokens } from "../../bench/peers/job.ts";
import { batchAt, type PeerStep } from "../../bench/peers/protocol.ts";
import { decays } from "../../bench/peers/weights.ts";

function run(peer: string, times: number[], { losses = times.map(() => 2), peakBytes = 30e6 } = {}): PeerRun {
  const steps = times.map((ms, i): PeerStep => ({
    loss: losses[i],
    ms,
    cpuMs: 2 * ms,
    gpu: { peakBytes, dispatches: 100, submits: 1 },
  }));
  return { peer, version: "1", adapter: "some", warmup: steps.slice(0, 1), timed: steps.slice(1) };
}

const ENGINE_RUN = run(ENGINE, [900, 100, 110, 90]);

Deno.test("compareRuns() divides medians of timed steps and leaves the warm-up out", () => {
  const [engine, peer] = compareRuns([ENGINE_RUN, run("jax-js", [9000, 600, 500, 700])]);
  assert.equal(engine.timesEngine, null);
  assert.equal(engine.medianMs, 100);
  assert.equal(peer.timesEngine!.estimate, 6);
  assert.ok(peer.timesEngine!.low >= 500 / 110 && peer.timesEngine!.high <= 700 / 90);
  assert.equal(peer.lossError, 0);
});

Deno.test("compareRuns() takes the largest distance of losses, warm-up included, and lets no NaN pass", () => {
  const [, far] = compareRuns([ENGINE_RUN, run("tfjs", [1, 1, 1, 1], { losses: [2.5, 2, 1.9, 2] })]);
  assert.equal(far.lossError, 0.5);
  const [, broken] = compareRuns([ENGINE_RUN, run("tfjs", [1, 1, 1, 1], { losses: [2, NaN, 2, 2] })]);
  assert.ok(Number.isNaN(broken.lossError));
  const bounds = checkBounds(SHAPES.S, [compareRuns([ENGINE_RUN])[0], broken]);
  assert.equal(bounds.find(({ what }) => what.includes("losses"))!.holds, false);
});

Deno.test("compareRuns() refuses runs that cannot be compared", () => {
  assert.throws(() => compareRuns([run("tfjs", [1, 1])]), /no run of threefold/);
  assert.throws(
    () => compareRuns([ENGINE_RUN, run("tfjs", [1, 1])]),
    /Cannot compare 2 steps of tfjs with 4/,
  );
});

Deno.test("checkBounds() tells held, missed and unmeasured bounds apart", () => {
  const rows = compareRuns([
    run(ENGINE, [900, 100, 110, 90], { peakBytes: 50e6 }),
    run("jax-js", [9000, 600, 500, 700]),
    run("tfjs", [9000, 700, 700, 700]),
  ]);
  const held = Object.fromEntries(checkBounds(SHAPES.S, rows).map(({ what, holds }) => [what, holds]));
  assert.deepEqual(held, {
    "times faster than jax-js": true,
    "times faster than tfjs": false,
    "times faster than torch": null,
    "bytes at the peak": false,
    "dispatches a step": true,
    "distance of jax-js's losses": true,
    "distance of tfjs's losses": true,
  });
  assert.deepEqual(checkBounds(SHAPES.tiny, rows), []);
});

Deno.test("comparisonText() fits 80 columns", () => {
  const rows = compareRuns([
    run(ENGINE, [12345, 12345, 12345]),
    run("jax-js", [250000, 250000, 350000], { peakBytes: 1_204e6, losses: [2, 2.00001, 2] }),
  ]);
  const text = comparisonText(SHAPES.M, rows, checkBounds(SHAPES.M, rows));
  for (const line of text.split("\n")) assert.ok(line.length <= 80, `${line.length}: ${line}`);
  assert.match(text, /jax-js +300000 +600000 +24\.30/);
});

Deno.test("batchAt() takes the windows in order, targets one further, and begins again after the last whole one", () => {
  const shape = { batchSize: 2, sequenceLength: 3 };
  // Three windows, [0, 3), [3, 6) and [6, 9), whose last target is token 9; token 10 is in none.
  const tokens = Uint16Array.from({ length: 11 }, (_, i) => 10 * i);
  const batch = (index: number) => {
    const { inputs, targets } = batchAt(tokens, index, shape);
    return [[...inputs], [...targets]];
  };
  assert.deepEqual(batch(0), [[0, 10, 20, 30, 40, 50], [10, 20, 30, 40, 50, 60]]);
  assert.deepEqual(batch(1), [[60, 70, 80, 0, 10, 20], [70, 80, 90, 10, 20, 30]]);
  assert.deepEqual(batch(3), batch(0));
});

Deno.test("someTokens() stays inside the vocabulary and is the same every time", () => {
  const tokens = someTokens(5000, 37);
  assert.ok(tokens.every((token) => token < 37));
  assert.ok(new Set(tokens).size > 30);
  assert.deepEqual(tokens, someTokens(5000, 37));
});

Deno.test("decays() names the parameters that the engine decays", () => {
  const { parameters } = modelOf(PRESETS.gpt2);
  for (const { name, decay } of parameters) assert.equal(decays(name), decay, name);
});

Deno.test("textureBytes() counts texels, and refuses formats it does not know", () => {
  const texture = { width: 100, height: 20, depthOrArrayLayers: 3 };
  assert.equal(textureBytes({ ...texture, format: "rgba32float" }), 100 * 20 * 3 * 16);
  assert.equal(textureBytes({ ...texture, format: "rgba16float" }), 100 * 20 * 3 * 8);
  assert.throws(() => textureBytes({ ...texture, format: "bc7-rgba-unorm" }), /format bc7-rgba-unorm/);
});
