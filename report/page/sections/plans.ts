import { type PlannedBar, plannedBar, plannedBarsChart } from "../../charts/planned_bars.ts";
import type { Analysis } from "../../rows/analysis.ts";
import type { Configuration } from "../../rows/configuration.ts";
import { figure, HALF, SLIM } from "../figure.ts";
import { count, formatNumber } from "../../words/format.ts";
import { type Html, markup } from "../html.ts";
import { ROLE_STYLE } from "../../charts/palette.ts";
import { type PhaseShows, ROLES } from "../../../results/record.ts";
import { LLAMA_7B, THREE_BILLION } from "../../claims/paper.ts";
import { llama7b, type PlannedModel, threeBillion } from "../../claims/plans.ts";
import { type Column, figures, table } from "../table.ts";
import { type PageContext, section, traced } from "./context.ts";

/** The paper's sums for a 3 B model, bar by role. */
const PAPER_3B: PlannedBar = {
  label: "the paper, 3 B parameters",
  id: null,
  parts: (["weights", "gradients", "optimizer"] as const).map((role) => ({
    role,
    name: ROLE_STYLE[role].label,
    gigabytes: THREE_BILLION.gigabytes[role],
  })),
  total: THREE_BILLION.total,
  range: null,
};

/** The paper's Fig. 1: what it gives as one sum stays one. */
const PAPER_7B: PlannedBar = {
  label: "the paper, Fig. 1",
  id: null,
  parts: [
    { role: "weights", name: "int8 base and fp16 adapters", gigabytes: LLAMA_7B.base + LLAMA_7B.trainable },
    {
      role: null,
      name: "all else, in one sum",
      gigabytes: (LLAMA_7B.onTop.low + LLAMA_7B.onTop.high) / 2,
    },
  ],
  total: (LLAMA_7B.total.low + LLAMA_7B.total.high) / 2,
  range: LLAMA_7B.total,
};

/** Models too large to train here, as the planner lays them out, beside the paper's sums. */
export function plansSection(analysis: Analysis, context: PageContext): Html | null {
  const figures = [
    planFigure(analysis, context, {
      shows: "three-billion-plan",
      anchor: "plan-3b",
      paper: PAPER_3B,
      model: threeBillion(analysis),
      what: "3 B parameters",
    }),
    planFigure(analysis, context, {
      shows: "llama-7b-plan",
      anchor: "plan-7b",
      paper: PAPER_7B,
      model: llama7b(analysis)[0] ?? null,
      what: "Llama 2 7B",
    }),
  ].filter((one) => one !== null);
  return figures.length === 0 ? null : section(
    context,
    "plans",
    "Large models, planned",
    markup`<div class="duo">${figures.map((one) => markup`<div>${one}</div>`)}</div>`,
  );
}

/** Times the paper's total that a bar may be long. */
const LONGEST = 4;

interface Subject {
  shows: PhaseShows;
  anchor: string;
  paper: PlannedBar;
  model: PlannedModel | null;
  what: string;
}

function planFigure({ planned }: Analysis, context: PageContext, subject: Subject): Html | null {
  const { shows, anchor, paper, model, what } = subject;
  const configurations = planned.filter((one) => one.shows === shows && one.memory);
  if (configurations.length === 0) return null;
  context.drawn.add(anchor);
  const bars = [paper, ...configurations.flatMap((one) => plannedBar(one) ?? [])];
  // One bar many times as long as the paper's would leave nothing to see of the comparison.
  const drawn = bars.filter(({ total }) => total <= LONGEST * paper.total);
  const left = bars.length - drawn.length;
  const tooLong = left > 0
    ? ` In the table alone: ${count(left, "configuration")} beyond ${LONGEST} times the paper's total.`
    : "";
  const reasons = model
    ? markup`<p>Why ours differ from the paper's (${model.configuration.label}):</p>
<ul>${model.reasons.map((reason) => markup`<li>${reason}</li>`)}</ul>`
    : "";
  return markup`${
    figure({
      id: `${context.prefix}${anchor}`,
      widths: [HALF, SLIM],
      title: findingOf(configurations, model, what, paper),
      subtitle:
        `Bytes by role at the peak of a training step as planned, in GB (10⁹ bytes, the paper's unit), ${
          count(configurations.length, "configuration")
        }; nothing ran. ${settingOf(configurations)} Above: the paper's own figures${
          paper.range ? ", the bracket its range" : ", without activations"
        }.${tooLong}`,
      draw: (size) => plannedBarsChart(drawn, size),
      numbers: table(bars, columnsOf(context), { caption: `Planned bytes of ${what}` }),
    })
  }${reasons}`;
}

/** Batch and sequence length, where they are the same in all. */
function settingOf(configurations: readonly Configuration[]): string {
  const settings = [
    ...new Set(
      configurations.map(({ config }) =>
        `${config.microBatchSize} × ${formatNumber(config.sequenceLength)} tokens`
      ),
    ),
  ];
  return settings.length === 1 ? `Micro-batch ${settings[0]}.` : "";
}

function findingOf(
  configurations: readonly Configuration[],
  model: PlannedModel | null,
  what: string,
  paper: PlannedBar,
): string {
  if (!model) return `${what}: ${count(configurations.length, "configuration")} planned`;
  const { total } = model;
  const theirs = paper.range ? `${paper.range.low}–${paper.range.high}` : formatNumber(paper.total);
  return `${what}: ${formatNumber(total.ours, 1)} GB ${total.name} by plan, ${theirs} GB in the paper`;
}

function columnsOf(context: PageContext): Column<PlannedBar>[] {
  return [
    { head: "configuration", cell: ({ id, label }) => traced(context, id, label) },
    ...ROLES.map((role): Column<PlannedBar> => (figures([ROLE_STYLE[role].label, "GB"], ({ parts, id }) => {
      const part = parts.find((one) => one.role === role);
      return part ? formatNumber(part.gigabytes, id ? 2 : 0) : "–";
    }))),
    figures(
      ["not split", "GB"],
      ({ parts }) => formatNumber(parts.find(({ role }) => role === null)?.gigabytes ?? null),
    ),
    figures(
      ["total", "GB"],
      ({ total, range, id }) =>
        range ? `${range.low}–${range.high}` : traced(context, id, formatNumber(total, id ? 2 : 0)),
    ),
  ];
}
