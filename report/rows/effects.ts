/**
 * Main effects and interactions of the factorial, on the logarithms of memory and of time: what a method does
 * alone, what it does beside others, and which pairs get in each other's way. Every figure is a contrast of
 * cells that differ in what is named alone, averaged over all such cells, so that combinations that were
 * pruned leave no bias. A fraction of all combinations has no two cells that differ in one method alone:
 * there all cells with a method are set against all without, where both have the same company.
 */
import type { RunConfig } from "../../results/record.ts";
import type { Configuration } from "./configuration.ts";
import { methodName, optimizerName } from "../words/names.ts";
import { exactly, type Interval, inverse, mean } from "../../results/stats.ts";
import { studentQuantile } from "../../results/student.ts";
import { alone } from "../../results/intervals.ts";
import { pooledSpread, type Spread } from "../../results/measured.ts";

/** Something that can be switched on; those of one factor exclude each other. */
export interface Treatment {
  id: string;
  name: string;
  factor: string;
}

/** The factors, each with the level a configuration has. */
const FACTORS: Readonly<Record<string, (config: RunConfig) => string>> = {
  accumulation: (config) => config.gradientAccumulationSteps > 1 ? "accumulation" : "off",
  checkpoint: ({ methods }) => methods.includes("checkpoint") ? "checkpoint" : "off",
  fp16: ({ methods }) => methods.includes("fp16") ? "fp16" : "off",
  flash: ({ methods }) => methods.includes("flash") ? "flash" : "off",
  optimizer: ({ optimizer }) => optimizer === "adamw" ? "off" : optimizer,
};

/** One combination of the factorial. */
export interface FactorialCell {
  configuration: Configuration;
  /** Level of each factor; `off` for AdamW. */
  levels: Record<string, string>;
  bytes: number | null;
  /** Left out by a rule: its bytes are the planner's, which are what a run books, and it has no time. */
  isPlanned: boolean;
  /** Logarithm of the milliseconds a token takes: mean over processes, each by its median. */
  logTime: number | null;
  processes: number;
  /** How processes of one combination scatter, pooled over all of them; null where each ran in one. */
  spread: Spread | null;
}

export interface Factorial {
  cells: FactorialCell[];
  /** What is switched on in some cell and off in another, in the order of the methods. */
  treatments: Treatment[];
  /** Combinations that did not run to their end. */
  failed: number;
  /** Whether no two cells differ in one treatment alone: a fraction of all combinations, by design. */
  isFraction: boolean;
}

/** Phases that show combinations; null where fewer than two factors were varied. */
export function factorialOf(configurations: readonly Configuration[]): Factorial | null {
  const phase = configurations.filter((one) => one.shows === "method-combinations");
  const known = phase.filter(({ ok, cells, memory }) => ok.length > 0 || (memory && isSkipped(cells)));
  const spread = pooledSpread(known.map(({ tokensPerSecond }) => tokensPerSecond));
  const cells = known.map((configuration): FactorialCell => {
    const rates = [...configuration.tokensPerSecond?.byProcess.values() ?? []];
    const levels = Object.fromEntries(
      Object.entries(FACTORS).map(([factor, level]) => [factor, level(configuration.config)]),
    );
    return {
      configuration,
      levels,
      bytes: configuration.memory?.bookedBytes ?? configuration.memory?.plannedBytes ?? null,
      isPlanned: configuration.ok.length === 0,
      logTime: rates.length > 0 ? mean(rates.map((rate) => -Math.log(rate))) : null,
      processes: rates.length,
      spread,
    };
  });
  const treatments = Object.keys(FACTORS).flatMap((factor): Treatment[] => {
    const levels = [...new Set(cells.map((cell) => cell.levels[factor]))];
    if (!levels.includes("off")) return [];
    const name = factor === "optimizer" ? optimizerName : methodName;
    return levels.filter((level) => level !== "off").map((id) => ({ id, name: name(id), factor }));
  });
  if (new Set(treatments.map(({ factor }) => factor)).size < 2) return null;
  const grid = new Cells(cells);
  const isFraction = treatments.every((treatment) =>
    grid.alike([treatment]).every(([one]) => one.length > 1)
  );
  return { cells, treatments, failed: phase.length - cells.length, isFraction };
}

function isSkipped(cells: Configuration["cells"]): boolean {
  return cells.every(({ status }) => status === "not-run");
}

