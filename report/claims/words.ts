/** The words that figures of a claim are given in. */
import type { Pair } from "../rows/pairs.ts";
import { memoryRatio, throughputRatio } from "../rows/pairs.ts";
import { LARGEST_MARGIN, type LossDifference, MARGIN_DEVIATIONS } from "../rows/loss_difference.ts";
import { formatInterval, formatNumber, memoryText } from "../words/format.ts";
import type { LossOf } from "./ledger.ts";

export const LOSS_WORDS: Record<LossDifference["outcome"], string> = {
  equal: "equal",
  worse: "worse",
  better: "better",
  unshown: "not shown to be equal",
};

/** `held-out loss +0.003 (equal; 90 %: −0.001 to 0.006, …)`. */
export function lossText(loss: LossDifference | null): string {
  if (loss === null) return "no held-out loss";
  const sign = loss.difference > 0 ? "+" : "";
  const places = loss.low === null || Math.abs(loss.difference) >= 0.1 ? 3 : 4;
  const { low, high, margin } = loss;
  const interval = low === null || high === null
    ? ""
    : ` [${formatNumber(low, places)}, ${formatNumber(high, places)}]`;
  const within = margin === null ? "" : `, margin ±${formatNumber(margin, places)}`;
  return `held-out loss ${sign}${formatNumber(loss.difference, places)}${interval} (${
    LOSS_WORDS[loss.outcome]
  }${within})`;
}

/** What an outcome rests on: interval, margin and seeds, or why there is none. */
export function lossDetail({ outcome, low, high, margin, marginShare, seeds }: LossDifference): string {
  if (Math.min(...seeds) < 2) return "a single seed: no interval";
  if (margin === 0) {
    return outcome === "equal"
      ? "the same losses to the last bit"
      : "the baseline's seeds do not differ: no margin";
  }
  return `90 %: ${formatNumber(low, 4)} to ${formatNumber(high, 4)}; equal within ±${
    formatNumber(margin, 4)
  }, ${MARGIN_DEVIATIONS} standard deviations of the baseline's ${seeds[0]} seeds${
    marginShare! > LARGEST_MARGIN
      ? `: ${formatNumber(marginShare! * 100)} % of its loss, too wide a margin to show equality`
      : ""
  }`;
}

/** Memory, throughput and loss of a configuration against its baseline, in one line. */
export function comparison(pair: Pair, loss: LossOf): string {
  const [memory, throughput] = [memoryRatio(pair), throughputRatio(pair)];
  return [
    memory === null ? "no memory record" : memoryText(memory),
    throughput === null ? "not timed" : `throughput × ${formatInterval(throughput, 2)}`,
    lossText(loss(pair)),
  ].join(", ");
}

export function percentText(share: number): string {
  const percent = share * 100;
  return `${formatNumber(percent, percent < 1 ? 2 : 1)} %`;
}
