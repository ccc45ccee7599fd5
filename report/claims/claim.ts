/** What a claim of the paper is, and what a run can say of it. */
import type { Interval } from "../../results/stats.ts";
import type { Analysis } from "../rows/analysis.ts";
import type { Configuration } from "../rows/configuration.ts";
import { ALPHA, type LossDifference } from "../rows/loss_difference.ts";
import { MARGINS } from "../../results/margins.ts";
import type { Pair } from "../rows/pairs.ts";
import { formatInterval, formatNumber } from "../words/format.ts";
import { type Answer, answerOf, decidingInterval, not, processesNeeded, type Region } from "./decide.ts";
import type { LossOf } from "./ledger.ts";

/** In the order in which they are counted. */
export const OUTCOMES = [
  "reproduced",
  "shown by axis",
  "not reproduced",
  "depends on the setting",
  "cannot tell",
  "by construction",
  "not tested here",
] as const;
export type Outcome = typeof OUTCOMES[number];

/** What an axis does to the verdict. */
export const WEIGHTS = ["decides", "by construction", "reported"] as const;

/** One of the questions that a claim comes down to, as one setting answers it. */
export interface Axis {
  axis: string;
  answer: Answer;
  /** `by construction`: could only fail by a fault. `reported`: the paper leaves it open. */
  weight: typeof WEIGHTS[number];
  /** What was found, with the interval that decided; null where there is no one figure. */
  figure: Interval | null;
  unit: string;
  region: Region | null;
  /** In words: why it cannot be told, or what the answer rests on. */
  why: string;
  /** The model that it was measured on, where it is another than the setting's; null: the setting's. */
  model: string | null;
  /** Processes, or seeds, that would have decided; null where none were missing, or nobody knows. */
  needed: number | null;
}

/** What one setting (model, data, sequence length, batch) of a run says of a claim. */
export interface Finding {
  setting: string;
  axes: Axis[];
  /** Our figures with their intervals, in words. */
  ours: string;
  /** What holds of several settings alike, a sentence each: the claim's row says it once. */
  notes?: readonly string[];
  cells: Configuration[];
  /** Where on the page the evidence is drawn; the page leaves the link out where it has no such part. */
  section: string;
  /** What the verdict compares, where it is one configuration with another. */
  pair?: Pair;
}

/** What is to be tested for a verdict, and the findings once the tests of all claims are corrected. */
export interface Examination {
  /** Pairs whose held-out losses the verdict compares. */
  comparisons: readonly Pair[];
  /** One finding a setting. */
  judge(loss: LossOf): Finding[];
}

export interface Claim {
  id: string;
  claim: string;
  /** The paper's own figures, in its words; `no figure` where it gives none. */
  paper: string;
  /** What others say, with where; null where nobody does. */
  source: string | null;
  /** What makes it reproduced, and what would have made it fail. */
  rule: string;
  /** What would test it. */
  untested: string;
  /** Null where the run has no cells for it. */
  examine(analysis: Analysis): Examination | null;
}

/** Findings that hang on no test of losses. */
export function untested(findings: Finding[]): Examination | null {
  return findings.length === 0 ? null : { comparisons: [], judge: () => findings };
}

interface AxisOptions {
  unit?: string;
  weight?: Axis["weight"];
  why?: string;
}

interface MeasuredOptions extends AxisOptions {
  /** The figure at `BEYOND_CONFIDENCE`: needed of what has noise, where the region has two ends. */
  beyond?: Interval | null;
}

/** An axis whose figure has to lie in a region. */
export function measuredAxis(
  axis: string,
  found: Interval | null,
  region: Region,
  { unit = "×", weight = "decides", why, beyond = found }: MeasuredOptions = {},
): Axis {
  const figure = decidingInterval(found, beyond, region);
  const answer = answerOf(figure, region);
  const needed = answer === "cannot tell" && figure ? processesNeeded(figure, region) : null;
  return {
    ...{ axis, answer, weight, figure, unit, region, needed, model: null },
    why: why ?? whyNot(figure, answer, needed),
  };
}

