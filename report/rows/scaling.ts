/**
 * How time and memory grow with size: curves of the phases that vary one size at a time, each with the power
 * law that fits it and the one that theory expects.
 */
import type { CellRecord, PhaseShows, Role, Roofline } from "../../results/record.ts";
import { type CurvePoint, fitPowerLaw, fitStraightLine, type PowerLaw } from "../../results/power_law.ts";
import { productRate } from "../../results/roofline.ts";
import type { Configuration } from "./configuration.ts";

/** What a curve runs over. */
export type ScalingAxis = "parameters" | "sequenceLength" | "batchSize";

export interface ScalingPoint {
  /** The cell it comes from. */
  id: string;
  x: number;
  y: number;
  low: number;
  high: number;
}

/** A figure at the smallest size and at the largest. */
export type Ends = readonly [small: number, large: number];

/** What a step's time is made of. */
export interface TimeParts {
  quantity: "time";
  flopsPerSecond: Ends;
  /** Of the roofline's rate of products; null where there is no roofline. */
  ofCeiling: Ends | null;
  /** Time that no FLOP explains, by a straight line through all sizes; null where there is none. */
  fixed: { ms: number; shares: Ends } | null;
  /** Share of the kernels' time outside products; null where a size was not profiled. */
  outsideProducts: Ends | null;
}

/** What a peak is made of: the part that theory speaks of (states, or what is not a state) and the rest. */
export interface MemoryParts {
  quantity: "memory";
  restShare: Ends;
  /** Exponent of the part that theory speaks of. */
  exponent: number | null;
  /** Share of that part which grows with the square of the sequence, where scores are stored. */
  squareShare: Ends | null;
}

export interface ScalingCurve {
  axis: ScalingAxis;
  quantity: "time" | "memory";
  /** `naive`, `flash`; empty where the phase has one curve. */
  label: string;
  points: ScalingPoint[];
  fit: PowerLaw | null;
  /** Exponent that theory gives for these very points, and whether it is that of stored T × T scores. */
  expected: { exponent: number; isSquare: boolean };
  /** Whether the fit's interval holds the expected exponent, or on which side it lies; null without a fit. */
  outcome: "agrees" | "below" | "above" | "unsettled" | null;
  /** What explains it, from the records; null for fewer than two points. */
  parts: TimeParts | MemoryParts | null;
}

/** Smallest distance of exponents that counts: of points on one line the interval has no width. */
const SAME_EXPONENT = 0.02;

/** Half an interval above which it holds too many laws to agree with one. */
const UNSETTLED = 0.25;

const AXES: readonly (readonly [PhaseShows, ScalingAxis])[] = [
  ["growth-with-parameters", "parameters"],
  ["growth-with-sequence", "sequenceLength"],
  ["growth-with-batch", "batchSize"],
];

/** All curves of a run that have three points or more. */
export function scalingCurves(
  configurations: readonly Configuration[],
  roofline: Roofline | null,
): ScalingCurve[] {
  return AXES.flatMap(([shows, axis]) => {
    const ran = configurations.filter((one) => one.shows === shows && one.ok.length > 0);
    const labels = [...new Set(ran.map(curveLabel))];
    return labels.flatMap((label) => {
      const group = ran.filter((one) => curveLabel(one) === label)
        .sort((a, b) => sizeOf(a, axis) - sizeOf(b, axis));
      const naming = { axis, label: labels.length > 1 ? label : "" };
      return [timeCurve(group, naming, roofline), memoryCurve(group, naming)];
    });
  }).filter(({ points }) => new Set(points.map(({ x }) => x)).size >= 3);
}

function curveLabel({ config: { methods } }: Configuration): string {
  return methods.join(" + ") || "naive";
}

function sizeOf({ config, effectiveBatchSize, ok: [cell] }: Configuration, axis: ScalingAxis): number {
  switch (axis) {
    case "parameters":
      return cell.parameters ?? 0;
    case "sequenceLength":
      return config.sequenceLength;
    case "batchSize":
      return effectiveBatchSize;
    default:
      throw new TypeError(`Unknown axis ${axis satisfies never}`);
  }
}

type Naming = Pick<ScalingCurve, "axis" | "label">;

function completed(
  naming: Naming,
  curve: Pick<ScalingCurve, "quantity" | "points" | "expected" | "parts">,
  samples: readonly CurvePoint[],
): ScalingCurve {
  const fit = samples.every(({ x, y }) => x > 0 && y > 0) ? fitPowerLaw(samples) : null;
  return { ...naming, ...curve, fit, outcome: fit && outcomeOf(fit, curve.expected.exponent) };
}

function outcomeOf({ exponent: { low, high } }: PowerLaw, expected: number): ScalingCurve["outcome"] {
  if (high < expected - SAME_EXPONENT) return "below";
  if (low > expected + SAME_EXPONENT) return "above";
  return (high - low) / 2 > UNSETTLED ? "unsettled" : "agrees";
}

