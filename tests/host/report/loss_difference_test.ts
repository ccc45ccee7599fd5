import assert from "node:assert/strict";
import { analyse } from "../../../report/rows/analysis.ts";
import { asLoaded } from "./support.ts";
import { syntheticRun } from "./synthetic_run.ts";
import { learnedBy, lossDifference } from "../../../report/rows/loss_difference.ts";
import { holm, ledgerOf } from "../../../report/claims/ledger.ts";
import { lossMargin } from "../../../results/margins.ts";
import { measure, type Measured } from "../../../results/measured.ts";

function measured(...groups: number[][]): Measured[] {
  const cells = groups.map((values) =>
    values.map((value, seed) => ({ id: `${seed}`.padStart(12, "0"), seed, values: [value] }))
  );
  return cells.map((one) => measure(one, "difference")!);
}

const margin = (nats: number) => ({ nats, from: "decision" }) as const;

function difference(baseline: number[], other: number[], nats = 0.1) {
  const [a, b] = measured(baseline, other);
  return lossDifference(a, b, { margin: margin(nats) })!;
}

Deno.test("lossDifference() calls losses equal only where the interval lies within the margin", () => {
  assert.equal(difference([3, 3.1, 3.2], [3.001, 3.101, 3.2015]).outcome, "equal");
  assert.equal(difference([3, 3.1, 3.2], [3.3, 3.4, 3.51]).outcome, "worse");
  assert.equal(difference([3, 3.1, 3.2], [2.7, 2.8, 2.89]).outcome, "better");
  assert.equal(difference([3, 3.1, 3.2], [2.8, 3.1, 3.5]).outcome, "unshown");
  const alone = difference([3], [3]);
  assert.deepEqual([alone.outcome, alone.refusal, alone.pValue], ["unshown", "n = 1", null]);
  assert.equal(lossDifference(null, measured([3, 3.1])[0], { margin: margin(1) }), null);
});

Deno.test("lossDifference() holds every pair to the same margin, however its seeds scatter", () => {
  const shift = (values: number[], sign = 1) => values.map((value, i) => value + sign * (0.05 + 0.001 * i));
  const [tight, wide] = [[3, 3.01, 3.02], [3, 3.1, 3.2]];
  for (const seeds of [tight, wide]) {
    assert.equal(difference(seeds, shift(seeds), 0.06).outcome, "equal");
    assert.equal(difference(seeds, shift(seeds), 0.04).outcome, "worse");
    assert.equal(difference(seeds, shift(seeds, -1), 0.06).outcome, "equal");
    assert.equal(difference(seeds, shift(seeds, -1), 0.04).outcome, "better");
  }
});

Deno.test("lossDifference() gives the p-value and interval of two one-sided tests worked by hand", () => {
  // Differences 0.1, 0.2, 0.3: mean 0.2, standard error 0.1 ÷ √3; t(0.95, 2) = 2.919986.
  const { pValue, interval } = difference([1, 1, 1], [1.1, 1.2, 1.3], 0.5);
  const t = 0.3 / (0.1 / Math.sqrt(3));
  assert.ok(Math.abs(pValue! - (0.5 - t / (2 * Math.sqrt(2 + t * t)))) < 1e-10);
  assert.ok(Math.abs(interval.high - (0.2 + 2.919986 * 0.1 / Math.sqrt(3))) < 1e-6);
});

Deno.test("a loss that differs by the very margin is not equal", () => {
  // Halves and quarters, so that nothing is rounded.
  assert.equal(difference([3, 4], [3.5, 4.5], 0.5).outcome, "worse");
  assert.equal(difference([3, 4], [2.5, 3.5], 0.5).outcome, "better");
  assert.equal(difference([3, 4], [3.5, 4.5], 0.75).outcome, "equal");
});

Deno.test("lossDifference() compares seeds that both sides have: a run that was stopped early loses none", () => {
  const { interval } = difference([3, 3.5, 4, 4.5], [3.01, 3.51]);
  assert.ok(Math.abs(interval.estimate - 0.01) < 1e-12 && interval.n === 2, JSON.stringify(interval));
});

Deno.test("lossDifference() refuses where the baseline learned no more than the margin, at its edge", () => {
  const [a, b] = measured([3, 3.1, 3.2], [3, 3.1, 3.2]);
  const of = (start: number, end: number, unigrams: number | null = null) =>
    lossDifference(a, b, { margin: margin(0.077), learned: { start, end, unigrams } })!;
  assert.equal(of(6.905, 6.9).refusal, "learned 0.005, margin 0.077");
  assert.equal(of(0.077, 0).refusal, "learned 0.077, margin 0.077");
  assert.equal(of(0.0771, 0).refusal, null);
  assert.equal(of(6.905, 6.9).outcome, "unshown");
  // Below the histogram's entropy, not at it.
  assert.equal(of(6, 3.1, 3.1).refusal, "the baseline ends at 3.100, a histogram of the tokens at 3.100");
  assert.equal(of(6, 3.0999, 3.1).refusal, null);
});

