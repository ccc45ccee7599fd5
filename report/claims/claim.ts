/** What a claim of the paper is, and the words its verdict is given in. */
import type { Configuration } from "../rows/derive.ts";
import type { Evidence, Pair } from "../rows/pairs.ts";
import { formatInterval, formatNumber, formatRatio } from "../words/format.ts";
import type { LossDifference } from "../rows/quality.ts";

export type Outcome = "reproduced" | "partly" | "not reproduced" | "not tested here";

/** What a run says of a claim. */
export interface Finding {
  outcome: Outcome;
  /** Our figure with its interval, or why there is none. */
  ours: string;
  cells: Configuration[];
  /** Where on the page the evidence is drawn; the page leaves the link out where it has no such part. */
  section: string;
  /** What the verdict compares, where it is one configuration with another. */
  pair?: Pair;
}

export interface Claim {
  id: string;
  claim: string;
  /** The paper's figure, in its words. */
  paper: string;
  /** What makes it reproduced, in words. */
  rule: string;
  /** What would test it. */
  untested: string;
  /** Null where the run has no cells for it. */
  judge(evidence: Evidence): Finding | null;
}

/** `reproduced` where all hold, `not reproduced` where none does. */
export function verdictOn(...holds: readonly boolean[]): Outcome {
  return holds.every(Boolean) ? "reproduced" : holds.some(Boolean) ? "partly" : "not reproduced";
}

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

/** Memory, throughput and loss of a configuration against its baseline, in one line. */
export function comparison(evidence: Evidence, pair: Pair, { loss = true } = {}): string {
  const memory = evidence.memoryRatio(pair);
  const throughput = evidence.throughputRatio(pair);
  const parts = [
    memory === null ? "no memory record" : memoryText(memory),
    throughput === null ? "not timed" : `throughput × ${formatInterval(throughput, 2)}`,
  ];
  if (loss) parts.push(lossText(evidence.loss(pair)));
  return parts.join(", ");
}

/** `1.6× less memory`, `1.1× more memory`. */
export function memoryText(ratio: number): string {
  return ratio >= 1 ? `${formatRatio(ratio)} less memory` : `${formatRatio(1 / ratio)} more memory`;
}

export function percentText(share: number): string {
  const percent = share * 100;
  return `${formatNumber(percent, percent < 1 ? 2 : 1)} %`;
}
