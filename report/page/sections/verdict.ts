import { mixtureOf } from "../../../results/environment.ts";
import type { Analysis } from "../../rows/analysis.ts";
import { type BudgetRow, type Budgets, budgetsOf, type Candidate } from "../../rows/budgets.ts";
import { type GuidePlan, guidePlans } from "../../claims/guide.ts";
import { count, formatBytes, formatInterval, formatNumber, formatRatio } from "../../words/format.ts";
import { GIB } from "../../../results/bytes.ts";
import type { RunGroup } from "../../rows/merge.ts";
import { batchName, combinationName } from "../../words/names.ts";
import type { Configuration } from "../../rows/configuration.ts";
import { switchedCount } from "../../rows/faster.ts";
import { listed } from "../../words/text.ts";
import { driftCaution, type KeyFigure, progressOf, verdictOf } from "../verdict.ts";
import { type Html, type HtmlValue, markup } from "../html.ts";
import { type Column, figures, table } from "../table.ts";
import { paretoFigure } from "./trade_off.ts";
import { type PageContext, traced } from "./context.ts";

/** The answer in one sentence, the three figures it rests on, the trade-off, and what to switch on. */
export function verdictSection(analysis: Analysis, context: PageContext, group: RunGroup): Html {
  const { sentence, figures } = verdictOf(analysis, context.judgement);
  const { run } = analysis.loaded;
  const state = run.finishedAt === null
    ? markup`<strong class="bad">The run has no end time: it was interrupted, or still goes on.</strong> `
    : "";
  const mixture = mixtureOf(analysis.loaded.cells);
  const drift = driftCaution(analysis);
  const keyFigure = ({ name, value, detail, cell }: KeyFigure) =>
    markup`<div><dt>${name}</dt><dd class="value">${traced(context, cell, value)}</dd><dd>${detail}</dd></div>
`;
  return markup`<section id="${context.prefix}verdict" aria-label="Verdict">
<p class="verdict">${sentence}</p>
${
    mixture === null
      ? ""
      : markup`<p><strong class="bad">${mixture}</strong> Their figures do not simply compare.</p>`
  }
${drift && markup`<p><strong class="bad">${traced(context, drift.cell, drift.sentence)}</strong></p>`}
${figures.length === 0 ? "" : markup`<dl class="key-figures">${figures.map(keyFigure)}</dl>`}
<p class="muted">${state}${progressOf(analysis)}. ${origin(group)}</p>
<div class="duo">${paretoFigure(analysis, context)}${switchOn(analysis, context)}</div></section>
`;
}

/** Which run this is, and how to repeat it; or which runs it was put together from. */
function origin({ members, leftOut }: RunGroup): HtmlValue {
  const one = ({ loaded: { run } }: RunGroup["members"][number]) =>
    markup`Suite <q>${run.suite}</q>, tier <q>${run.tier}</q> (${run.tierReason})${
      run.quick ? ", quick" : ""
    }; started <time datetime="${run.startedAt}">${run.startedAt}</time>. Repeat with <code>${run.command}</code>`;
  if (members.length === 1) return one(members[0]);
  const left = leftOut.length > 0
    ? markup` Already read from an earlier run, so left out: ${leftOut.join(", ")}.`
    : "";
  return markup`Put together from ${
    count(members.length, "run")
  } of this adapter; claims are judged over all of them.${left}
<ul>${members.map((member) => markup`<li><strong>${member.loaded.name}</strong>: ${one(member)}</li>`)}</ul>`;
}

/** One row a budget: the simplest combination that fits and that nothing is shown to be faster than. */
function switchOn(analysis: Analysis, context: PageContext): Html | null {
  const budgets = budgetsOf(analysis);
  if (!budgets) return null;
  const plans = guidePlans(analysis);
  const anchor = `${context.prefix}switch-on`;
  const head = markup`<h4 id="${anchor}">${
    finding(budgets)
  } <a class="anchor" href="#${anchor}" aria-label="Link to this table">#</a></h4>
<p class="muted">Of what fits, and nothing else is shown to be faster than, the combination that switches on least, of ${
    count(budgets.candidates.length, "combination")
  } measured (${budgets.baseline.config.model}, ${budgets.baseline.config.sequenceLength} tokens, effective batch ${budgets.baseline.effectiveBatchSize} where no other is named, which counts as switched on), without those whose held-out loss is shown to be worse than that of the plain one at its batch. Peak: ${
    budgets.basis === "booked"
      ? "booked training memory"
      : "observed on the device, with what the driver holds"
  }. Ratios to the baseline, throughput with 95 % interval.</p>`;
  return markup`<div>${head}
${
    table(merged(budgets.rows, plans), columnsOf(context, plans, budgets.baseline), {
      caption: "By memory of the device",
      kind: "budgets",
    })
  }
${
    budgets.scaled.length > 0 &&
    table(merged(budgets.scaled, []), columnsOf(context, [], budgets.baseline), {
      caption: "By share of the baseline's booked peak",
      kind: "budgets",
    })
  }</div>`;
}

