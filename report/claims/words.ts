/** The words that figures of a claim are given in. */
import type { Configuration } from "../rows/configuration.ts";
import type { LossDifference } from "../rows/loss_difference.ts";
import { MARGINS } from "../../results/margins.ts";
import type { Pair } from "../rows/pairs.ts";
import { memoryRatio, throughputRatio } from "../rows/pairs.ts";
import { count, formatInterval, formatNumber, memoryText } from "../words/format.ts";
import type { LossOf } from "./ledger.ts";

export const LOSS_WORDS: Record<LossDifference["outcome"], string> = {
  equal: "equal",
  worse: "higher",
  better: "lower",
  unshown: "not shown to be equal",
};

/** `gpt2 on moby-dick, 1024 tokens, batch 4`: what a claim was tried on. */
export function settingName({ config, effectiveBatchSize }: Configuration): string {
  const { model, data, sequenceLength } = config;
  return `${model} on ${data}, ${sequenceLength} tokens, batch ${effectiveBatchSize}`;
}

/** `held-out loss +0.003 [−0.001, 0.006] (equal, margin 0.010)`. */
export function lossText(loss: LossDifference | null): string {
  if (loss === null) return "no held-out loss";
  const { interval, margin, refusal, outcome, model, tokens } = loss;
  const places = Math.abs(interval.estimate) >= 0.1 ? 3 : 4;
  const sign = interval.estimate > 0 ? "+" : "";
  const why = refusal === null || refusal === "n = 1" ? LOSS_WORDS[outcome] : `cannot tell: ${refusal}`;
  const also = tokens && refusal === null
    ? `, tokens to the baseline's loss × ${formatInterval(tokens.ratio, 2)}${
      tokens.notReached > 0 ? ` (${count(tokens.notReached, "seed")} did not get there)` : ""
    }`
    : "";
  return `${model === null ? "" : `on ${model} `}held-out loss ${sign}${
    formatInterval(interval, places)
  } (${why}, margin ${formatNumber(margin.nats, 3)})${also}`;
}

/** What an outcome rests on: interval, margin and seeds, or why there is none. */
export function lossDetail({ interval, margin, refusal }: LossDifference): string {
  if (refusal === "n = 1") return "a single seed: no interval";
  const from = margin.from === "decision"
    ? "what 2 % more tokens buy, decided before these cells ran"
    : "the floor: the run decided no other";
  const within = `equal within ±${formatNumber(margin.nats, 4)}, ${from}`;
  if (refusal !== null) return `cannot tell: ${refusal}; ${within}`;
  return `${formatNumber(MARGINS.confidence.value * 100)} %: ${formatNumber(interval.low, 4)} to ${
    formatNumber(interval.high, 4)
  } over ${count(interval.n ?? 0, "seed")}; ${within}`;
}

/** Memory, throughput and loss of a configuration against its baseline, in one line. */
export function comparison(pair: Pair, loss: LossOf): string {
  return [...pricesOf(pair), lossText(loss(pair))].join(", ");
}

/** Memory and throughput against the baseline. */
export function pricesOf(pair: Pair): string[] {
  const [memory, throughput] = [memoryRatio(pair), throughputRatio(pair, MARGINS.confidence.value)];
  return [
    memory === null ? "no memory record" : memoryText(memory),
    throughput === null ? "not timed" : `throughput × ${formatInterval(throughput, 2)}`,
  ];
}

export function percentText(share: number): string {
  const percent = share * 100;
  return `${formatNumber(percent, percent < 1 ? 2 : 1)} %`;
}
