/**
 * Whether a held-out loss was kept: the difference to the baseline's over seeds, against a margin that was
 * set before (results/margins.ts). A comparison means something only where the baseline learned more than
 * that margin.
 */
import { studentCdf } from "../../results/student.ts";
import type { Interval } from "../../results/stats.ts";
import type { Configuration } from "./configuration.ts";
import { heldOutAt } from "../../results/held_out_at.ts";
import { equalTokens, heldOutLosses } from "./held_out.ts";
import { intervalOf, meanInterval, sumOfMeans } from "../../results/intervals.ts";
import { type TokensToLoss, tokensToLoss } from "./tokens_to_loss.ts";
import type { Measured } from "../../results/measured.ts";
import { type LossMargin, MARGINS } from "../../results/margins.ts";

/** How often a one-sided test may mislead. */
export const ALPHA = (1 - MARGINS.confidence.value) / 2;

/**
 * `equal`: within ±margin. `worse`, `better`: the interval leaves out 0, on that side. `unshown`: all else,
 * and wherever the baseline did not learn enough for a comparison.
 */
export type LossOutcome = "equal" | "worse" | "better" | "unshown";

/** What a baseline had learned where it is compared, in nats a token. */
export interface Learned {
  start: number;
  end: number;
  /** What a histogram of the tokens reaches; null where the records do not say. */
  unigrams: number | null;
}

export interface LossDifference {
  /** Other minus baseline, in nats per token, with the interval that decides; `n` counts seeds. */
  interval: Interval;
  outcome: LossOutcome;
  margin: LossMargin;
  /**
   * Of the test that the other's loss is higher by the margin, corrected where others were made; null: none.
   */
  pValue: number | null;
  /** What the baseline's final loss cost the other, the second measure; null where the curves do not say. */
  tokens: TokensToLoss | null;
  /** The model that was compared, where it is another than the pair's: see `qualityPair`. */
  model: string | null;
  /** Why the two may not be compared; null where they may. */
  refusal: string | null;
  learned: Learned | null;
}

/**
 * The start and the end of what a configuration learned, means over seeds; null where the start is not known.
 */
export function learnedBy({ ok }: Configuration, tokens: number | null): Learned | null {
  if (tokens === null) return null;
  const known = ok.flatMap((cell) => {
    const start = cell.heldOut.find(({ step }) => step === 0)?.loss ??
      (cell.config.startFrom === null ? cell.samples?.loss[0] : null) ?? null;
    const end = heldOutAt(cell, tokens);
    return start === null || end === null ? [] : [{ start, end, unigrams: cell.unigramLoss ?? null }];
  });
  if (known.length === 0) return null;
  const of = (key: "start" | "end") => meanInterval(known.map((one) => one[key])).estimate;
  return { start: of("start"), end: of("end"), unigrams: known[0].unigrams };
}

/**
 * Why a baseline has not learned enough for losses to be compared; null where it has, or nothing is known.
 */
export function notLearned(learned: Learned | null, { nats }: LossMargin): string | null {
  if (!learned) return null;
  const moved = learned.start - learned.end;
  if (!(moved > nats)) return `learned ${moved.toFixed(3)}, margin ${nats.toFixed(3)}`;
  const { unigrams, end } = learned;
  return unigrams !== null && !(end < unigrams)
    ? `the baseline ends at ${end.toFixed(3)}, a histogram of the tokens at ${unigrams.toFixed(3)}`
    : null;
}

/** Two configurations' held-out losses after equally many tokens; null where one has none. */
export function compareLosses(
  baseline: Configuration,
  other: Configuration,
  margin: LossMargin,
): LossDifference | null {
  const tokens = equalTokens([baseline, other]);
  const [before, after] = heldOutLosses([baseline, other], tokens);
  return lossDifference(before, after, {
    margin,
    learned: learnedBy(baseline, tokens),
    tokens: tokensToLoss(baseline, other, tokens),
  });
}

/** The test on the seeds' losses, paired where both sides ran the same seeds. */
export function lossDifference(
  baseline: Measured | null,
  other: Measured | null,
  { margin, learned = null, tokens = null }: {
    margin: LossMargin;
    learned?: Learned | null;
    tokens?: TokensToLoss | null;
  },
): LossDifference | null {
  if (!baseline || !other) return null;
  const estimated = sumOfMeans([
    { weight: 1, values: other.byProcess },
    { weight: -1, values: baseline.byProcess },
  ]);
  const interval = intervalOf(estimated, MARGINS.confidence.value);
  const refusal = notLearned(learned, margin) ?? (estimated.n < 2 ? "n = 1" : null);
  const known = { interval, margin, refusal, learned, tokens, model: null };
  if (refusal !== null) return { ...known, outcome: "unshown", pValue: null };
  const { estimate, standardError, degrees } = estimated;
  const distance = margin.nats - estimate;
  const pValue = standardError > 0 ? studentCdf(-distance / standardError, degrees) : distance > 0 ? 0 : 1;
  const isEqual = interval.low > -margin.nats && interval.high < margin.nats;
  const outcome = isEqual ? "equal" : interval.low > 0 ? "worse" : interval.high < 0 ? "better" : "unshown";
  return { ...known, outcome, pValue };
}
