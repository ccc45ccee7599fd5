/** The full stacks that claim C1 is about, each against the baseline at its effective batch. */
import type { Configuration, Measured } from "../rows/derive.ts";
import { settingKey } from "../rows/derive.ts";
import type { Evidence, Pair } from "../rows/pairs.ts";
import { switchesOn } from "../rows/pairs.ts";
import { THREEFOLD } from "./paper.ts";
import { LARGEST_MARGIN, type LossDifference } from "../rows/quality.ts";
import { type Interval, studentQuantile } from "../../results/stats.ts";

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
 * Every full stack that has a baseline, the one that fulfils most of the claim first, then the smallest. Those with two seeds
 * or more are asked alone where there are any: of the others nothing is known of quality.
 */
export function stacks(evidence: Evidence): Stack[] {
  const full = evidence.trained.filter(isFullStack);
  const seeded = full.filter(({ seeds }) => seeds.length > 1);
  const judged = (seeded.length > 0 ? seeded : full).flatMap((changed) => {
    const baseline = baselineOf(changed, evidence);
    return baseline ? [judge({ baseline, changed }, evidence)] : [];
  });
  return judged.toSorted((a, b) =>
    score(b) - score(a) ||
    (a.pair.changed.memory?.bookedBytes ?? 0) - (b.pair.changed.memory?.bookedBytes ?? 0)
  );
}

function score({ isLean, isFast, isEqual }: Stack): number {
  return (isLean ? 4 : 0) + Number(isFast) + Number(isEqual);
}

function baselineOf(stack: Configuration, { trained }: Evidence): Configuration | null {
  const alike = trained.filter((one) =>
    switchesOn(one, { methods: [] }) && settingKey(one) === settingKey(stack)
  );
  const bySeeds = alike.toSorted((a, b) => b.seeds.length - a.seeds.length);
  return alike.find(({ phase }) => phase === stack.phase) ?? bySeeds[0] ?? null;
}

function judge(pair: Pair, evidence: Evidence): Stack {
  const memory = evidence.memoryRatio(pair);
  const throughput = evidence.throughputRatio(pair);
  const loss = evidence.loss(pair);
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
 * Whether a ratio of throughputs shows that nothing was lost: its interval does not reach below 1 by more than the baseline's own
 * runs differ. Runs that differ by more than `LARGEST_MARGIN` can show no such thing.
 */
export function holdsThroughput({ tokensPerSecond }: Configuration, ratio: Interval | null): boolean {
  return ratio !== null && ratio.low >= Math.max(slowestOfItself(tokensPerSecond), 1 - LARGEST_MARGIN);
}

/** How slow a second run of the baseline may come out beside the first, at 95 %: as a ratio; 1 where it is not known. */
export function slowestOfItself(baseline: Measured | null): number {
  const spread = baseline?.spread;
  if (!spread) return 1;
  return Math.exp(-studentQuantile(0.975, spread.degrees) * spread.deviation * Math.SQRT2);
}
