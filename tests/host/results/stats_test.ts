import assert from "node:assert/strict";
import {
  type BootstrapOptions,
  bootstrapRatioOfMedians,
  mad,
  median,
  seededRandom,
  standardDeviation,
} from "../../../results/stats.ts";
import { studentCdf, studentQuantile } from "../../../results/student.ts";

/**
 * Absolute distance allowed where the expected value is printed to `digits`
 * decimals: half a unit of the last.
 */
function assertNear(actual: number, expected: number, digits: number) {
  const allowed = 0.5 * 10 ** -digits;
  assert.ok(
    Math.abs(actual - expected) <= allowed,
    `got ${actual}, expected ${expected} to ${digits} decimals`,
  );
}

Deno.test("median(), mad() and standardDeviation() of samples worked by hand", () => {
  const samples = [1, 1, 2, 2, 4, 6, 9];
  assert.equal(median([...samples]), 2);
  assert.equal(mad(samples), 1); // distances from 2, sorted: 0 0 1 1 2 4 7
  assertNear(standardDeviation([2, 4, 4, 4, 5, 5, 7, 9]), Math.sqrt(32 / 7), 12);
  assert.equal(standardDeviation([3]), 0);
});

Deno.test("studentCdf() and studentQuantile() agree with printed tables and closed forms", () => {
  // Closed forms: one degree of freedom is Cauchy, two has an algebraic distribution function.
  for (const t of [-7, -0.3, 0, 0.5, 1, 12.7062, 300]) {
    assertNear(studentCdf(t, 1), 0.5 + Math.atan(t) / Math.PI, 12);
    assertNear(studentCdf(t, 2), 0.5 + t / (2 * Math.sqrt(2 + t * t)), 12);
  }
  // Two-sided 5 % points of the usual table, to its three decimals.
  for (const [df, t] of [[3, 3.182], [5, 2.571], [10, 2.228], [30, 2.042], [120, 1.980]]) {
    assertNear(studentQuantile(0.975, df), t, 3);
  }
  assertNear(studentQuantile(0.025, 10), -2.228, 3);
  // scipy.stats.t 1.17.1, degrees of freedom that are no whole numbers among them.
  for (
    const [t, df, p] of [[-40, 10, 1.1404288715428768e-12], [-2.5, 7.3, 0.019825117332800214], [
      0.7,
      56,
      0.7565873813336046,
    ], [12.7, 3, 0.9994734736589007]]
  ) {
    assertNear(studentCdf(t, df), p, 12);
  }
  for (
    const [p, df, t] of [
      [0.975, 1, 12.706204736174694],
      [0.95, 4, 2.1318467863266495],
      [0.975, 7.3, 2.345066736547703],
      [0.995, 56, 2.666512397556063],
      [0.975, 1000, 1.9623390808264083],
    ]
  ) {
    assertNear(studentQuantile(p, df), t, 11);
  }
  assert.equal(studentCdf(Infinity, 4), 1);
});

/** As a ratio to what does not scatter. */
const bootstrapMedian = (samples: readonly number[], options?: BootstrapOptions) =>
  bootstrapRatioOfMedians(samples, [1], options);

Deno.test("bootstrap intervals are the same for the same seed, hold the estimate and narrow with more samples", () => {
  const random = seededRandom(7);
  const many = Array.from({ length: 200 }, () => 10 + random());
  const few = many.slice(0, 10);
  const interval = bootstrapMedian(few, { seed: 3 });
  assert.deepEqual(bootstrapMedian(few, { seed: 3 }), interval);
  // Medians of ten samples take few values, so two seeds may agree on them; those
  // of 200, resampled 50 times, do not.
  assert.notDeepEqual(
    bootstrapMedian(many, { seed: 4, resamples: 50 }),
    bootstrapMedian(many, { seed: 3, resamples: 50 }),
  );
  assert.ok(interval.low <= interval.estimate && interval.estimate <= interval.high);
  const narrow = bootstrapMedian(many, { seed: 3 });
  assert.ok(narrow.high - narrow.low < interval.high - interval.low);
  assert.throws(() => bootstrapMedian([]), RangeError);
});

Deno.test("bootstrapRatioOfMedians() covers the true median about as often as it says", () => {
  const random = seededRandom(11);
  let covered = 0;
  for (let i = 0; i < 200; i++) {
    const samples = Array.from({ length: 25 }, () => random());
    const { low, high } = bootstrapMedian(samples, { seed: i, resamples: 300 });
    if (low <= 0.5 && 0.5 <= high) covered++;
  }
  // 200 trials at 95 %: a binomial standard deviation is 1.5 points; the
  // percentile bootstrap runs a little low.
  assert.ok(covered >= 176 && covered <= 200, `covered ${covered} of 200`);
});

Deno.test("bootstrapRatioOfMedians() of constant samples is their ratio without width", () => {
  assert.deepEqual(bootstrapRatioOfMedians([6, 6, 6], [2, 2]), { estimate: 3, low: 3, high: 3 });
  const { low, estimate, high } = bootstrapRatioOfMedians([10, 11, 12], [4, 5, 6]);
  assert.ok(low < estimate && estimate < high);
  assert.equal(estimate, 11 / 5);
});
