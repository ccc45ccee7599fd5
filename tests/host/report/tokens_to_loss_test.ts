import assert from "node:assert/strict";
import type { CellRecord } from "../../../results/record.ts";
import type { Configuration } from "../../../report/rows/configuration.ts";
import { tokensToLoss } from "../../../report/rows/tokens_to_loss.ts";

const TOKENS = 1000;

/** A straight fall from 7 nats that is at 3 after `slowness` · 1000 tokens, seen up to 1000. */
function fall(slowness: number, points = 6): CellRecord["heldOut"] {
  return Array.from({ length: points }, (_, i) => {
    const tokens = i * TOKENS / (points - 1);
    return { step: i, tokens, loss: 7 - 4 * tokens / (slowness * TOKENS) } as CellRecord["heldOut"][number];
  });
}

/** One cell a seed. */
function runs(...curves: CellRecord["heldOut"][]): Configuration {
  const ok = curves.map((heldOut, seed) => ({ config: { seed }, heldOut }));
  return { ok, seeds: ok.map(({ config }) => config.seed) } as unknown as Configuration;
}

function ratio(baseline: Configuration, other: Configuration) {
  const found = tokensToLoss(baseline, other, TOKENS)!;
  return [Number(found.ratio.estimate.toFixed(9)), found.notReached];
}

Deno.test("tokensToLoss() reads the crossing off the curve, or how far behind the baseline a run ends", () => {
  const baseline = runs(fall(1));
  assert.deepEqual(ratio(baseline, runs(fall(1))), [1, 0]);
  assert.deepEqual(ratio(baseline, runs(fall(0.9))), [0.9, 0]);
  assert.deepEqual(ratio(baseline, runs(fall(1.04))), [1.04, 0]);
});

Deno.test("tokensToLoss() tells no more than a quarter more, and says so", () => {
  const baseline = runs(fall(1));
  assert.deepEqual(ratio(baseline, runs(fall(1.24))), [1.24, 0]);
  assert.deepEqual(ratio(baseline, runs(fall(1.26))), [1.25, 1]);
  const rising = fall(1).map((point) => ({ ...point, loss: 7 + point.tokens / 1e4 }));
  assert.deepEqual(ratio(baseline, runs(rising)), [1.25, 1]);
  assert.deepEqual(ratio(runs(fall(1), fall(1)), runs(rising, fall(1))), [1.125, 1]);
});

Deno.test("tokensToLoss() takes a flattening curve for no faster than it is", () => {
  // Both fall by 1 ÷ tokens; the other is 8 % behind. Its last quarter carried on would make that 6 %.
  const curve = (slowness: number) =>
    Array.from({ length: 101 }, (_, step) => ({
      step,
      tokens: step * 10,
      loss: step === 0 ? 200 : 2 + slowness / step,
    })) as CellRecord["heldOut"];
  const [estimate] = ratio(runs(curve(1)), runs(curve(1.08)));
  assert.ok(Math.abs(estimate - 1.08) < 1e-3, `${estimate}`);
});

Deno.test("tokensToLoss() takes the first crossing of a curve that goes up and down", () => {
  const bumpy = fall(0.5, 11);
  bumpy[8].loss = 3.5;
  assert.deepEqual(ratio(runs(fall(1)), runs(bumpy)), [0.5, 0]);
});

Deno.test("tokensToLoss() pairs seeds, and needs enough points of both curves", () => {
  const found = tokensToLoss(runs(fall(1), fall(1.1), fall(1.2)), runs(fall(1), fall(1.1)), TOKENS)!;
  assert.deepEqual([found.ratio.n, found.ratio.estimate], [2, 1]);
  const short = (points: number) => tokensToLoss(runs(fall(1, points)), runs(fall(1)), TOKENS);
  assert.equal(short(3), null);
  assert.equal(short(4)?.ratio.estimate, 1);
  assert.equal(tokensToLoss(runs(fall(1)), runs(fall(1)), null), null);
});
