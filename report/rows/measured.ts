/**
 * Raw samples with an honest interval. Two sources of noise count: steps scatter within a process, and
 * processes (other seeds, other luck with clocks and page placement) scatter among themselves. With two or
 * three processes a configuration, their scatter is known too badly to stand alone, so it is pooled over the
 * configurations of a phase, as in an analysis of variance.
 */
import {
  bootstrapMedian,
  bootstrapRatioOfMedians,
  exactly,
  type Interval,
  mean,
  median,
} from "../../results/stats.ts";
import { studentQuantile } from "../../results/student.ts";

/** Fixed, so that the same records give the same intervals. */
export const BOOTSTRAP = { seed: 20240, resamples: 1000 } as const;

/** The samples of one cell. */
export interface CellSamples {
  id: string;
  seed: number;
  values: number[];
}

/** Relative standard deviation between the cells of a configuration, pooled over configurations. */
export interface Spread {
  /** Of the cells' logarithms. */
  deviation: number;
  degrees: number;
}

/** Raw samples with their median (of one value a cell: mean) and its 95 % interval. */
export interface Measured {
  interval: Interval;
  /** One entry a cell, in order. */
  byCell: CellSamples[];
  /** All samples together. */
  values: number[];
  /** Null where no configuration has two cells: then the interval knows the steps alone, or nothing. */
  spread: Spread | null;
}

/** Measures configurations that may share their spread, those of one phase; null where one has no samples. */
export function measureTogether(configurations: readonly (readonly CellSamples[])[]): (Measured | null)[] {
  const present = configurations.map((cells) => cells.filter(({ values }) => values.length > 0));
  const spread = pooledSpread(present.map(logsOf));
  return present.map((cells) => cells.length === 0 ? null : measure(cells, spread));
}

function measure(byCell: CellSamples[], spread: Spread | null): Measured {
  const values = byCell.flatMap((cell) => cell.values);
  const isOneEach = values.length === byCell.length;
  const estimate = isOneEach ? mean(values) : median(values);
  const ofSteps = isOneEach ? exactly(estimate) : bootstrapMedian(values, BOOTSTRAP);
  const reach = spread ? reachOf(spread, 1 / byCell.length) : 0;
  const centre = mean(logsOf(byCell));
  const ofCells = spread && { estimate, low: Math.exp(centre - reach), high: Math.exp(centre + reach) };
  return { interval: ofCells ? wider(ofSteps, ofCells) : ofSteps, byCell, values, spread };
}

function logsOf(cells: readonly CellSamples[]): number[] {
  return cells.map(({ values }) => Math.log(median(values)));
}

/** Standard deviation within groups, pooled; null without any group of two, or without logarithms. */
function pooledSpread(groups: readonly number[][]): Spread | null {
  let [squares, degrees] = [0, 0];
  for (const group of groups) {
    if (group.length < 2) continue;
    const centre = mean(group);
    for (const value of group) squares += (value - centre) ** 2;
    degrees += group.length - 1;
  }
  return degrees > 0 && Number.isFinite(squares)
    ? { deviation: Math.sqrt(squares / degrees), degrees }
    : null;
}

/** Half of Student's 95 % interval of a mean (or difference) whose variance is `share` of a cell's. */
function reachOf({ deviation, degrees }: Spread, share: number): number {
  return studentQuantile(0.975, degrees) * deviation * Math.sqrt(share);
}

/** The first interval's estimate with the lower and the higher of both ends. */
function wider(a: Interval, b: Interval): Interval {
  return { estimate: a.estimate, low: Math.min(a.low, b.low), high: Math.max(a.high, b.high) };
}

/**
 * Ratios already worked out: titles, tables and rules ask for the same ones, and resampling is what a report
 * takes time for.
 */
const knownRatios = new WeakMap<Measured, WeakMap<Measured, Interval>>();

/** Ratio `a / b` with its 95 % interval, the wider of steps' and cells'; null without samples. */
export function ratioOf(a: Measured | null, b: Measured | null): Interval | null {
  if (!a || !b) return null;
  if (a === b) return exactly(1);
  const ofA = knownRatios.get(a) ?? new WeakMap<Measured, Interval>();
  knownRatios.set(a, ofA);
  const ratio = ofA.get(b) ?? freshRatio(a, b);
  ofA.set(b, ratio);
  return ratio;
}

function freshRatio(a: Measured, b: Measured): Interval {
  const cells = ratioOfCells(a, b);
  const isOneEach = [a, b].every(({ byCell, values }) => byCell.length === values.length);
  if (cells && isOneEach) return cells;
  const samples = bootstrapRatioOfMedians(a.values, b.values, BOOTSTRAP);
  return cells ? wider(samples, cells) : samples;
}

function ratioOfCells(a: Measured, b: Measured): Interval | null {
  const spread = jointSpread(a.spread, b.spread);
  if (!spread) return null;
  const difference = mean(logsOf(a.byCell)) - mean(logsOf(b.byCell));
  const reach = reachOf(spread, 1 / a.byCell.length + 1 / b.byCell.length);
  const [estimate, low, high] = [difference, difference - reach, difference + reach].map(Math.exp);
  return { estimate, low, high };
}

/** The spread of two sides: their common one, or both pooled; null unless both are known. */
function jointSpread(a: Spread | null, b: Spread | null): Spread | null {
  if (!a || !b || a === b) return a && b;
  const degrees = a.degrees + b.degrees;
  const squares = a.deviation ** 2 * a.degrees + b.deviation ** 2 * b.degrees;
  return { deviation: Math.sqrt(squares / degrees), degrees };
}

/** Whether a ratio's interval leaves out 1: inside it, there is "no difference". */
export function differs(ratio: Interval | null): boolean {
  return ratio !== null && (ratio.low > 1 || ratio.high < 1);
}

/** What samples say of two figures; `unknown` where a side has one and the spread is not known. */
export function compare(a: Measured | null, b: Measured | null): "different" | "no difference" | "unknown" {
  if (!a || !b) return "unknown";
  const isSingle = a.values.length < 2 || b.values.length < 2;
  if (isSingle && !jointSpread(a.spread, b.spread)) return "unknown";
  return differs(ratioOf(a, b)) ? "different" : "no difference";
}