/** A ratio as a geometric mean over contrasts, with how far they scatter among company. */
export interface Effect {
  /** With the 95 % interval of the mean; of times whose noise is not known, `n` is 1. */
  ratio: Interval;
  /** Least and most that was met in some company; null where all company was taken together. */
  range: { smallest: number; largest: number } | null;
  /** Cells that have what the effect is of. */
  n: number;
}

export interface MainEffect {
  treatment: Treatment;
  /** Times less memory. Exact: booked bytes do not scatter. */
  memoryAlone: number | null;
  memory: Effect | null;
  /** Times as long. */
  timeAlone: Interval | null;
  time: Effect | null;
}

type Value = "bytes" | "logTime";

/** A contrast: cells with the weight that each has in it. */
type Contrast = readonly (readonly [FactorialCell, number])[];

function keyOf(levels: Record<string, string>): string {
  return Object.keys(FACTORS).map((factor) => levels[factor]).join(" ");
}

/** The factorial as a table to look cells up in. */
class Cells {
  readonly #byKey: Map<string, FactorialCell>;

  constructor(readonly all: readonly FactorialCell[]) {
    this.#byKey = new Map(all.map((cell) => [keyOf(cell.levels), cell]));
  }

  /** The cell that differs from this one in the given levels alone. */
  like(cell: FactorialCell, levels: Record<string, string>): FactorialCell | null {
    return this.#byKey.get(keyOf({ ...cell.levels, ...levels })) ?? null;
  }

  /**
   * Sets of cells that are alike but for some treatments of different factors: in each set the cells with
   * none of them, with the first, with the second, with both. One cell each where there are such; else, of a
   * fraction, all that there are, where they have the same company.
   */
  alike(treatments: readonly Treatment[]): CellSet[] {
    const wanted = Array.from({ length: 2 ** treatments.length }, (_, which) =>
      Object.fromEntries(
        treatments.map(({ factor, id }, i) => [factor, which & (1 << i) ? id : "off"]),
      ));
    const has = ({ levels }: FactorialCell, some: Record<string, string>) =>
      Object.entries(some).every(([factor, level]) => levels[factor] === level);
    const single = this.all.filter((cell) => has(cell, wanted[0])).flatMap((none): CellSet[] => {
      const set = wanted.map((levels) => this.like(none, levels));
      return set.every((cell) => cell !== null) ? [set.map((cell) => [cell])] : [];
    });
    if (single.length > 0) return single;
    const groups = wanted.map((levels) => this.all.filter((cell) => has(cell, levels)));
    const others = Object.keys(FACTORS).filter((factor) => !treatments.some((one) => one.factor === factor));
    return groups[0].length > 0 && haveSameCompany(groups, others) ? [groups] : [];
  }
}

/** Cells in groups, of which each has another of the levels that are compared. */
type CellSet = readonly (readonly FactorialCell[])[];

/** Whether every level of other factors is as frequent in all groups. */
function haveSameCompany(groups: CellSet, factors: readonly string[]): boolean {
  const company = groups.map((cells) =>
    factors.map((factor) => cells.map(({ levels }) => levels[factor]).sort().join(" ")).join("; ")
  );
  return new Set(company).size === 1;
}

/** The contrast of the means of groups, each with a weight. */
function weighed(groups: readonly (readonly [readonly FactorialCell[], number])[]): Contrast {
  return groups.flatMap(([cells, weight]) => cells.map((cell) => [cell, weight / cells.length] as const));
}

const isOff = ({ levels }: FactorialCell) => Object.values(levels).every((level) => level === "off");

/** What each treatment does alone and beside others. */
export function mainEffects({ cells, treatments }: Factorial): MainEffect[] {
  const grid = new Cells(cells);
  return treatments.map((treatment): MainEffect => {
    const sets = grid.alike([treatment]);
    const contrast = ([without, having]: CellSet): Contrast => weighed([[having, 1], [without, -1]]);
    const alone = sets.filter(([without]) => without.length === 1 && isOff(without[0])).map(contrast);
    const all = sets.map(contrast);
    return {
      treatment,
      memoryAlone: timesLess(effectOf(alone, "bytes"))?.ratio.estimate ?? null,
      memory: timesLess(effectOf(all, "bytes")),
      timeAlone: effectOf(alone, "logTime")?.ratio ?? null,
      time: effectOf(all, "logTime"),
    };
  });
}

export interface Interaction {
  a: Treatment;
  b: Treatment;
  /** Times less memory with one, with both, and what both fall short of (or exceed) the product by. */
  memory: { a: number; b: number; both: number; share: number; words: MemoryWords } | null;
  /** Times as long with one, with both, and beyond the product. */
  time: { a: number; b: number; both: number; share: Interval } | null;
  n: number;
}

