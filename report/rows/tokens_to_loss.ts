/**
 * The second measure of quality: how many tokens a run takes to the held-out loss that its baseline ends
 * with, as a ratio to what the baseline took. A difference in nats says little where a curve is steep and
 * much where it is flat; tokens are what such a difference costs.
 */
import type { CellRecord } from "../../results/record.ts";
import type { Interval } from "../../results/stats.ts";
import { meanInterval } from "../../results/intervals.ts";
import { MARGINS } from "../../results/margins.ts";
import type { Configuration } from "./configuration.ts";
import { heldOutAt } from "../../results/held_out_at.ts";

/** Points of a curve, the start among them, below which a crossing is not looked for. */
const FEWEST_POINTS = 4;
/** A run that ends above the loss is carried on along its own last fall, up to so many times its tokens. */
const FARTHEST = 1.25;
/** The last fall: over this share of the tokens, at the end. */
const LAST_SHARE = 0.25;

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

function ratioFor(baseline: CellRecord, other: CellRecord, tokens: number): number | null {
  const target = heldOutAt(baseline, tokens);
  if (target === null) return null;
  const [theirs, ours] = [baseline, other].map((cell) => tokensTo(cell, target, tokens));
  return theirs === null || ours === null ? null : Math.min(FARTHEST, ours / theirs);
}

/** Tokens at which a curve first comes down to a loss; Infinity where it never will, as far as it shows. */
function tokensTo(cell: CellRecord, loss: number, tokens: number): number | null {
  const points = cell.heldOut.filter((point) => point.tokens <= tokens).sort((a, b) => a.tokens - b.tokens);
  if (points.length < FEWEST_POINTS) return null;
  const after = points.findIndex((point) => point.loss <= loss);
  if (after === 0) return points[0].tokens;
  if (after > 0) {
    const [left, right] = [points[after - 1], points[after]];
    return left.tokens + (right.tokens - left.tokens) * (left.loss - loss) / (left.loss - right.loss);
  }
  const [before, end] = [heldOutAt(cell, tokens * (1 - LAST_SHARE)), heldOutAt(cell, tokens)];
  if (before === null || end === null) return null;
  const perToken = (before - end) / (tokens * LAST_SHARE);
  return perToken > 0 ? tokens + (end - loss) / perToken : Infinity;
}
