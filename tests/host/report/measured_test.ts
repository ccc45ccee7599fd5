import assert from "node:assert/strict";
import {
  type CellSamples,
  compare,
  type Measured,
  measureTogether,
  ratioOf,
} from "../../../report/rows/measured.ts";
import { seededRandom } from "../../../results/stats.ts";

/** Cells with the given samples each. */
function cells(...samples: number[][]): CellSamples[] {
  return samples.map((values, seed) => ({ id: seed.toString(16).padStart(12, "0"), seed, values }));
}

function together(...configurations: CellSamples[][]): Measured[] {
  return measureTogether(configurations).map((one) => one!);
}

/** A number from the normal distribution (Box & Muller 1958). */
function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

Deno.test("measureTogether() pools the cells' scatter, worked by hand", () => {
  // Logarithms 0, 2 and 5, 9: squares 1 + 1 + 4 + 4 over 2 degrees of freedom.
  const [a, b] = together(cells([1], [Math.exp(2)]), cells([Math.exp(5)], [Math.exp(9)]));
  assert.equal(a.spread!.degrees, 2);
  assert.ok(Math.abs(a.spread!.deviation - Math.sqrt(5)) < 1e-12);
  assert.equal(a.spread, b.spread);
  // Student's 0.975 quantile with 2 degrees is 4.302653; a mean of two cells has half a cell's variance.
  const reach = 4.302653 * Math.sqrt(5 / 2);
  assert.ok(Math.abs(Math.log(a.interval.high) - (1 + reach)) < 1e-5);
  assert.ok(Math.abs(Math.log(a.interval.low) - (1 - reach)) < 1e-5);
});

Deno.test("measureTogether() lends a single cell the scatter of the others, and claims none where there is none", () => {
  const [single] = together(cells([100]), cells([200], [210]));
  assert.ok(single.interval.low < 100 && single.interval.high > 100);
  const [alone] = together(cells([100]));
  assert.deepEqual(alone.interval, { estimate: 100, low: 100, high: 100 });
  assert.equal(alone.spread, null);
});

Deno.test("measureTogether() covers both processes of a configuration that ran at two speeds", () => {
  const samples = Array.from({ length: 30 }, (_, i) => 100 + i % 5);
  const [one] = together(cells(samples, samples.map((value) => value * 1.5)));
  assert.ok(one.interval.low <= 102 && one.interval.high >= 153, JSON.stringify(one.interval));
});

Deno.test("measureTogether() gives nothing for a configuration without samples", () => {
  assert.deepEqual(measureTogether([cells(), cells([])]), [null, null]);
});

Deno.test("ratioOf() and compare() tell differences from noise", () => {
  const [fast, same, slow] = together(
    cells([100, 101, 102, 103, 104]),
    cells([99, 101, 102, 103, 105]),
    cells([50, 51, 52, 53, 54]),
  );
  assert.equal(ratioOf(slow, fast)!.estimate, 52 / 102);
  assert.equal(compare(slow, fast), "different");
  assert.equal(compare(same, fast), "no difference");
  assert.equal(compare(together(cells([50]))[0], fast), "unknown", "one sample has no noise to compare with");
  assert.equal(ratioOf(null, fast), null);
});

Deno.test("ratioOf() holds the true ratio in 95 of 100 runs of two seeds a configuration", () => {
  const random = seededRandom(3);
  const runs = 2000;
  let held = 0;
  for (let run = 0; run < runs; run++) {
    // Four configurations with two cells each, as in a quick sweep; cells scatter by 5 %.
    const levels = [100, 150, 200, 250];
    const measured = together(
      ...levels.map((level) => cells(...[0, 1].map(() => [level * Math.exp(0.05 * normal(random))]))),
    );
    const { low, high } = ratioOf(measured[1], measured[0])!;
    if (low <= 1.5 && 1.5 <= high) held++;
  }
  // 0.95 ± 4 standard errors of a share of 2000.
  const error = 4 * Math.sqrt(0.95 * 0.05 / runs);
  assert.ok(Math.abs(held / runs - 0.95) < error, `${held} of ${runs}`);
});