function whyNot(figure: Interval | null, answer: Answer, needed: number | null): string {
  if (answer !== "cannot tell") return "";
  if (!figure) return "not measured";
  if (figure.n === 1) return "n = 1: two processes or more would tell";
  return needed === null
    ? "the interval crosses the margin, and more processes would hardly help"
    : `the interval crosses the margin; about ${formatNumber(needed)} processes would tell`;
}

/** An axis whose figure has to lie outside of a region: where a difference is what is claimed. */
export function differenceAxis(
  axis: string,
  figure: Interval | null,
  same: Region,
  options: MeasuredOptions = {},
): Axis {
  const inside = measuredAxis(axis, figure, same, options);
  return { ...inside, answer: not(inside.answer), why: options.why ?? inside.why };
}

/** An axis that is so or not, without noise. */
export function plainAxis(
  axis: string,
  holds: boolean | null,
  { weight = "decides", why = "" }: AxisOptions = {},
): Axis {
  const answer = holds === null ? "cannot tell" : holds ? "yes" : "no";
  return { axis, answer, weight, figure: null, unit: "", region: null, needed: null, model: null, why };
}

/**
 * Whether quality was kept, by two measures that must agree: the loss is not higher by the margin, and the
 * baseline's final loss takes no more tokens than the margin allows. Where the curves have too few points for
 * the second, the first decides alone. `pValue` is that of the corrected test.
 */
export function qualityAxis(loss: LossDifference | null, weight: Axis["weight"] = "decides"): Axis {
  if (!loss) {
    return { ...plainAxis("quality", null, { weight, why: "no held-out loss" }), unit: "nats" };
  }
  const region = { low: null, high: loss.margin.nats };
  const { model, tokens } = loss;
  if (loss.refusal !== null) {
    const why = loss.refusal === "n = 1" ? "n = 1: two seeds or more would tell" : loss.refusal;
    return {
      ...plainAxis("quality", null, { weight, why }),
      ...{ figure: loss.interval, unit: "nats", region, model },
    };
  }
  const measured = { ...measuredAxis("quality", loss.interval, region, { unit: "nats", weight }), model };
  const isUncorrected = measured.answer === "yes" && loss.pValue! > ALPHA;
  if (isUncorrected) {
    return {
      ...measured,
      ...{ answer: "cannot tell", why: "not shown once corrected for the other claims' tests" },
    };
  }
  const second = tokens && answerOf(tokens.ratio, { low: null, high: 1 + MARGINS.tokens.value });
  if (second === null || second === measured.answer) return measured;
  const text = `tokens to the baseline's loss × ${formatInterval(tokens!.ratio, 2)}, which says ${second}`;
  const first = measured.answer === "cannot tell" ? measured.why : `held-out loss says ${measured.answer}`;
  return { ...measured, answer: "cannot tell", why: `${first}; ${text}` };
}

/**
 * The verdict of one setting: what decides must all hold. Where an axis was measured on another model, they
 * hold for no one model together.
 */
export function outcomeOf(axes: readonly Axis[]): Outcome {
  const judged = axes.filter(({ weight }) => weight !== "reported");
  const answers = judged.map(({ answer }) => answer);
  if (answers.includes("no")) return "not reproduced";
  const deciding = judged.filter(({ weight }) => weight === "decides");
  if (deciding.some(({ answer }) => answer === "cannot tell")) return "cannot tell";
  if (deciding.length > 0) {
    return axes.some(({ model, weight }) => model !== null && weight !== "by construction")
      ? "shown by axis"
      : "reproduced";
  }
  return answers.length > 0 && answers.every((answer) => answer === "yes")
    ? "by construction"
    : "cannot tell";
}

/** The verdict over settings: of several, none speaks for the others. */
export function overall(outcomes: readonly Outcome[]): Outcome {
  if (outcomes.length === 0) return "not tested here";
  const [first] = outcomes;
  if (outcomes.every((one) => one === first)) return first;
  const has = (one: Outcome) => outcomes.includes(one);
  const holds = has("reproduced") || has("shown by axis");
  if (has("not reproduced") && (holds || has("by construction"))) return "depends on the setting";
  if (has("cannot tell") || has("not reproduced")) return "cannot tell";
  // Some setting has all axes on one model, and none refutes it.
  return has("reproduced") ? "reproduced" : "shown by axis";
}
