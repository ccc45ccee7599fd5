import { batchPanelChart, heldOutPanel, memoryPanel, throughputPanel } from "../../charts/batch_panel.ts";
import type { Analysis } from "../../rows/analysis.ts";
import type { Sweep, SweepRow } from "../../rows/sweep.ts";
import { figure } from "../figure.ts";
import { heldOutFinding, memoryFinding, ratioWords, throughputFinding } from "../findings.ts";
import { sentence } from "../../words/text.ts";
import {
  count,
  formatBytes,
  formatCompact,
  formatInterval,
  formatNumber,
  formatSignificant,
} from "../../words/format.ts";
import { type Html, markup } from "../html.ts";
import { type Column, figures, table } from "../table.ts";
import { configurationLink, judged, type PageContext, section, traced } from "./context.ts";

const PANEL_WIDTH = 300;

/** Three charts against batch size, the rule and its choice. */
export function batchSweepSection({ sweep }: Analysis, context: PageContext): Html | null {
  if (!sweep) return null;
  const seeds = Math.max(0, ...sweep.rows.map(({ configuration }) => configuration.seeds.length));
  return section(
    context,
    "batch-sweep",
    "Batch size first",
    markup`${decisionText(sweep, context)}
<div class="panels">
${sweep.rows.some(({ tokensPerSecond }) => tokensPerSecond) && throughputFigure(sweep, context, seeds)}
${sweep.rows.some(({ configuration: { memory } }) => memory) && memoryFigure(sweep, context)}
${sweep.tokens !== null && heldOutFigure(sweep, context, seeds)}
</div>`,
  );
}

function throughputFigure(sweep: Sweep, context: PageContext, seeds: number): Html {
  const steps = sweep.rows.reduce(
    (sum, { tokensPerSecond }) => sum + (tokensPerSecond?.values.length ?? 0),
    0,
  );
  const reference = sweep.rows.find(({ tokensPerSecond }) => tokensPerSecond);
  return figure({
    id: `${context.prefix}batch-throughput`,
    title: throughputFinding(sweep),
    subtitle: `Throughput, tokens/s: median and 95 % interval; dots are steps (${
      formatNumber(steps)
    }, at most 150 a batch drawn; ${count(seeds, "seed")}).`,
    widths: [PANEL_WIDTH],
    draw: (size) => batchPanelChart(throughputPanel(sweep), size),
    numbers: table(sweep.rows, [
      batchColumn(context),
      figures(
        ["throughput", "tokens/s"],
        ({ tokensPerSecond: rate }) => traced(context, rate?.byCell[0].id, formatInterval(rate?.interval)),
      ),
      figures(
        [reference ? `ratio to ${reference.configuration.label}` : "ratio", "×"],
        (row) =>
          row === reference
            ? "1"
            : judged(ratioWords(row.tokensPerSecond, reference?.tokensPerSecond ?? null)),
      ),
      figures("steps", ({ tokensPerSecond: rate }) => formatNumber(rate?.values.length ?? 0)),
    ], { caption: "Throughput by batch size", strong: ({ chosen }) => chosen }),
  });
}

function memoryFigure(sweep: Sweep, context: PageContext): Html {
  const memories = sweep.rows.flatMap(({ configuration: { memory } }) => memory ?? []);
  const isObserved = memories.some(({ observed }) => observed);
  const how = [...new Set(memories.map(({ observedHow }) => observedHow))].sort().join("; ");
  const whole = memories.some(({ bookedBytes }) => bookedBytes !== null);
  return figure({
    id: `${context.prefix}batch-memory`,
    title: memoryFinding(sweep),
    subtitle: isObserved
      ? `Peak memory: planned = booked (circles; hollow: planned only), and observed (${how}): median and range over cells.`
      : whole
      ? `Peak memory: planned = booked (hollow: planned only). Not observed from outside: ${how}.`
      : "Peak memory as planned; no cell ran to its end.",
    widths: [PANEL_WIDTH],
    draw: (size) => batchPanelChart(memoryPanel(sweep), size),
    numbers: table(sweep.rows, [
      batchColumn(context),
      figures(
        "planned",
        ({ configuration: { memory } }) => traced(context, memory?.id, formatBytes(memory?.plannedBytes)),
      ),
      figures(
        "booked",
        ({ configuration: { memory } }) => traced(context, memory?.id, formatBytes(memory?.bookedBytes)),
      ),
      figures(
        "observed",
        ({ configuration: { memory } }) =>
          traced(context, memory?.observedByCell[0]?.id, formatBytes(memory?.observed?.estimate)),
      ),
    ], { caption: "Peak memory by batch size", strong: ({ chosen }) => chosen }),
  });
}

function heldOutFigure(sweep: Sweep, context: PageContext, seeds: number): Html {
  return figure({
    id: `${context.prefix}batch-held-out`,
    title: heldOutFinding(sweep),
    subtitle: `Held-out loss, nats per token, after ${formatCompact(sweep.tokens)} tokens: ${
      seeds > 1
        ? `mean and 95 % interval over ${seeds} seeds; dots are seeds`
        : "a single seed, so no interval"
    }. The axis does not start at zero.`,
    widths: [PANEL_WIDTH],
    draw: (size) => batchPanelChart(heldOutPanel(sweep), size),
    numbers: table(sweep.rows, [
      batchColumn(context),
      figures(
        ["held-out loss", "nats/token"],
        ({ heldOut }) => traced(context, heldOut?.byCell[0].id, formatInterval(heldOut?.interval, 3)),
      ),
      figures("seeds", ({ heldOut }) => formatNumber(heldOut?.values.length ?? 0)),
    ], { caption: "Held-out loss at equal tokens", strong: ({ chosen }) => chosen }),
  });
}

function batchColumn(context: PageContext): Column<SweepRow> {
  return { head: "configuration", cell: ({ configuration }) => configurationLink(context, configuration) };
}

/** The rule in words, what it looked at and what it chose. */
function decisionText({ decision, chosen, rows }: Sweep, context: PageContext): Html {
  if (!decision) return markup`<p class="muted">No rule has chosen a batch size in this run.</p>`;
  const names = [...new Set(Object.values(decision.figures).flatMap(Object.keys))];
  const labels = Object.keys(decision.figures);
  const link = (label: string) => {
    const row = rows.find(({ configuration }) => configuration.label === label);
    return row ? configurationLink(context, row.configuration) : label;
  };
  return markup`<p><strong>Chosen: ${
    chosen ? configurationLink(context, chosen.configuration) : decision.chosen
  }</strong>. ${sentence(decision.reason)}</p>
<p class="muted">Rule: ${sentence(decision.rule)}</p>
${
    labels.length === 0 ? "" : markup`<details><summary>Figures the rule compared</summary>
${
      table(labels, [
        { head: "configuration", cell: link },
        ...names.map((
          name,
        ): Column<string> => (figures(name, (label) => formatSignificant(decision.figures[label][name], 4)))),
      ], { caption: "Figures the rule compared", strong: (label) => label === decision.chosen })
    }</details>`
  }`;
}