export type MemoryWords = "independent" | "reinforce" | "overlap" | "cancel" | "one of them saves little";

/** Ratios this near to each other are the same figure in print. */
const SAME = 1.005;
/** What saves less than this has nothing that another method could take away. */
const LITTLE = 1.02;

/** Every pair of treatments of different factors. */
export function interactions(factorial: Factorial): Interaction[] {
  const { cells, treatments } = factorial;
  const grid = new Cells(cells);
  return treatments.flatMap((a, i) =>
    treatments.slice(i + 1).filter((b) => b.factor !== a.factor).map((b): Interaction => {
      const sets = grid.alike([a, b]);
      const of = (value: Value, ...weights: [none: number, a: number, b: number, both: number]) =>
        effectOf(sets.map((set) => weighed(set.map((cells, which) => [cells, weights[which]]))), value);
      const set = (value: Value) => ({
        a: of(value, -1, 1, 0, 0),
        b: of(value, -1, 0, 1, 0),
        both: of(value, -1, 0, 0, 1),
        share: of(value, 1, -1, -1, 1),
      });
      const n = sets.reduce((sum, [none]) => sum + none.length, 0);
      return { a, b, n, memory: memoryOf(set("bytes")), time: timeOf(set("logTime")) };
    })
  );
}

type EffectSet = Record<"a" | "b" | "both" | "share", Effect | null>;

function memoryOf({ a, b, both, share }: EffectSet): Interaction["memory"] {
  if (!a || !b || !both || !share) return null;
  const [saveA, saveB, saveBoth, product] = [a, b, both, share].map(({ ratio }) => 1 / ratio.estimate);
  const larger = Math.max(saveA, saveB);
  const words: MemoryWords = Math.min(saveA, saveB) < LITTLE
    ? "one of them saves little"
    : product > SAME
    ? "reinforce"
    : product > 1 / SAME
    ? "independent"
    : saveBoth < larger * SAME
    ? "cancel"
    : "overlap";
  return { a: saveA, b: saveB, both: saveBoth, share: product, words };
}

function timeOf({ a, b, both, share }: EffectSet): Interaction["time"] {
  if (!a || !b || !both || !share) return null;
  return { a: a.ratio.estimate, b: b.ratio.estimate, both: both.ratio.estimate, share: share.ratio };
}

/** Mean of contrasts as a ratio; null without figures. Cells that contrasts share count by weight. */
function effectOf(contrasts: readonly Contrast[], value: Value): Effect | null {
  const logOf = (cell: FactorialCell) =>
    value === "logTime" ? cell.logTime : cell.bytes === null ? null : Math.log(cell.bytes);
  const known = contrasts.filter((contrast) => contrast.every(([cell]) => logOf(cell) !== null));
  if (known.length === 0) return null;
  const sums = known.map((contrast) =>
    contrast.reduce((sum, [cell, weight]) => sum + weight * logOf(cell)!, 0)
  );
  const centre = mean(sums);
  return {
    ratio: value === "logTime" ? timeRatio(centre, known) : exactly(Math.exp(centre)),
    range: known.length > 1
      ? { smallest: Math.exp(Math.min(...sums)), largest: Math.exp(Math.max(...sums)) }
      : null,
    n: known.reduce((sum, contrast) => sum + contrast.filter(([, weight]) => weight > 0).length, 0),
  };
}

/** The ratio with Student's 95 % interval of a mean of contrasts, from the spread that their phase shares. */
function timeRatio(centre: number, contrasts: readonly Contrast[]): Interval {
  const weights = new Map<FactorialCell, number>();
  for (const contrast of contrasts) {
    for (const [cell, weight] of contrast) {
      weights.set(cell, (weights.get(cell) ?? 0) + weight / contrasts.length);
    }
  }
  const { spread } = contrasts[0][0][0];
  if (!spread) return alone(Math.exp(centre));
  let variance = 0;
  for (const [cell, weight] of weights) variance += weight ** 2 / cell.processes;
  const reach = studentQuantile(0.975, spread.degrees) * spread.deviation * Math.sqrt(variance);
  const [estimate, low, high] = [centre, centre - reach, centre + reach].map(Math.exp);
  return { estimate, low, high };
}

/** From times as much to times less. */
function timesLess(effect: Effect | null): Effect | null {
  if (!effect) return null;
  const { ratio, range, n } = effect;
  return {
    ratio: inverse(ratio),
    range: range && { smallest: 1 / range.largest, largest: 1 / range.smallest },
    n,
  };
}