Deno.test("learnedBy() begins with the loss before the first step, else with the first step's of a model from nothing", () => {
  const [trained] = analyse(asLoaded(syntheticRun({ batches: [4], seeds: [0], tokens: 1024 }))).trained;
  const started = (startFrom: string | null, heldOut: [step: number, loss: number][]) => {
    const [cell] = structuredClone(trained.ok);
    cell.config.startFrom = startFrom;
    cell.samples!.loss[0] = 5;
    cell.heldOut = heldOut.map(([step, loss]) => ({ step, tokens: 100 * step, loss }));
    return learnedBy({ ...trained, ok: [cell] }, 400)?.start ?? null;
  };
  assert.equal(started(null, [[0, 6], [4, 3]]), 6);
  assert.equal(started(null, [[2, 4], [4, 3]]), 5);
  assert.equal(
    started("0123456789ab", [[2, 4], [4, 3]]),
    null,
    "its first step is taken from weights that know",
  );
});

Deno.test("lossMargin() is what the run decided, never below the floor", () => {
  const decision = (name: string, value: number | string) => ({
    name,
    value,
    rule: "",
    inputs: [],
    figures: {},
    chosen: "",
    reason: "",
  });
  const of = (...decisions: ReturnType<typeof decision>[]) => lossMargin(decisions, { model: "gpt2" });
  assert.deepEqual(of(), { nats: 0.01, from: "floor" });
  assert.deepEqual(of(decision("lossMargin", 0.03)), { nats: 0.03, from: "decision" });
  assert.deepEqual(of(decision("lossMargin", 0.03), decision("lossMargin/gpt2", 0.04)).nats, 0.04);
  assert.deepEqual(of(decision("lossMargin/bert", 0.04)).from, "floor");
  assert.deepEqual(of(decision("lossMargin", 0.0099)), { nats: 0.01, from: "floor" });
  assert.deepEqual(of(decision("lossMargin", 0.01)), { nats: 0.01, from: "floor" });
  assert.deepEqual(of(decision("lossMargin", 0.0101)), { nats: 0.0101, from: "decision" });
});

Deno.test("holm() gives the corrected values of R's p.adjust(method = 'holm')", () => {
  // p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm"): 0.03 0.06 0.06 0.02
  assert.deepEqual(holm([0.01, 0.04, 0.03, 0.005]).map((p) => Number(p.toFixed(12))), [
    0.03,
    0.06,
    0.06,
    0.02,
  ]);
  assert.deepEqual(holm([0.6, 0.7]), [1, 1]);
  assert.deepEqual(holm([]), []);
});

Deno.test("ledgerOf() tests each pair once, and corrects it for the others", () => {
  const { configurations } = analyse(
    asLoaded(syntheticRun({ everything: true, batches: [4], seeds: [0, 1, 2], tokens: 1024 })),
  );
  const [baseline, ...others] = configurations.filter(({ shows }) => shows === "method-ladder");
  const pairs = others.map((changed) => ({ baseline, changed }));
  const alone = pairs.map((pair) => ledgerOf([pair]));
  const together = ledgerOf([...pairs, ...pairs.map((pair) => ({ ...pair }))]);
  assert.equal(together.testCount, pairs.length);
  pairs.forEach((pair, i) => {
    const [one, corrected] = [alone[i].loss(pair)!, together.loss(pair)!];
    assert.ok(corrected.pValue! >= one.pValue!, "a correction never lowers a p-value");
  });
  assert.throws(() => together.loss({ baseline: others[0], changed: baseline }), RangeError);
});

Deno.test("ledgerOf() does not compare losses at a rate that lies at an end of its sweep's grid", () => {
  const { configurations } = analyse(
    asLoaded(syntheticRun({ everything: true, batches: [4], seeds: [0, 1, 2], tokens: 1024 })),
  );
  const [baseline, ...others] = configurations.filter(({ phase }) => phase === "optimizers");
  const decision = (optimizer: string, value: number) => ({
    ...{
      name: `learningRate/${optimizer}`,
      rule: "",
      inputs: [],
      figures: {},
      chosen: "",
      reason: "",
      value,
    },
    warnings: [{ kind: "edge" as const, text: "at an end" }],
  });
  const refusals = (...decisions: ReturnType<typeof decision>[]) => {
    const ledger = ledgerOf(others.map((changed) => ({ baseline, changed })), decisions);
    return others.map((changed) => ledger.loss({ baseline, changed })!.refusal);
  };
  assert.deepEqual(others.map(({ config }) => config.optimizer), ["adafactor", "adamw8bit"]);
  const { learningRate } = baseline.config;
  assert.deepEqual(refusals(), [null, null]);
  assert.deepEqual(refusals(decision("adafactor", 0.002)), [
    "the rate of Adafactor, 0.002, is at an end of its grid",
    null,
  ]);
  assert.deepEqual(refusals(decision("adafactor", 0.004)), [null, null], "another rate is theirs");
  const both = `the rate of AdamW, ${learningRate}, is at an end of its grid`;
  assert.deepEqual(refusals(decision("adamw", learningRate)), [both, both]);
});
