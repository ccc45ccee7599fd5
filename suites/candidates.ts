import type { CellRecord } from "../results/record.ts";
import { mean, median, standardDeviation } from "../results/stats.ts";

/** What the rules of sweeps know of the held-out losses of one value they can pick. */
export interface FinalLosses {
  /** One mean loss a seed; empty where not all runs ended well. */
  losses: number[];
  /** Null where not all runs ended well. */
  heldOutLoss: number | null;
}

/** Held-out losses at the end of the runs of one value, by seed. */
export function finalLosses(cells: readonly CellRecord[]): FinalLosses {
  const complete = cells.every(({ status, heldOut }) => status === "ok" && heldOut.length > 0);
  if (!complete || cells.length === 0) return { losses: [], heldOutLoss: null };
  const seeds = [...new Set(cells.map(({ config }) => config.seed))];
  // Repeats of a seed are the same run again: their mean is one sample of what seeds do.
  const losses = seeds.map((seed) => mean(cells.filter(({ config }) => config.seed === seed).map(finalLoss)));
  return { losses, heldOutLoss: mean(losses) };
}

function finalLoss({ heldOut }: CellRecord): number {
  return heldOut.at(-1)?.loss ?? NaN;
}

/**
 * Median over groups of the standard deviation within them; 0 without two seeds.
 * The median, not the pooled deviation: one value that one seed does not train
 * well would widen the spread until everything counts as equal.
 */
export function typicalSpread(groups: readonly (readonly number[])[]): number {
  const several = groups.filter((group) => group.length > 1);
  return several.length === 0 ? 0 : median(several.map((group) => standardDeviation(group)));
}
