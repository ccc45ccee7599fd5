/**
 * Every margin of a verdict, set before a cell runs, each with its reason. What the paper itself gives (a
 * third, about 20 %, 15 to 17 GB, …) stands in report/claims/paper.ts; here stands how near is near enough.
 */
import type { Decision, RunConfig } from "./record.ts";

/** A rule's number with why it is that one. */
export interface Margin {
  name: string;
  value: number;
  reason: string;
}

const margin = (name: string, value: number, reason: string): Margin => ({ name, value, reason });

export const MARGINS = {
  confidence: margin(
    "confidence of the interval that decides",
    0.9,
    "each end of a 90 % interval errs once in twenty, and a verdict hangs on one end at a time: two one-sided tests at 5 % " +
      "(Schuirmann 1987)",
  ),
  throughput: margin(
    "throughput that may be lost and count as held",
    0.05,
    "a quarter of the one price of a method that the paper names, checkpointing's 20 %",
  ),
  lossFloor: margin(
    "held-out loss, nats a token, that may be lost at least",
    0.01,
    "1 % of perplexity, about the last digit in which perplexities are told",
  ),
  lossTokens: margin(
    "share of more tokens whose worth in loss may be lost, where the run decided it",
    0.02,
    "a loss that 2 % more training makes good is a matter of patience, not of quality; read off the baseline's curve over the " +
      "seeds of the rate sweep, before the judged cells run",
  ),
  tokens: margin(
    "share of more tokens to the baseline's final loss that may be needed and count as quality kept",
    0.05,
    "at equal throughput tokens are time: the same twentieth that throughput may lose",
  ),
  computing: margin(
    "an order of magnitude",
    10,
    "the paper's words; no rounding, since ten is where the order begins",
  ),
  storage: margin(
    "adapter's share of the model's bytes that counts as cheap",
    0.1,
    "ten tasks then fit into the room of one model",
  ),
  steadiness: margin(
    "relative difference of step times between a configuration's first and last process that the first screen names",
    0.05,
    "what throughput may lose and count as held: a machine that drifts by more can make a verdict, so the reader is told; no " +
      "verdict hangs on it",
  ),
  firstStep: margin(
    "relative difference of first losses that is rounding",
    1e-4,
    "f32 sums of some thousand terms in another order: 2⁻²⁴ · √terms, with headroom",
  ),
} as const;

/**
 * Confidence of an interval that shows a figure to lie beyond a region with two ends, where both ends are in
 * question at a time: each errs once in forty, so that they err once in twenty together.
 */
export const BEYOND_CONFIDENCE = (1 + MARGINS.confidence.value) / 2;

/** How far a held-out loss may lie above the baseline's and count as kept, and who said so. */
export interface LossMargin {
  nats: number;
  from: "decision" | "floor";
}

/**
 * The margin of a model's losses: what the run decided before the judged cells ran (`lossMargin/<model>` or
 * `lossMargin`), never below the floor; the floor where it decided nothing.
 */
export function lossMargin(decisions: readonly Decision[], { model }: Pick<RunConfig, "model">): LossMargin {
  const value = [`lossMargin/${model}`, "lossMargin"].map((name) =>
    decisions.find((one) => one.name === name)?.value
  ).find((value) => typeof value === "number");
  const { value: floor } = MARGINS.lossFloor;
  return typeof value === "number" && value > floor
    ? { nats: value, from: "decision" }
    : { nats: floor, from: "floor" };
}
