/** Memory against throughput: what each configuration buys, and which ones no other beats on both. */
import type { Interval } from "../../results/stats.ts";
import { fasterAmong, type IsFaster, switchedCount } from "./faster.ts";
import { combinationKey, type Configuration, settingKey } from "./configuration.ts";

export interface ParetoPoint {
  label: string;
  id: string;
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
    const { label, memory, tokensPerSecond } = configuration;
    return {
      label,
      id: memory!.id,
      bytes: memory!.bookedBytes!,
      tokensPerSecond: tokensPerSecond!.interval,
      onFront: !measured.some((other) => isBeaten(configuration, other, isFaster)),
      isBaseline: configuration === baseline,
      isWinner: configuration === winner || (winner !== null && isSameWork(configuration, winner)),
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

/** Whether two phases ran the very same thing: then one point stands for both. */
function isSameWork(a: Configuration, b: Configuration): boolean {
  return settingKey(a) === settingKey(b) && combinationKey(a) === combinationKey(b);
}

/**
 * Whether a configuration leaves the front for another: one that needs no more memory and is faster beyond
 * the noise; or, where the noise tells neither from the other, one that needs no more and switches on less.
 */
function isBeaten(one: Configuration, other: Configuration, isFaster: IsFaster): boolean {
  if (one === other || other.memory!.bookedBytes! > one.memory!.bookedBytes!) return false;
  return isFaster(other, one) || (!isFaster(one, other) && switchedCount(other) < switchedCount(one));
}

function dominates(a: ParetoPoint, b: ParetoPoint): boolean {
  const [x, y] = [a.tokensPerSecond.estimate, b.tokensPerSecond.estimate];
  return a.bytes <= b.bytes && x >= y && (a.bytes < b.bytes || x > y);
}
