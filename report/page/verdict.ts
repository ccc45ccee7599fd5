/** The first screen: one sentence that answers, and the three figures it rests on. */
import type { Outcome } from "../claims/claim.ts";
import { LOSS_WORDS as LOSS_NAMES, lossDetail } from "../claims/words.ts";
import type { Analysis } from "../rows/analysis.ts";
import type { Configuration } from "../rows/configuration.ts";
import { extremes, type Sweep, type SweepRow } from "../rows/sweep.ts";
import type { Measured } from "../rows/measured.ts";
import { combinationName } from "../words/names.ts";
import { leaders, throughputFinding } from "./findings.ts";
import { small } from "../words/text.ts";
import { holdsThroughput } from "../claims/stacks.ts";
import {
  count,
  decimalsOfNoise,
  formatBytes,
  formatCompact,
  formatInterval,
  formatNumber,
  formatRatio,
  memoryText,
} from "../words/format.ts";
import type { Judgement } from "../claims/judge.ts";
import { memoryRatio, observedRatio, throughputRatio } from "../rows/pairs.ts";

/** A figure beside the verdict. */
export interface KeyFigure {
  name: string;
  value: string;
  /** Interval, n. */
  detail: string;
  /** The cell it comes from. */
  cell: string | null;
}

export interface Verdict {
  sentence: string;
  figures: KeyFigure[];
}

/** The report's first sentence and its three figures. */
export function verdictOf(analysis: Analysis, judgement: Judgement): Verdict {
  const threefold = threefoldVerdict(analysis, judgement);
  if (threefold) return threefold;
  if (analysis.sweep) return sweepVerdict(analysis, analysis.sweep);
  return { sentence: `${placeOf(analysis)}: ${progressOf(analysis)}.`, figures: [] };
}

function placeOf({ loaded: { run } }: Analysis): string {
  return `On ${run.environment.adapter.trim() || "an unnamed adapter"}`;
}

/** `24 of 30 cells finished, 4 oom, 2 have no record`. */
export function progressOf({ loaded: { run, cells, missing, unreadable } }: Analysis): string {
  const tally = new Map<string, number>();
  for (const { status } of cells) tally.set(status, (tally.get(status) ?? 0) + 1);
  const parts = [`${tally.get("ok") ?? 0} of ${count(run.cells.length, "cell")} finished`];
  for (const [status, n] of tally) {
    if (status !== "ok") {
      parts.push(status === "not-run" ? `${n} left out by a stated rule` : `${n} ${status}`);
    }
  }
  if (unreadable.length > 0) parts.push(`${unreadable.length} unreadable`);
  if (missing.length > 0) parts.push(`${missing.length} without a record`);
  return parts.join(", ");
}

function sweepVerdict(analysis: Analysis, sweep: Sweep): Verdict {
  const row = sweep.chosen ??
    extremes(sweep.rows, (one) => one.tokensPerSecond?.interval.estimate ?? null, "largest")?.best;
  if (!row || row.configuration.ok.length === 0) {
    return {
      sentence: `${placeOf(analysis)}, no batch size ran to its end: ${progressOf(analysis)}.`,
      figures: [],
    };
  }
  const { memory, label } = row.configuration;
  const isFastest = leaders(sweep.rows, ({ tokensPerSecond }) => tokensPerSecond, "largest")?.best === row;
  const needs = memory
    ? `${formatBytes(memory.bookedBytes ?? memory.plannedBytes)} at its peak`
    : "unknown memory";
  const rest = !sweep.chosen
    ? `; ${label} needs ${needs}`
    : isFastest
    ? `; the rule chose ${label}, which needs ${needs}`
    : `; the rule chose ${label}, ${
      formatCompact(row.tokensPerSecond?.interval.estimate)
    } tokens/s with ${needs}`;
  return {
    sentence: `${placeOf(analysis)}, ${small(throughputFinding(sweep))}${rest}.`,
    figures: [rateFigure(row.configuration), memoryFigure(row.configuration), lossFigure(row, sweep.tokens)],
  };
}

function rateFigure({ tokensPerSecond: rate, label }: Configuration): KeyFigure {
  if (!rate) return { name: `Throughput, ${label}`, value: "–", detail: "no timed steps", cell: null };
  return {
    name: `Throughput, ${label}`,
    value: `${formatNumber(rate.interval.estimate, decimalsOfNoise(rate.interval))} tokens/s`,
    detail: `${rangeText(rate)}; ${count(rate.values.length, "step")}, ${count(rate.byCell.length, "cell")}`,
    cell: rate.byCell[0].id,
  };
}

