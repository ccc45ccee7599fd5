/** The first screen: one sentence that answers, and the three figures it rests on. */
import type { Axis } from "../claims/claim.ts";
import { LOSS_WORDS as LOSS_NAMES, lossDetail } from "../claims/words.ts";
import type { Analysis } from "../rows/analysis.ts";
import type { Configuration } from "../rows/configuration.ts";
import { extremes, type Sweep, type SweepRow } from "../rows/sweep.ts";
import type { Measured } from "../../results/measured.ts";
import { combinationName } from "../words/names.ts";
import { leaders, throughputFinding } from "./findings.ts";
import { small } from "../words/text.ts";
import { isAlone } from "../../results/intervals.ts";
import { MARGINS } from "../../results/margins.ts";
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
import { drifts } from "../rows/steadiness.ts";

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

/** A sentence that takes something back from the verdict. */
export interface Caution {
  sentence: string;
  /** The cell it comes from. */
  cell: string;
}

/** That the machine did not keep its speed, with the configuration that shows it most; null where it did. */
export function driftCaution(analysis: Analysis): Caution | null {
  const [most, ...others] = drifts(analysis);
  if (!most) return null;
  const { configuration: { label, phase }, firstMs, lastMs, last } = most;
  const percent = formatNumber(Math.abs(lastMs / firstMs - 1) * 100);
  const more = others.length > 0
    ? `, and ${count(others.length, "configuration")} more changed likewise`
    : "";
  return {
    sentence: `The machine did not keep its speed: a step of ${label} (phase ${phase}) took ${percent} % ${
      lastMs > firstMs ? "longer" : "less time"
    } in its last process than in its first (${formatNumber(lastMs, 1)} and ${
      formatNumber(firstMs, 1)
    } ms)${more}; clocks that fall with heat do so, and other work.`,
    cell: last,
  };
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
    detail: `${rangeText(rate)}; ${count(rate.values.length, "step")} of ${
      count(rate.byProcess.size, "process", "processes")
    }`,
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

function rangeText({ interval }: Measured): string {
  if (isAlone(interval)) return "n = 1: no interval";
  const decimals = Math.max(decimalsOfNoise(interval), interval.estimate < 20 ? 2 : 0);
  return `95 %: ${formatNumber(interval.low, decimals)} to ${formatNumber(interval.high, decimals)}`;
}

const AXIS_WORDS: Record<string, string> = {
  memory: "a third of the memory",
  throughput: "throughput held",
  quality: "quality held",
};

/** `a third of the memory: yes (3.4×)`. */
function axisSentence({ axis, answer, figure, unit, why, model }: Axis): string {
  const value = !figure
    ? ""
    : unit === "nats"
    ? `${figure.estimate > 0 ? "+" : ""}${formatNumber(figure.estimate, 3)} nats`
    : formatRatio(figure.estimate);
  const notes = [model === null ? "" : `on ${model}`, value, answer === "cannot tell" ? why : ""].filter(
    Boolean,
  ).join("; ");
  return `${AXIS_WORDS[axis] ?? axis}: ${answer}${notes ? ` (${notes})` : ""}`;
}

/** The paper's first claim, by axis, as the table of claims judges it; null where untested. */
function threefoldVerdict(analysis: Analysis, { first, ledger }: Judgement): Verdict | null {
  const pair = first?.pair;
  const axes = first?.settings[0]?.axes;
  if (!first || !pair || !axes) return null;
  const { baseline, changed } = pair;
  const memory = memoryRatio(pair);
  const rate = throughputRatio(pair, MARGINS.confidence.value);
  if (memory === null || !rate) return null;
  const loss = ledger.loss(pair);
  const observed = observedRatio(pair);
  const isPlanned = [baseline, changed].every(({ memory }) => memory!.bookedBytes === memory!.plannedBytes);
  const { config, seeds } = changed;
  const sentence = `${placeOf(analysis)}, ${config.model}, ${count(config.steps, "step")}, ${
    count(seeds.length, "seed")
  }, ${combinationName(config)}: ${axes.map(axisSentence).join("; ")}. Claim ${first.id}: ${first.says}.`;
  const level = formatNumber(MARGINS.confidence.value * 100);
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
        detail: `${
          isAlone(rate)
            ? "n = 1: no interval"
            : `${level} %: ${formatRatio(rate.low)} to ${formatRatio(rate.high)}`
        }; ${count(changed.tokensPerSecond!.byProcess.size, "process", "processes")} against ${
          baseline.tokensPerSecond!.byProcess.size
        }`,
        cell: changed.tokensPerSecond!.byCell[0].id,
      },
      {
        name: "Held-out loss",
        value: loss
          ? `${loss.interval.estimate > 0 ? "+" : ""}${formatNumber(loss.interval.estimate, 3)}`
          : "–",
        detail: loss ? `${LOSS_NAMES[loss.outcome]}; ${lossDetail(loss)}` : "not evaluated",
        cell: changed.ok[0].id,
      },
    ],
  };
}
