/**
 * The one way in which a figure becomes an answer: its interval lies inside the region that a claim asks for
 * (yes), outside of it (no), or across an edge (cannot tell). More noise makes intervals wider, so that it
 * takes answers away and never gives one.
 */
import type { Interval } from "../../results/stats.ts";
import { studentQuantile } from "../../results/student.ts";
import { isAlone } from "../../results/intervals.ts";
import { BEYOND_CONFIDENCE, MARGINS } from "../../results/margins.ts";

export const ANSWERS = ["yes", "no", "cannot tell"] as const;
export type Answer = typeof ANSWERS[number];

/** Where a figure must lie; an end that is null is open. */
export interface Region {
  low: number | null;
  high: number | null;
}

export const atLeast = (low: number): Region => ({ low, high: null });
export const atMost = (high: number): Region => ({ low: null, high });
/** A figure without noise that is the edge itself is neither above nor below it. */
export const above = (low: number): Region => atLeast(low + beside(low));
export const below = (high: number): Region => atMost(high - beside(high));
export const between = (low: number, high: number): Region => ({ low, high });

const beside = (edge: number) => 1e-6 * Math.max(1, Math.abs(edge));

/** Ratios come from logarithms: what is nearer to an edge than this share of it lies on it. */
const ROUNDING = 1e-9;

/**
 * Whether a figure lies in a region. Edges belong to it, as "three times" is three.
 */
export function answerOf(figure: Interval | null, { low, high }: Region): Answer {
  if (!figure || !Number.isFinite(figure.estimate) || isAlone(figure)) return "cannot tell";
  const slack = (edge: number) => ROUNDING * Math.max(1, Math.abs(edge));
  if (
    (low === null || figure.low >= low - slack(low)) && (high === null || figure.high <= high + slack(high))
  ) {
    return "yes";
  }
  const isOutside = (low !== null && figure.high < low) || (high !== null && figure.low > high);
  return isOutside ? "no" : "cannot tell";
}

/**
 * Which of two intervals of a figure decides. A figure can lie beyond either end of a region, and intervals
 * at `MARGINS.confidence` err once in twenty on each side: once in ten where there is nothing but noise. An
 * estimate beyond a region with two ends is therefore judged by the wider interval, at `BEYOND_CONFIDENCE`.
 */
export function decidingInterval(
  inside: Interval | null,
  beyond: Interval | null,
  region: Region,
): Interval | null {
  return inside && liesBeyond(inside, region) ? beyond : inside;
}

/** Whether an estimate lies beyond one of a region's two ends. */
function liesBeyond({ estimate }: Interval, { low, high }: Region): boolean {
  return low !== null && high !== null && (estimate < low || estimate > high);
}

/** The opposite of an answer. */
export function not(answer: Answer): Answer {
  return answer === "yes" ? "no" : answer === "no" ? "yes" : answer;
}

/** `yes` where all are, `no` where one is. */
export function allOf(answers: readonly Answer[]): Answer {
  if (answers.includes("no")) return "no";
  return answers.length > 0 && answers.every((answer) => answer === "yes") ? "yes" : "cannot tell";
}

/** More than this are not worth asking for: the truth is too near the edge. */
const MOST_PROCESSES = 1000;

/**
 * How many processes (or seeds) would have decided, if they scattered as these do about the same estimate:
 * those whose interval would reach from the estimate to the nearest edge. Null where one process says nothing
 * of scatter, or where so many would be needed that nobody runs them.
 */
export function processesNeeded(figure: Interval, region: Region): number | null {
  const { n, estimate, looks = 1 } = figure;
  const { low, high } = region;
  if (n === undefined || n < 2) return null;
  const confidence = liesBeyond(figure, region) ? BEYOND_CONFIDENCE : MARGINS.confidence.value;
  const edges = [low, high].filter((edge) => edge !== null);
  const distance = Math.min(...edges.map((edge) => Math.abs(edge - estimate)));
  const quantile = (count: number) => studentQuantile(1 - (1 - confidence) / 2 / looks, count - 1);
  const deviation = (figure.high - figure.low) / 2 * Math.sqrt(n) / quantile(n);
  for (let count = n + 1; count <= MOST_PROCESSES; count++) {
    if (quantile(count) * deviation / Math.sqrt(count) < distance) return count;
  }
  return null;
}
