/** Memory against throughput: what each configuration buys, and which ones no other beats on both. */
import type { Interval } from "../../results/stats.ts";
import { combinationKey, type Configuration, settingKey } from "./configuration.ts";

export interface ParetoPoint {
  label: string;
  id: string;
  bytes: number;
  tokensPerSecond: Interval;
  /** No other configuration needs less memory at no less throughput. */
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
  /** Points of the front by rising memory. */
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
  const points = configurations.flatMap((configuration): ParetoPoint[] => {
    const { label, memory, tokensPerSecond } = configuration;
    if (memory?.bookedBytes == null || !tokensPerSecond) return [];
    return [{
      label,
      id: memory.id,
      bytes: memory.bookedBytes,
      tokensPerSecond: tokensPerSecond.interval,
      onFront: false,
      isBaseline: configuration === baseline,
      isWinner: configuration === winner || (winner !== null && isSameWork(configuration, winner)),
    }];
  });
  for (const point of points) point.onFront = !points.some((other) => dominates(other, point));
  const front = points.filter(({ onFront }) => onFront).sort((a, b) => a.bytes - b.bytes);
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

function dominates(a: ParetoPoint, b: ParetoPoint): boolean {
  const [x, y] = [a.tokensPerSecond.estimate, b.tokensPerSecond.estimate];
  return a.bytes <= b.bytes && x >= y && (a.bytes < b.bytes || x > y);
}
