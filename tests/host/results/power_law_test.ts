import assert from "node:assert/strict";
import { fitPowerLaw, fitStraightLine } from "../../../results/power_law.ts";
import fixture from "../../fixtures/power_law/power_law.json" with { type: "json" };

/** Both sum a few dozen numbers in f64; determinants cancel a few digits. */
const TOLERANCE = 1e-9;

function assertNear(actual: number, expected: number, what: string): void {
  assert.ok(
    Math.abs(actual - expected) <= TOLERANCE * Math.max(1, Math.abs(expected)),
    `${what}: ${actual}, ${expected}`,
  );
}

for (const { name, points, ...expected } of fixture.fits) {
  Deno.test(`fits of ${name} are those of statsmodels`, () => {
    const pairs = points.map(([x, y]) => ({ x, y }));
    const { exponent, factor, rSquared } = fitPowerLaw(pairs)!;
    assertNear(exponent.estimate, expected.exponent, "exponent");
    assertNear(exponent.low, expected.low, "low");
    assertNear(exponent.high, expected.high, "high");
    assertNear(factor, expected.factor, "factor");
    assertNear(rSquared, expected.rSquared, "rSquared");
    const { fixed, rate } = fitStraightLine(pairs)!;
    assertNear(fixed, expected.fixed, "fixed");
    assertNear(rate, expected.rate, "rate");
  });
}

Deno.test("fitPowerLaw() finds an exact law exactly, and a constant's exponent is 0", () => {
  const square = fitPowerLaw([1, 2, 4, 8].map((x) => ({ x, y: 3 * x * x })))!;
  assertNear(square.exponent.estimate, 2, "exponent");
  assertNear(square.exponent.high - square.exponent.low, 0, "width");
  assertNear(square.factor, 3, "factor");
  const constant = fitPowerLaw([1, 2, 4].map((x) => ({ x, y: 5 })))!;
  assertNear(constant.exponent.estimate, 0, "exponent");
  assert.equal(constant.rSquared, 1);
});

Deno.test("fitPowerLaw() refuses two points and numbers that have no logarithm", () => {
  assert.equal(fitPowerLaw([{ x: 1, y: 1 }, { x: 2, y: 2 }]), null);
  assert.equal(fitPowerLaw([{ x: 1, y: 1 }, { x: 2, y: 2 }, { x: 2, y: 3 }]), null);
  for (const y of [0, -1, NaN, Infinity]) {
    assert.throws(() => fitPowerLaw([{ x: 1, y: 1 }, { x: 2, y }, { x: 3, y: 1 }]), /above 0/);
  }
});

Deno.test("fitStraightLine() tells what is fixed from what grows", () => {
  const { fixed, rate } = fitStraightLine([1, 2, 50].map((x) => ({ x, y: 7 + 2 * x })))!;
  assertNear(fixed, 7, "fixed");
  assertNear(rate, 2, "rate");
  assert.equal(fitStraightLine([{ x: 1, y: 1 }, { x: 1, y: 2 }]), null);
});
