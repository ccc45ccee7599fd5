/**
 * How time and memory grow with size: curves of the phases that vary one size at a time, each with the power law that
 * fits it and the one that theory expects.
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

export interface ScalingCurve {
  axis: ScalingAxis;
  quantity: "time" | "memory";
  /** `naive`, `flash`; empty where the phase has one curve. */
  label: string;
  points: ScalingPoint[];
  fit: PowerLaw | null;
  /** Exponent that theory gives for these very points. */
  expected: { exponent: number; law: string };
  /** Whether the expected exponent lies in the fit's interval, or on which side of it the fit lies; null without a fit. */
  outcome: "agrees" | "below" | "above" | "unsettled" | null;
  /** Why, from the records. */
  because: string[];
}

/** Smallest distance of exponents that counts: where all points lie on one line, the interval has no width. */
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
  curve: Pick<ScalingCurve, "quantity" | "points" | "expected" | "because">,
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

/** Time of a step; theory is the model's FLOPs at these sizes, which a device at a constant rate would follow. */
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
    expected: { exponent: law?.exponent.estimate ?? 1, law: FLOPS_LAW[naming.axis] },
    because: work.length > 1 ? timeReasons(work, roofline) : [],
    // Every step is a point of the fit: medians alone would hide how far steps of one size lie apart.
  }, timed.flatMap((one, i) => one.stepMs!.values.map((y) => ({ x: points[i].x, y }))));
}

const FLOPS_LAW: Record<ScalingAxis, string> = {
  parameters: "6 · parameters · tokens FLOPs, and attention's",
  sequenceLength: "FLOPs: those of the matrices grow with T, those of attention with T²",
  batchSize: "FLOPs grow with the batch",
};

interface Work {
  y: number;
  flops: number;
  cell: CellRecord;
}

/** The rate at both ends, time outside products at both ends, and the part of the time that no FLOP explains. */
function timeReasons(work: readonly Work[], roofline: Roofline | null): string[] {
  const [small, large] = [work[0], work[work.length - 1]];
  const rate = ({ flops, y }: Work) => flops / y * 1000;
  const ofCeiling = (one: Work) =>
    roofline ? ` (${percent(rate(one) / productRate(roofline, "f32"))} of the ceiling)` : "";
  const reasons = [
    `the step does ${giga(rate(small))}${ofCeiling(small)} at the smallest size and ${giga(rate(large))}${
      ofCeiling(large)
    } at the largest`,
  ];
  const line = fitStraightLine(work.map(({ flops, y }) => ({ x: flops, y })));
  if (line && line.fixed > 0) {
    reasons.push(
      `time against FLOPs leaves ${line.fixed.toPrecision(2)} ms that do not grow, ${
        percent(line.fixed / small.y)
      } of the smallest step and ${percent(line.fixed / large.y)} of the largest`,
    );
  }
  const [outside, outsideLarge] = [outsideProducts(small.cell), outsideProducts(large.cell)];
  if (outside !== null && outsideLarge !== null) {
    reasons.push(
      `${percent(outside)} of the kernels' time is outside products at the smallest size, ${
        percent(outsideLarge)
      } at the largest`,
    );
  }
  return reasons;
}

/** Share of a profiled step's time in kernels without FLOPs of products; null without a profile. */
function outsideProducts({ profile }: CellRecord): number | null {
  const total = profile?.reduce((sum, { ms }) => sum + ms, 0) ?? 0;
  if (!profile || total === 0) return null;
  return profile.reduce((sum, { ms, flops }) => sum + (flops > 0 ? 0 : ms), 0) / total;
}

/** Bytes that theory speaks of, and those that do not grow with the axis. */
const STATES: readonly Role[] = ["weights", "masterWeights", "gradients", "optimizer"];

/** Booked peak; theory is about the states (over parameters) or about what is not a state (over sequence and batch). */
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
    expected: {
      exponent: naive ? 2 : 1,
      law: naive ? "T² scores and probabilities" : MEMORY_LAW[naming.axis],
    },
    because: grows.length > 1 ? memoryReasons(grows, { overParameters, naive }) : [],
  }, points);
}

const MEMORY_LAW: Record<ScalingAxis, string> = {
  parameters: "16 bytes a parameter: weight, gradient and two moments in f32",
  sequenceLength: "activations grow with T: no T × T matrix is stored",
  batchSize: "activations grow with the batch",
};

/** What of the peak does not follow the law, and what the part that does grows by. */
function memoryReasons(
  grows: readonly { x: number; y: number; total: number }[],
  { overParameters, naive }: { overParameters: boolean; naive: boolean },
): string[] {
  const [small, large] = [grows[0], grows[grows.length - 1]];
  const [part, rest] = overParameters ? ["states", "activations"] : ["activations", "weights and states"];
  const restShare = ({ y, total }: typeof small) => 1 - y / total;
  const reasons = [
    `${rest} are ${percent(restShare(small))} of the smallest peak and ${
      percent(restShare(large))
    } of the largest`,
  ];
  const fit = grows.every(({ y }) => y > 0) ? fitPowerLaw(grows) : null;
  if (fit) reasons.push(`${part} alone grow with exponent ${fit.exponent.estimate.toFixed(2)}`);
  if (naive) {
    // y / T = linear + square · T: a straight line tells the two parts apart.
    const line = fitStraightLine(grows.map(({ x, y }) => ({ x, y: y / x })));
    const square = ({ x, y }: typeof small) => Math.min(1, Math.max(0, line!.rate * x * x / y));
    if (line && line.rate > 0) {
      reasons.push(
        `the part of them that grows with T² is ${percent(square(small))} at the smallest size and ${
          percent(square(large))
        } at the largest`,
      );
    }
  }
  return reasons;
}

const percent = (share: number) => `${(100 * share).toFixed(share > 0 && share < 0.095 ? 1 : 0)} %`;
const giga = (rate: number) => `${(rate / 1e9).toPrecision(3)} GFLOP/s`;
