import assert from "node:assert/strict";
import {
  type CellSamples,
  compare,
  differs,
  meanRatio,
  measure,
  type Measured,
  pooledSpread,
  ratioOf,
} from "../../../results/measured.ts";
import { intervalOf, meanInterval, sumOfMeans } from "../../../results/intervals.ts";
import { seededRandom } from "../../../results/stats.ts";
import { formatInterval } from "../../../report/words/format.ts";
import { normal } from "../report/support.ts";

/** Cells with the given samples each, a seed and a process apiece. */
function cells(...samples: number[][]): CellSamples[] {
  return samples.map((values, seed) => ({ id: seed.toString(16).padStart(12, "0"), seed, values }));
}

function of(...samples: number[][]): Measured {
  return measure(cells(...samples))!;
}

/** Under other seeds, so that nothing pairs. */
function elsewhere(...samples: number[][]): Measured {
  return measure(cells(...samples).map((cell) => ({ ...cell, seed: cell.seed + 100 })))!;
}

Deno.test("measure() takes the median step of each process, and Student's interval over processes", () => {
  // Medians 1, e², e⁴: logarithms 0, 2, 4 with deviation 2; t(0.975, 2) = 4.302653.
  const { interval } = of([1, 0.5, 9], [Math.exp(2)], [Math.exp(4)]);
  assert.ok(Math.abs(Math.log(interval.estimate) - 2) < 1e-12);
  assert.ok(Math.abs(Math.log(interval.high) - 2 - 4.302653 * 2 / Math.sqrt(3)) < 1e-5);
  assert.equal(interval.n, 3);
});

Deno.test("measure() does not count the steps of one process as repeats of each other", () => {
  const steps = Array.from({ length: 1000 }, (_, i) => 100 + i % 5);
  const one = of(steps);
  assert.deepEqual(one.interval, { estimate: 102, low: 102, high: 102, n: 1 });
  assert.equal(formatInterval(one.interval), "102.0 (n = 1)");
  const shared = cells(steps, steps).map((cell) => ({ ...cell, process: "the same" }));
  assert.equal(measure(shared)!.interval.n, 1, "cells that share a process are one");
});

Deno.test("measure() of losses is the arithmetic mean over seeds", () => {
  assert.equal(measure(cells([1], [3]), "difference")!.interval.estimate, 2);
  assert.deepEqual([measure(cells()), measure(cells([]))], [null, null]);
});

Deno.test("ratioOf() pairs by seed and round what both sides have, so that drift of a round cancels", () => {
  const drift = [1, 1.5, 2.25];
  const fast = of(...drift.map((factor) => [100 * factor]));
  const slow = of(...drift.map((factor) => [50 * factor]));
  const { estimate, low, high, n } = ratioOf(slow, fast)!;
  assert.ok([estimate, low, high].every((value) => Math.abs(value - 0.5) < 1e-12) && n === 3);
  // A run that was stopped is compared over the seeds it has.
  const stopped = of(...drift.slice(0, 2).map((factor) => [50 * factor]));
  assert.ok(Math.abs(ratioOf(stopped, fast)!.high - 0.5) < 1e-12);
  // Without common seeds the drift is noise.
  assert.ok(ratioOf(elsewhere(...drift.map((factor) => [50 * factor])), fast)!.high > 1);
});

Deno.test("sides that lack some seeds each are compared over those that both have, two at least", () => {
  const seeds = (first: number, ...values: number[]) =>
    new Map(values.map((value, i) => [`seed ${first + i}`, value] as const));
  const difference = (a: Map<string, number>, b: Map<string, number>) =>
    sumOfMeans([{ weight: 1, values: a }, { weight: -1, values: b }]);
  // Seeds move the figure by far more than what is compared; seed 0 and seed 3 stand on one side alone.
  const two = difference(seeds(0, 9, 1.5, 4.5), seeds(1, 1, 4, -7));
  assert.deepEqual([two.estimate, two.standardError, two.degrees, two.n], [0.5, 0, 1, 2]);
  const one = difference(seeds(0, 9, 1.5), seeds(1, 1, 4));
  assert.equal(one.estimate, 5.25 - 2.5, "one seed in common says nothing of the noise: all count");
  assert.equal(one.n, 2);
  const three = sumOfMeans([
    { weight: 1, values: seeds(0, 1, 2, 3) },
    { weight: 1, values: seeds(0, 10, 20, 30, 40) },
    { weight: -1, values: seeds(1, 200, 300) },
  ]);
  assert.equal(three.estimate, ((2 + 20 - 200) + (3 + 30 - 300)) / 2, "of all terms");
});