/** Time of a step; theory is the model's FLOPs, which a device at a constant rate would follow. */
function timeCurve(group: readonly Configuration[], naming: Naming, roofline: Roofline | null): ScalingCurve {
  const timed = group.filter(({ stepMs, ok: [cell] }) => stepMs && cell.modelFlopsPerStep);
  const points = timed.map((one): ScalingPoint => {
    const { estimate, low, high } = one.stepMs!.interval;
    return { id: one.ok[0].id, x: sizeOf(one, naming.axis), y: estimate, low, high };
  });
  const work = timed.map((one, i) => ({
    x: points[i].x,
    y: points[i].y,
    flops: one.ok[0].modelFlopsPerStep!,
    cell: one.ok[0],
  }));
  const law = fitPowerLaw(work.map(({ x, flops }) => ({ x, y: flops })));
  return completed(naming, {
    quantity: "time",
    points,
    expected: { exponent: law?.exponent.estimate ?? 1, isSquare: false },
    parts: work.length > 1 ? timeParts(work, roofline) : null,
    // Every step is a point of the fit: medians alone would hide how far steps of one size lie apart.
  }, timed.flatMap((one, i) => one.stepMs!.values.map((y) => ({ x: points[i].x, y }))));
}

interface Work {
  y: number;
  flops: number;
  cell: CellRecord;
}

function timeParts(work: readonly Work[], roofline: Roofline | null): TimeParts {
  const ends = [work[0], work[work.length - 1]] as const;
  const at = (of: (one: Work) => number): Ends => [of(ends[0]), of(ends[1])];
  const rate = ({ flops, y }: Work) => flops / y * 1000;
  const line = fitStraightLine(work.map(({ flops, y }) => ({ x: flops, y })));
  const [small, large] = ends.map(({ cell }) => outsideProducts(cell));
  return {
    quantity: "time",
    flopsPerSecond: at(rate),
    ofCeiling: roofline && at((one) => rate(one) / productRate(roofline, "f32")),
    fixed: line && line.fixed > 0 ? { ms: line.fixed, shares: at(({ y }) => line.fixed / y) } : null,
    outsideProducts: small !== null && large !== null ? [small, large] : null,
  };
}

/** Share of a profiled step's time in kernels without FLOPs of products; null without a profile. */
function outsideProducts({ profile }: CellRecord): number | null {
  const total = profile?.reduce((sum, { ms }) => sum + ms, 0) ?? 0;
  if (!profile || total === 0) return null;
  return profile.reduce((sum, { ms, flops }) => sum + (flops > 0 ? 0 : ms), 0) / total;
}

/** Bytes that theory speaks of, and those that do not grow with the axis. */
const STATES: readonly Role[] = ["weights", "masterWeights", "gradients", "optimizer"];

/** Booked peak; theory is about states (over parameters) or all but states (over sequence and batch). */
function memoryCurve(group: readonly Configuration[], naming: Naming): ScalingCurve {
  const known = group.filter(({ memory }) => memory?.bookedBytes);
  const points = known.map((one): ScalingPoint => {
    const bytes = one.memory!.bookedBytes!;
    return { id: one.memory!.id, x: sizeOf(one, naming.axis), y: bytes, low: bytes, high: bytes };
  });
  const overParameters = naming.axis === "parameters";
  const grows = known.map((one, i) => {
    const states = STATES.reduce((sum, role) => sum + one.memory!.byRole[role], 0);
    return { x: points[i].x, total: points[i].y, y: overParameters ? states : points[i].y - states };
  });
  const naive = naming.axis === "sequenceLength" &&
    !group.some(({ config }) => config.methods.includes("flash"));
  return completed(naming, {
    quantity: "memory",
    points,
    expected: { exponent: naive ? 2 : 1, isSquare: naive },
    parts: grows.length > 1 ? memoryParts(grows, naive) : null,
  }, points);
}

function memoryParts(grows: readonly { x: number; y: number; total: number }[], naive: boolean): MemoryParts {
  const ends = [grows[0], grows[grows.length - 1]] as const;
  const at = (of: (one: typeof grows[number]) => number): Ends => [of(ends[0]), of(ends[1])];
  const fit = grows.every(({ y }) => y > 0) ? fitPowerLaw(grows) : null;
  // y / T = linear + square · T: a straight line tells the two parts apart.
  const line = naive ? fitStraightLine(grows.map(({ x, y }) => ({ x, y: y / x }))) : null;
  return {
    quantity: "memory",
    restShare: at(({ y, total }) => 1 - y / total),
    exponent: fit?.exponent.estimate ?? null,
    squareShare: line && line.rate > 0
      ? at(({ x, y }) => Math.min(1, Math.max(0, line.rate * x * x / y)))
      : null,
  };
}
