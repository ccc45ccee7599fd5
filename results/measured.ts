/**
 * Raw samples with an honest interval. The unit is the process: of each the median step counts, and the
 * interval is Student's over processes. The steps of one process are no repeats of each other: they share its
 * luck with clocks and page placement, so that their own scatter says how even a process is, and nothing of
 * the next one.
 */
import type { CellRecord } from "./record.ts";
import { exactly, type Interval, mean, median } from "./stats.ts";
import {
  CONFIDENCE,
  exponential,
  intervalOf,
  isAlone,
  meanInterval,
  type Paired,
  sumOfMeans,
  type Term,
} from "./intervals.ts";

/** The samples of one cell. */
export interface CellSamples {
  id: string;
  seed: number;
  values: number[];
  /** 0 where there are no rounds. */
  round?: number;
  /** Cells with the same one are not independent; the cell's own where it is not said. */
  process?: string;
}

/** What cells measured, each under the process that measured it. */
export function samplesOf(
  cells: readonly CellRecord[],
  values: (cell: CellRecord) => number[],
): CellSamples[] {
  return cells.map((cell) => ({
    id: cell.id,
    seed: cell.config.seed,
    round: cell.round,
    process: cell.process ?? cell.id,
    values: values(cell),
  }));
}

/** Raw samples with the mean over processes and its 95 % interval. */
export interface Measured {
  /** Of times and rates the geometric mean, of losses the arithmetic one. */
  interval: Interval;
  /** One entry a cell, in order. */
  byCell: CellSamples[];
  /** All samples together. */
  values: number[];
  /** The median of each process, by seed and round. */
  byProcess: Paired;
  /** How often a rule looked at the times before it let them be enough: ratios have that much less error. */
  looks: number;
}

/** `factor`: what is compared by ratios, and is above 0; `difference`: what is compared by differences. */
export type Scale = "factor" | "difference";

/** Measures one configuration; null where it has no samples. */
export function measure(
  cells: readonly CellSamples[],
  scale: Scale = "factor",
  looks = 1,
): Measured | null {
  const byCell = cells.filter(({ values }) => values.length > 0);
  if (byCell.length === 0) return null;
  const byProcess = processesOf(byCell);
  const figures = [...byProcess.values()];
  const isFactor = scale === "factor" && figures.length > 1 && figures.every((figure) => figure > 0);
  const interval = isFactor ? exponential(meanInterval(figures.map(Math.log))) : meanInterval(figures);
  return { interval, byCell, values: byCell.flatMap(({ values }) => values), byProcess, looks };
}

/** Cells of one process become one figure; processes of the same seed and round stand beside each other. */
function processesOf(cells: readonly CellSamples[]): Map<string, number> {
  const groups = Object.values(Object.groupBy(cells, ({ id, process }) => process ?? id));
  const found = new Map<string, number>();
  for (const group of groups) {
    const [{ seed, round = 0 }] = group!;
    let name = `seed ${seed}, round ${round}`;
    for (let again = 2; found.has(name); again++) name = `seed ${seed}, round ${round}, again ${again}`;
    found.set(name, median(group!.flatMap(({ values }) => values)));
  }
  return found;
}

/**
 * Geometric mean of the ratios `a / b` of all pairs, with its interval (see `sumOfMeans`); null without
 * pairs. Where a rule looked at the processes and could add some, each look has its part of the error
 * (Bonferroni), so that the interval holds what it says however the rule decided.
 */
export function meanRatio(
  pairs: readonly (readonly [a: Measured, b: Measured])[],
  confidence = CONFIDENCE,
): Interval | null {
  if (pairs.length === 0) return null;
  if (pairs.every(([a, b]) => a === b)) return exactly(1);
  const weight = 1 / pairs.length;
  const terms = pairs.flatMap(([a, b]): Term[] => [
    { weight, values: logsOf(a) },
    { weight: -weight, values: logsOf(b) },
  ]);
  const looks = Math.max(...pairs.flat().map((one) => one.looks));
  const interval = exponential(intervalOf(sumOfMeans(terms), 1 - (1 - confidence) / looks));
  return looks > 1 ? { ...interval, looks } : interval;
}

function logsOf({ byProcess }: Measured): Paired {
  return new Map([...byProcess].map(([name, value]) => [name, Math.log(value)]));
}

/** Ratio `a / b` with its interval; null without samples. */
export function ratioOf(a: Measured | null, b: Measured | null, confidence = CONFIDENCE): Interval | null {
  return a && b && meanRatio([[a, b]], confidence);
}

/** Ratios come from logarithms: what is nearer to 1 than this is 1. */
const ROUNDING = 1e-9;

/** Whether a ratio's interval leaves out 1: inside it, and where there is none, there is no difference. */
export function differs(ratio: Interval | null): boolean {
  return ratio !== null && !isAlone(ratio) && (ratio.low > 1 + ROUNDING || ratio.high < 1 - ROUNDING);
}

/** What processes say of two figures; `unknown` where a side has one alone. */
export function compare(a: Measured | null, b: Measured | null): "different" | "no difference" | "unknown" {
  const ratio = ratioOf(a, b);
  if (!ratio || isAlone(ratio)) return "unknown";
  return differs(ratio) ? "different" : "no difference";
}

/** Relative standard deviation between the processes of a configuration, pooled over configurations. */
export interface Spread {
  /** Of the processes' logarithms. */
  deviation: number;
  degrees: number;
}

/**
 * The scatter that configurations share, as in an analysis of variance; null where none has two processes.
 */
export function pooledSpread(configurations: readonly (Measured | null)[]): Spread | null {
  let [squares, degrees] = [0, 0];
  for (const one of configurations) {
    const logs = one ? [...logsOf(one).values()] : [];
    if (logs.length < 2) continue;
    const centre = mean(logs);
    for (const value of logs) squares += (value - centre) ** 2;
    degrees += logs.length - 1;
  }
  return degrees > 0 && Number.isFinite(squares)
    ? { deviation: Math.sqrt(squares / degrees), degrees }
    : null;
}
