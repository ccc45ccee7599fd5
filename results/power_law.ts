import { linearRegression, rSquared } from "simple-statistics";
import type { Interval } from "./stats.ts";
import { studentQuantile } from "./student.ts";

/** One measured point of a curve; both positive. */
export interface CurvePoint {
  x: number;
  y: number;
}

/** y = factor · x^exponent. */
export interface PowerLaw {
  /** With the interval that the points' distances from the line leave to it. */
  exponent: Interval;
  factor: number;
  /** Share of the variance of log y that the line explains. */
  rSquared: number;
  points: number;
}

/**
 * Least squares on logarithms, with Student's interval of the slope.
 *
 * The interval is about the points lying off a line, by noise or because the curve is none; it says nothing
 * of points that were not measured.
 *
 * @returns Null for fewer than three points, or fewer than three different x: two points lie on every line.
 * @throws {RangeError} where a coordinate is not above 0.
 */
export function fitPowerLaw(
  points: readonly CurvePoint[],
  { confidence = 0.95 }: { confidence?: number } = {},
): PowerLaw | null {
  const broken = points.find(({ x, y }) => !(x > 0 && y > 0 && Number.isFinite(x) && Number.isFinite(y)));
  if (broken) {
    throw new RangeError(`Cannot fit a power law through (${broken.x}, ${broken.y}): expected numbers above 0`);
  }
  if (new Set(points.map(({ x }) => x)).size < 3) return null;
  const logs = points.map(({ x, y }) => [Math.log(x), Math.log(y)]);
  const { m, b } = linearRegression(logs);
  const n = logs.length;
  const meanX = logs.reduce((sum, [x]) => sum + x, 0) / n;
  const spread = logs.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  const residual = logs.reduce((sum, [x, y]) => sum + (y - m * x - b) ** 2, 0);
  const reach = studentQuantile((1 + confidence) / 2, n - 2) * Math.sqrt(residual / (n - 2) / spread);
  return {
    exponent: { estimate: m, low: m - reach, high: m + reach },
    factor: Math.exp(b),
    // Of a constant there is no variance to explain.
    rSquared: logs.every(([, y]) => y === logs[0][1]) ? 1 : rSquared(logs, (x) => m * x + b),
    points: n,
  };
}

/**
 * y = fixed + rate · x by least squares of relative distances, so that the smallest point counts as much as
 * the largest; null for fewer than two different x. Source: weighted least squares with weights 1/y².
 */
export function fitStraightLine(points: readonly CurvePoint[]): { fixed: number; rate: number } | null {
  let [w, wx, wy, wxx, wxy] = [0, 0, 0, 0, 0];
  for (const { x, y } of points) {
    const weight = 1 / (y * y);
    w += weight;
    wx += weight * x;
    wy += weight * y;
    wxx += weight * x * x;
    wxy += weight * x * y;
  }
  const determinant = w * wxx - wx * wx;
  if (new Set(points.map(({ x }) => x)).size < 2 || !(determinant > 0)) return null;
  const rate = (w * wxy - wx * wy) / determinant;
  return { fixed: (wy - rate * wx) / w, rate };
}