Deno.test("sumOfMeans() without common names is Welch's interval", () => {
  const named = (prefix: string, ...values: number[]) =>
    new Map(values.map((value, i) => [`${prefix}${i}`, value] as const));
  // Equal variances and sizes: four degrees of freedom, t(0.975, 4) = 2.776445.
  const { estimate, high, n } = intervalOf(sumOfMeans([
    { weight: 1, values: named("a", 2, 3, 4) },
    { weight: -1, values: named("b", 1, 2, 3) },
  ]));
  assert.equal(estimate, 1);
  assert.ok(Math.abs(high - 1 - 2.776445 * Math.sqrt(2 / 3)) < 1e-5);
  assert.equal(n, 3);
});

Deno.test("compare() tells differences from noise, and one process tells nothing", () => {
  const [fast, same, slow] = [of([100], [101], [102]), of([101], [100], [102]), of([50], [51], [50.4])];
  assert.equal(compare(slow, fast), "different");
  assert.equal(compare(same, fast), "no difference");
  assert.equal(compare(of([50, 51, 52, 50, 51]), fast), "unknown");
  assert.equal(differs(ratioOf(of([50]), of([100]))), false);
  assert.equal(ratioOf(null, fast), null);
});

Deno.test("differs() where the whole interval leaves out 1 by more than rounding", () => {
  const of = (low: number, high: number) => differs({ estimate: (low + high) / 2, low, high, n: 3 });
  assert.deepEqual([of(1 + 2e-9, 1.1), of(1 + 5e-10, 1.1)], [true, false]);
  assert.deepEqual([of(0.9, 1 - 2e-9), of(0.9, 1 - 5e-10)], [true, false]);
});

Deno.test("two values have an interval, and one has none", () => {
  // t(0.975, 1) = 12.7062.
  const { low, high } = meanInterval([1, 3]);
  assert.ok(Math.abs(high - 2 - 12.7062) < 1e-4 && Math.abs(2 - low - 12.7062) < 1e-4);
  assert.deepEqual(meanInterval([2]), { estimate: 2, low: 2, high: 2, n: 1 });
});

Deno.test("meanRatio() of several pairs is their geometric mean, round by round", () => {
  const pairs = [[of([2], [2.2]), of([1], [1.1])], [of([8], [8.8]), of([1], [1.1])]] as const;
  const { estimate, low, high } = meanRatio(pairs)!;
  assert.ok([estimate, low, high].every((value) => Math.abs(value - 4) < 1e-12));
  assert.equal(meanRatio([]), null);
  assert.equal(meanRatio([[of([2]), of([1])]])!.n, 1);
});

Deno.test("pooledSpread() is the processes' scatter within configurations, worked by hand", () => {
  // Logarithms 0, 2 and 5, 9: squares 1 + 1 + 4 + 4 over 2 degrees of freedom.
  const { deviation, degrees } = pooledSpread([
    of([1], [Math.exp(2)]),
    of([Math.exp(5)], [Math.exp(9)]),
    null,
    of([3]),
  ])!;
  assert.equal(degrees, 2);
  assert.ok(Math.abs(deviation - Math.sqrt(5)) < 1e-12);
  assert.equal(pooledSpread([of([1])]), null);
});

for (const [how, other] of [["pairs", of], ["no pairs", elsewhere]] as const) {
  Deno.test(`ratioOf() holds the true ratio in 95 of 100 runs of three processes, with ${how}`, () => {
    const random = seededRandom(3);
    const runs = 2000;
    let held = 0;
    for (let run = 0; run < runs; run++) {
      const at = (level: number) => [0, 1, 2].map(() => [level * Math.exp(0.05 * normal(random))]);
      const { low, high } = ratioOf(other(...at(150)), of(...at(100)))!;
      if (low <= 1.5 && 1.5 <= high) held++;
    }
    // 0.95 ± 4 standard errors of a share of 2000; Welch's interval errs to the wide side.
    const error = 4 * Math.sqrt(0.95 * 0.05 / runs);
    assert.ok(Math.abs(held / runs - 0.95) < error, `${held} of ${runs}`);
  });
}
