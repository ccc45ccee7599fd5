/** Memory against throughput: what each configuration buys, and which ones no other beats on both. */
import type { Interval } from "../../results/stats.ts";
import { fasterAmong, type IsFaster, switchedCount } from "./faster.ts";
import { type Configuration, workKey } from "./configuration.ts";
import { batchName, combinationName } from "../words/names.ts";

export interface ParetoPoint {
  /** With its batch, where that is not the baseline's. */
  label: string;
  id: string;
  /** `4`, and `1 × 4` where it is accumulated. */
  batch: string;
  bytes: number;
  tokensPerSecond: Interval;
  /** No other configuration is shown to be better: see `isBeaten`. */
  onFront: boolean;
  isBaseline: boolean;
  /** The stack that the paper's first claim is judged on. */
  isWinner: boolean;
}

/** A point of the guide that the paper cites, its ratios applied to our baseline. */
export interface GuidePoint {
  label: string;
  bytes: number;
  tokensPerSecond: number;
}

export interface Pareto {
  points: ParetoPoint[];
  /** By rising memory, what no other one beats in the estimates: the line through the front. */
  front: ParetoPoint[];
  guide: GuidePoint[];
}

/**
 * Configurations with booked memory and throughput, the front among them, and stacks of the guide by their
 * ratios to the baseline.
 */
export function paretoOf(
  configurations: readonly Configuration[],
  { baseline, winner = null, stacks = [] }: {
    baseline: Configuration | null;
    winner?: Configuration | null;
    stacks?: readonly { name: string; memory: number; throughput: number }[];
  },
): Pareto {
  const measured = configurations.filter(({ memory, tokensPerSecond }) =>
    memory?.bookedBytes != null && tokensPerSecond
  );
  const isFaster = fasterAmong(measured);
  const points = measured.map((configuration): ParetoPoint => {
    const { config, memory, tokensPerSecond } = configuration;
    return {
      label: pointLabel(configuration, baseline),
      batch: batchName(config),
      id: memory!.id,
      bytes: memory!.bookedBytes!,
      tokensPerSecond: tokensPerSecond!.interval,
      onFront: !measured.some((other) => isBeaten(configuration, other, { isFaster, baseline })),
      isBaseline: configuration === baseline,
      isWinner: configuration === winner || (winner !== null && workKey(configuration) === workKey(winner)),
    };
  });
  const front = points.filter((point) => !points.some((other) => dominates(other, point)))
    .sort((a, b) => a.bytes - b.bytes);
  const base = points.find(({ isBaseline }) => isBaseline);
  const guide = base
    ? stacks.map(({ name, memory, throughput }) => ({
      label: name,
      bytes: base.bytes / memory,
      tokensPerSecond: base.tokensPerSecond.estimate * throughput,
    }))
    : [];
  return { points, front, guide };
}

/** Its own label; at another batch than the baseline's, or split as few are, what it switches on at which. */
function pointLabel(
  { label, config, effectiveBatchSize }: Configuration,
  baseline: Configuration | null,
): string {
  const batch = `batch ${batchName(config)}`;
  if (!baseline || effectiveBatchSize === baseline.effectiveBatchSize) {
    const isSplitOddly = config.microBatchSize > 1 && config.gradientAccumulationSteps > 1;
    return isSplitOddly ? `${label}, ${batch}` : label;
  }
  const isPlain = config.methods.length === 0 && config.optimizer === "adamw";
  return isPlain ? batch : `${combinationName(config)}, ${batch}`;
}

/**
 * Whether a configuration leaves the front for another: one that needs no more memory and is faster beyond
 * the noise; or, where the noise tells neither from the other, one that needs no more and switches on less.
 */
function isBeaten(
  one: Configuration,
  other: Configuration,
  { isFaster, baseline }: { isFaster: IsFaster; baseline: Configuration | null },
): boolean {
  if (one === other || other.memory!.bookedBytes! > one.memory!.bookedBytes!) return false;
  const isSimpler = switchedCount(other, baseline) < switchedCount(one, baseline);
  return isFaster(other, one) || (!isFaster(one, other) && isSimpler);
}

function dominates(a: ParetoPoint, b: ParetoPoint): boolean {
  const [x, y] = [a.tokensPerSecond.estimate, b.tokensPerSecond.estimate];
  return a.bytes <= b.bytes && x >= y && (a.bytes < b.bytes || x > y);
}