function memoryFigure({ memory, label }: Configuration): KeyFigure {
  if (!memory) return { name: `Peak memory, ${label}`, value: "–", detail: "no memory record", cell: null };
  const observed = memory.observed
    ? `observed ${formatBytes(memory.observed.estimate)} [${formatBytes(memory.observed.low)}, ${
      formatBytes(memory.observed.high)
    }]`
    : "not observed";
  return {
    name: `Peak memory, ${label}`,
    value: formatBytes(memory.bookedBytes ?? memory.plannedBytes),
    detail: `${memory.bookedBytes === memory.plannedBytes ? "planned = booked" : "planned"}; ${observed}`,
    cell: memory.id,
  };
}

function lossFigure({ heldOut, configuration: { label } }: SweepRow, tokens: number | null): KeyFigure {
  if (!heldOut) return { name: `Held-out loss, ${label}`, value: "–", detail: "not evaluated", cell: null };
  return {
    name: `Held-out loss, ${label}`,
    value: formatNumber(heldOut.interval.estimate, Math.max(2, decimalsOfNoise(heldOut.interval))),
    detail: `${rangeText(heldOut)}; ${count(heldOut.values.length, "seed")}, ${formatCompact(tokens)} tokens`,
    cell: heldOut.byCell[0].id,
  };
}

function rangeText({ interval, values }: Measured): string {
  if (values.length < 2) return "no interval";
  const decimals = Math.max(decimalsOfNoise(interval), interval.estimate < 20 ? 2 : 0);
  return `95 %: ${formatNumber(interval.low, decimals)} to ${formatNumber(interval.high, decimals)}`;
}

const C1_WORDS: Record<Exclude<Outcome, "not tested here">, string> = {
  reproduced: "reproduced",
  partly: "partly reproduced",
  "not reproduced": "not reproduced",
};

const LOSS_WORDS = {
  equal: "equal held-out loss",
  worse: "a higher held-out loss",
  better: "a lower held-out loss",
  unshown: "a held-out loss not shown to be equal",
};

/** The paper's first claim as the table of claims judges it; null where untested. */
function threefoldVerdict(analysis: Analysis, { verdicts, ledger }: Judgement): Verdict | null {
  const claim = verdicts.find(({ id }) => id === "C1");
  if (!claim?.pair || claim.outcome === "not tested here") return null;
  const { baseline, changed } = claim.pair;
  const memory = memoryRatio(claim.pair);
  const rate = throughputRatio(claim.pair);
  if (memory === null || !rate) return null;
  const loss = ledger.loss(claim.pair);
  const observed = observedRatio(claim.pair);
  const isPlanned = [baseline, changed].every(({ memory }) => memory!.bookedBytes === memory!.plannedBytes);
  const isTie = rate.low <= 1 && rate.high >= 1;
  const tie = !isTie ? "" : holdsThroughput(baseline, rate) ? " (no difference)" : " (not shown to hold)";
  const sentence = `${placeOf(analysis)}, ${combinationName(changed.config)} needs ${memoryText(memory)} at ${
    formatRatio(rate.estimate)
  } the throughput${tie}, with ${loss ? LOSS_WORDS[loss.outcome] : "no held-out loss to compare"}: claim C1 ${
    C1_WORDS[claim.outcome]
  }.`;
  return {
    sentence,
    figures: [
      {
        name: "Training memory (booked)",
        value: memoryText(memory),
        detail: `${
          isPlanned ? "exact: planned = booked, to the byte" : "exact, but booked differs from planned"
        }, in ${count(changed.ok.length + baseline.ok.length, "cell")}. ${
          observed
            ? `Observed with context: ${memoryText(observed.estimate)} (ratio ${formatInterval(observed, 2)})`
            : "Not observed from outside"
        }`,
        cell: changed.memory!.id,
      },
      {
        name: "Throughput",
        value: formatRatio(rate.estimate),
        detail: `95 %: ${formatRatio(rate.low)} to ${formatRatio(rate.high)}; ${
          count(changed.tokensPerSecond!.values.length, "step")
        } of ${count(changed.ok.length, "cell")}`,
        cell: changed.tokensPerSecond!.byCell[0].id,
      },
      {
        name: "Held-out loss",
        value: loss ? `${loss.difference > 0 ? "+" : ""}${formatNumber(loss.difference, 3)}` : "–",
        detail: loss ? `${LOSS_NAMES[loss.outcome]}; ${lossDetail(loss)}` : "not evaluated",
        cell: changed.ok[0].id,
      },
    ],
  };
}
