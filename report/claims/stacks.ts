/** The full stacks that claim C1 is about, each against the baseline at its effective batch. */
import type { Interval } from "../../results/stats.ts";
import { studentQuantile } from "../../results/student.ts";
import type { Analysis } from "../rows/analysis.ts";
import { type Configuration, settingKey } from "../rows/configuration.ts";
import { LARGEST_MARGIN, type LossDifference } from "../rows/loss_difference.ts";
import { type Measured, pooledSpread } from "../rows/measured.ts";
import { isAlone } from "../rows/intervals.ts";
import { memoryRatio, type Pair, switchesOn, throughputRatio } from "../rows/pairs.ts";
import type { LossOf } from "./ledger.ts";
import { THREEFOLD } from "./paper.ts";

export interface Stack {
  pair: Pair;
  memory: number | null;
  throughput: Interval | null;
  loss: LossDifference | null;
  /** At least three times less booked memory. */
  isLean: boolean;
  /** See `holdsThroughput`. */
  isFast: boolean;
  /** Held-out loss equivalent, or lower. */
  isEqual: boolean;
}

const IN_STACK = ["checkpoint", "flash", "fp16"];
const LEAN_OPTIMIZERS = ["adafactor", "adamw8bit"];

/** Whether all four kinds of saving are switched on, and nothing but flash attention beside them. */
export function isFullStack({ config }: Configuration): boolean {
  return config.methods.includes("checkpoint") && config.methods.includes("fp16") &&
    config.methods.every((method) => IN_STACK.includes(method)) &&
    LEAN_OPTIMIZERS.includes(config.optimizer) && config.gradientAccumulationSteps > 1;
}

/**
 * Every full stack that has a baseline, with it. Those with two seeds or more are asked alone where there are
 * any: of the others nothing is known of quality.
 */
export function stackPairs({ trained }: Pick<Analysis, "trained">): Pair[] {
  const full = trained.filter(isFullStack);
  const seeded = full.filter(({ seeds }) => seeds.length > 1);
  return (seeded.length > 0 ? seeded : full).flatMap((changed) => {
    const baseline = baselineOf(changed, trained);
    return baseline ? [{ baseline, changed }] : [];
  });
}

/** Stacks by what they fulfil of the claim, most first, then by size, smallest first. */
export function rankedStacks(pairs: readonly Pair[], loss: LossOf): Stack[] {
  return pairs.map((pair) => stackOf(pair, loss(pair))).toSorted((a, b) =>
    score(b) - score(a) ||
    (a.pair.changed.memory?.bookedBytes ?? 0) - (b.pair.changed.memory?.bookedBytes ?? 0)
  );
}

function score({ isLean, isFast, isEqual }: Stack): number {
  return (isLean ? 4 : 0) + Number(isFast) + Number(isEqual);
}

function baselineOf(stack: Configuration, trained: readonly Configuration[]): Configuration | null {
  const alike = trained.filter((one) =>
    switchesOn(one, { methods: [] }) && settingKey(one) === settingKey(stack)
  );
  const bySeeds = alike.toSorted((a, b) => b.seeds.length - a.seeds.length);
  return alike.find(({ phase }) => phase === stack.phase) ?? bySeeds[0] ?? null;
}

function stackOf(pair: Pair, loss: LossDifference | null): Stack {
  const [memory, throughput] = [memoryRatio(pair), throughputRatio(pair)];
  return {
    pair,
    memory,
    throughput,
    loss,
    isLean: (memory ?? 0) >= THREEFOLD,
    isFast: holdsThroughput(pair.baseline, throughput),
    isEqual: loss?.outcome === "equal" || loss?.outcome === "better",
  };
}

/**
 * Whether a ratio of throughputs shows that nothing was lost: its interval does not reach below 1 by more
 * than the baseline's own runs differ. Runs that differ by more than `LARGEST_MARGIN` can show no such thing.
 */
export function holdsThroughput({ tokensPerSecond }: Configuration, ratio: Interval | null): boolean {
  return ratio !== null && !isAlone(ratio) &&
    ratio.low >= Math.max(slowestOfItself(tokensPerSecond), 1 - LARGEST_MARGIN);
}

/** How slow a second run of the baseline may be beside the first, at 95 %, as a ratio; 1 if unknown. */
export function slowestOfItself(baseline: Measured | null): number {
  const spread = pooledSpread([baseline]);
  if (!spread) return 1;
  return Math.exp(-studentQuantile(0.975, spread.degrees) * spread.deviation * Math.SQRT2);
}