function finding({ rows, scaled, candidates, baseline }: Budgets): string {
  const [smallest] = rows;
  if (scaled.length === 0) {
    const choices = new Set(rows.flatMap(({ best }) => best ? [best.configuration] : []));
    return `What to switch on: ${count(choices.size, "answer")} for ${rows.length} sizes of memory`;
  }
  const largest = Math.max(...candidates.map(({ bytes }) => bytes));
  const third = scaled.find(({ share, best }) => share !== null && share < 0.4 && best);
  const lean = third
    ? `; with ${fraction(third.share!)} of the baseline's memory, ${switchedOn(third.best, baseline)}`
    : "";
  return `Everything measured here fits into ${smallest.gib} GiB (the largest needs ${
    formatBytes(largest)
  }): ${advice(smallest.best, baseline)}${lean}`;
}

/** A row of the table: budgets that follow each other with the same answers share one. */
interface Row extends BudgetRow {
  names: string[];
}

function merged(rows: readonly BudgetRow[], plans: readonly GuidePlan[]): Row[] {
  const answers = ({ best, fitting, bytes }: BudgetRow) => [best, fitting, guideBest(plans, bytes)];
  const lines: Row[] = [];
  for (const row of rows) {
    const last = lines.at(-1);
    const isSame = last && row.gib !== null && answers(row).every((answer, i) => answer === answers(last)[i]);
    if (isSame) last.names.push(String(row.gib));
    else lines.push({ ...row, names: [String(row.gib)] });
  }
  return lines;
}

const FRACTIONS: Readonly<Record<string, string>> = {
  "1.00": "all",
  "0.75": "3/4",
  "0.50": "1/2",
  "0.33": "1/3",
  "0.25": "1/4",
};

/** `switch on flash attention`, `train the baseline at batch 16`, or that the baseline will do. */
function advice(best: Candidate | null, baseline: Configuration): string {
  if (!best || best.isBaseline) return "nothing is shown to be faster than the baseline";
  const isPlain = switchedCount(best.configuration, null) === 0;
  return `${isPlain ? "train" : "switch on"} ${switchedOn(best, baseline)}`;
}

/** `fp16 + flash attention at batch 16`; the batch is named where it is not the baseline's. */
function switchedOn(best: Candidate | null, baseline: Configuration): string {
  if (!best) return "nothing measured fits";
  if (best.isBaseline) return "the baseline";
  const { config, effectiveBatchSize } = best.configuration;
  const what = switchedCount(best.configuration, null) === 0 ? "the baseline" : combinationName(config);
  const isUsual = effectiveBatchSize === baseline.effectiveBatchSize &&
    (config.gradientAccumulationSteps === 1 || config.microBatchSize === 1);
  return isUsual ? what : `${what} at batch ${batchName(config)}`;
}

function fraction(share: number): string {
  return FRACTIONS[share.toFixed(2)] ?? formatNumber(share, 2);
}

function columnsOf(
  context: PageContext,
  plans: readonly GuidePlan[],
  baseline: Configuration,
): Column<Row>[] {
  const of = (show: (best: Candidate) => HtmlValue) => ({ best }: BudgetRow) => best ? show(best) : "–";
  const columns: Column<Row>[] = [
    {
      head: "memory",
      cell: ({ names, share, bytes }) =>
        share === null ? `${listed(names)} GiB` : `${fraction(share)} (${formatBytes(bytes)})`,
    },
    {
      head: "switch on",
      cell: ({ best }) =>
        best
          ? traced(context, best.configuration.memory?.id, switchedOn(best, baseline))
          : "nothing measured fits",
    },
    figures("peak", of(({ bytes }) => formatBytes(bytes))),
    figures(["less memory", "×"], of(({ memoryRatio }) => formatRatio(memoryRatio))),
    figures(["throughput", "×"], of(({ throughputRatio }) => formatInterval(throughputRatio, 2))),
    {
      head: "held-out loss",
      cell: of(({ loss, isBaseline }) => isBaseline ? "–" : loss === null ? "not compared" : LOSS[loss]),
    },
    figures("fit", ({ fitting }) => formatNumber(fitting)),
  ];
  if (plans.length > 0) {
    columns.push({
      head: "BERT-large",
      unit: "planned here; speed: the guide's V100",
      cell: ({ bytes, gib }) => gib === null ? "–" : guideAnswer(plans, bytes, context),
    });
  }
  return columns;
}

const LOSS = { equal: "equal", better: "lower", worse: "higher", unshown: "not shown equal" } as const;

function guideBest(plans: readonly GuidePlan[], bytes: number): GuidePlan | null {
  return plans.filter((plan) => plan.bytes <= bytes)
    .toSorted((a, b) => b.row.samplesPerSecond - a.row.samplesPerSecond)[0] ?? null;
}

/** The guide's fastest row that the planner fits into the memory. */
function guideAnswer(plans: readonly GuidePlan[], bytes: number, context: PageContext): HtmlValue {
  const best = guideBest(plans, bytes);
  if (!best) return "nothing fits";
  return traced(
    context,
    best.configuration.memory!.id,
    `${best.row.label}: ${formatNumber(best.bytes / GIB, 1)} GiB, ${best.row.samplesPerSecond} samples/s`,
  );
}
