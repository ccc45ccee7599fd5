/**
 * The second measure of quality: how many tokens a run takes to the held-out loss that its baseline ends
 * with, as a ratio to what the baseline took. A difference in nats says little where a curve is steep and
 * much where it is flat; tokens are what such a difference costs.
 */
import type { CellRecord, HeldOutPoint } from "../../results/record.ts";
import type { Interval } from "../../results/stats.ts";
import { meanInterval } from "../../results/intervals.ts";
import { MARGINS } from "../../results/margins.ts";
import type { Configuration } from "./configuration.ts";
import { heldOutAt } from "../../results/held_out_at.ts";

/** Points of a curve, the start among them, below which a crossing is not looked for. */
const FEWEST_POINTS = 4;
/** The largest ratio that is told apart: a run that ends far above the loss may need any number of tokens. */
export const FARTHEST = 1.25;

/** What the baseline's final loss cost another run. */
export interface TokensToLoss {
  /** Tokens of the other ÷ those of the baseline, mean over the seeds that both have, with its interval. */
  ratio: Interval;
  /** Seeds that did not get there, counted as `FARTHEST`, the least that they can need. */
  notReached: number;
}

/** Null where no seed has both curves, or they have too few points. */
export function tokensToLoss(
  baseline: Configuration,
  other: Configuration,
  tokens: number | null,
): TokensToLoss | null {
  if (tokens === null) return null;
  const ratios = baseline.seeds.flatMap((seed) => {
    const [ours, theirs] = [other, baseline].map(({ ok }) => ok.find((one) => one.config.seed === seed));
    const ratio = ours && theirs ? ratioFor(theirs, ours, tokens) : null;
    return ratio === null ? [] : [ratio];
  });
  if (ratios.length === 0) return null;
  const ratio = meanInterval(ratios, MARGINS.confidence.value);
  return { ratio, notReached: ratios.filter((one) => one >= FARTHEST).length };
}

/**
 * A run that ends above the loss is as far behind as the baseline was where it had the run's own final loss.
 * Nothing is carried on beyond its end: a curve that flattens needs more tokens than its last fall says.
 */
function ratioFor(baseline: CellRecord, other: CellRecord, tokens: number): number | null {
  const [target, end] = [baseline, other].map((cell) => heldOutAt(cell, tokens));
  if (target === null || end === null) return null;
  const [theirs, ours] = [baseline, other].map((cell) => pointsUntil(cell, tokens));
  if (theirs.length < FEWEST_POINTS || ours.length < FEWEST_POINTS) return null;
  const reached = firstAt(ours, target);
  const ratio = reached === null
    ? tokens / (firstAt(theirs, end) ?? tokens)
    : reached / (firstAt(theirs, target) ?? tokens);
  return Math.min(FARTHEST, ratio);
}

function pointsUntil({ heldOut }: CellRecord, tokens: number): HeldOutPoint[] {
  return heldOut.filter((point) => point.tokens <= tokens).sort((a, b) => a.tokens - b.tokens);
}

/** Tokens at which a curve first comes down to a loss, between its nearest points; null where it does not. */
function firstAt(points: readonly HeldOutPoint[], loss: number): number | null {
  const after = points.findIndex((point) => point.loss <= loss);
  if (after < 0) return null;
  if (after === 0) return points[0].tokens;
  const [left, right] = [points[after - 1], points[after]];
  return left.tokens + (right.tokens - left.tokens) * (left.loss - loss) / (left.loss - right.loss);
}
