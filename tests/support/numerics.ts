import assert from "node:assert/strict";
import type { Dtype } from "../../engine/graph/types.ts";

const UNIT_ROUNDOFF: Partial<Record<Dtype, number>> = { f32: 2 ** -24, f16: 2 ** -11 };

/**
 * Error allowed for a kernel that rounds to `dtype` and sums `terms` products: rounding errors of a long sum
 * grow like √terms when they are independent. The factor 8 is headroom for other summation orders.
 */
export function tolerance(dtype: Dtype, terms = 1): number {
  return 8 * (UNIT_ROUNDOFF[dtype] ?? 0) * Math.sqrt(terms);
}

/**
 * Asserts that arrays agree within `allowed`, relative to the largest expected magnitude (or `scale`).
 * A NaN anywhere fails: every comparison with NaN is false, hence `!(error <= allowed)`.
 */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  allowed: number,
  what: string,
  scale = largest(expected),
): void {
  assert.equal(actual.length, expected.length, `${what}: length`);
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i] - expected[i]) / (scale || 1);
    if (!(error <= allowed)) {
      assert.fail(
        `${what}[${i}]: got ${actual[i]}, expected ${expected[i]} (error ${error}, allowed ${allowed})`,
      );
    }
  }
}

function largest(values: ArrayLike<number>): number {
  let max = 0;
  for (let i = 0; i < values.length; i++) max = Math.max(max, Math.abs(values[i]));
  return max;
}

/** Central differences of a scalar function by every element of `x`. */
export function numericalGradient(f: () => number, x: Float64Array, step = 1e-5): Float64Array {
  const gradient = new Float64Array(x.length);
  for (let i = 0; i < x.length; i++) {
    const saved = x[i];
    const h = step * Math.max(1, Math.abs(saved));
    x[i] = saved + h;
    const above = f();
    x[i] = saved - h;
    const below = f();
    x[i] = saved;
    gradient[i] = (above - below) / (2 * h);
  }
  return gradient;
}
