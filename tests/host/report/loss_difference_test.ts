import assert from "node:assert/strict";
import { analyse } from "../../../report/rows/analysis.ts";
import { asLoaded } from "./support.ts";
import { syntheticRun } from "./synthetic_run.ts";
import { ALPHA, equivalenceMargin, lossDifference } from "../../../report/rows/loss_difference.ts";
import { holm, ledgerOf } from "../../../report/claims/ledger.ts";
import { measure, type Measured } from "../../../report/rows/measured.ts";

function measured(...groups: number[][]): Measured[] {
  const cells = groups.map((values) =>
    values.map((value, seed) => ({ id: `${seed}`.padStart(12, "0"), seed, values: [value] }))
  );
  return cells.map((one) => measure(one, "difference")!);
}

function difference(baseline: number[], other: number[]) {
  const [a, b] = measured(baseline, other);
  return lossDifference(a, b)!;
}

Deno.test("equivalenceMargin() is two standard deviations of the baseline's seeds", () => {
  const [baseline, single] = measured([3, 3.1, 3.2], [3]);
  assert.ok(Math.abs(equivalenceMargin(baseline)! - 0.2) < 1e-12);
  assert.equal(equivalenceMargin(single), null);
});

Deno.test("lossDifference() calls losses equal only where the test shows it", () => {
  assert.equal(difference([3, 3.1, 3.2], [3.001, 3.101, 3.2015]).outcome, "equal");
  assert.equal(difference([3, 3.1, 3.2], [3.3, 3.4, 3.51]).outcome, "worse");
  assert.equal(difference([3, 3.1, 3.2], [2.7, 2.8, 2.89]).outcome, "better");
  assert.equal(difference([3, 3.1, 3.2], [2.8, 3.1, 3.5]).outcome, "unshown");
  assert.equal(difference([3], [3]).outcome, "unshown", "one seed shows nothing");
  assert.equal(lossDifference(null, measured([3, 3.1])[0]), null);
});

Deno.test("lossDifference() judges the same difference by the baseline's own spread", () => {
  const shift = (values: number[]) => values.map((value, i) => value + 0.05 + 0.001 * i);
  const [tight, wide] = [[3, 3.01, 3.02], [3, 3.1, 3.2]];
  assert.equal(difference(tight, shift(tight)).outcome, "worse");
  assert.equal(difference(wide, shift(wide)).outcome, "equal");
});

Deno.test("lossDifference() takes seeds that do not differ for no margin at all", () => {
  assert.equal(difference([3, 3], [3, 3]).outcome, "equal");
  assert.equal(difference([3, 3], [3, 3.0001]).outcome, "unshown");
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

Deno.test("ledgerOf() tests each pair once, and calls equal only what is so after correction", () => {
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
    assert.equal(corrected.outcome === "equal", one.outcome === "equal" && corrected.pValue! <= ALPHA);
  });
  assert.throws(() => together.loss({ baseline: others[0], changed: baseline }), RangeError);
});
