import { ladderChart } from "../../charts/ladder.ts";
import { type LadderRow, ladderRows } from "../../rows/ladder.ts";
import { paretoChart } from "../../charts/pareto.ts";
import { paretoOf, type ParetoPoint } from "../../rows/pareto.ts";
import { combinations } from "../../rows/budgets.ts";
import type { Analysis } from "../../rows/analysis.ts";
import { ratioOf } from "../../../results/measured.ts";
import { figure, HALF, SLIM } from "../figure.ts";
import { ladderFinding, paretoFinding, ratioWords } from "../findings.ts";
import {
  count,
  formatBytes,
  formatInterval,
  formatNumber,
  formatRatio,
  formatSignificant,
} from "../../words/format.ts";
import { FULL_STACKS, guideRowFor } from "../../claims/guide.ts";
import { type Html, markup } from "../html.ts";
import { lossDetail } from "../../claims/words.ts";
import { compareLosses } from "../../rows/loss_difference.ts";
import { lossMargin } from "../../../results/margins.ts";
import { type Column, figures, table } from "../table.ts";
import { configurationLink, judged, type PageContext, section, traced } from "./context.ts";

/** Memory against throughput of every combination at any batch; null for fewer than two. */
export function paretoFigure(analysis: Analysis, context: PageContext): Html | null {
  const { baseline } = analysis;
  const all = combinations(analysis);
  const pareto = paretoOf(all, {
    baseline,
    winner: context.judgement.stack?.changed ?? null,
    stacks: FULL_STACKS,
  });
  if (pareto.points.length < 2) return null;
  const baseName = pareto.points.find(({ isBaseline }) => isBaseline)?.label;
  const hasWinner = pareto.points.some(({ isWinner }) => isWinner);
  const columns: Column<ParetoPoint>[] = [
    { head: "configuration", cell: ({ id, label }) => traced(context, id, label) },
    figures("batch", ({ batch }) => batch),
    figures("planned = booked peak", ({ id, bytes }) => traced(context, id, formatBytes(bytes))),
    figures(
      ["throughput", "tokens/s"],
      ({ id, tokensPerSecond }) => traced(context, id, formatInterval(tokensPerSecond)),
    ),
    { head: "on the front", cell: ({ onFront }) => onFront ? "yes" : "no" },
  ];
  context.drawn.add("trade-off");
  return figure({
    id: `${context.prefix}trade-off`,
    title: paretoFinding(pareto),
    subtitle: `Every combination measured, ${
      count(pareto.points.length, "point")
    }, at effective batch ${baseline?.effectiveBatchSize} where no other is named: planned = booked peak, and throughput with 95 % interval over processes. Filled: not beaten beyond the noise, by what needs no more memory and is faster, or is no slower and changes less (another batch is a change); faint: beaten. Line: through the best estimates. ${
      baseName
        ? `Square: baseline. ${
          hasWinner ? "Diamond: the stack that claim C1 is judged on. " : ""
        }Crosses: two full stacks of the guide that the paper cites (${
          FULL_STACKS.map(({ memory, throughput }) =>
            `${formatRatio(memory)} less at ${formatRatio(throughput)}`
          )
            .join("; ")
        }) applied to it.`
        : ""
    }`,
    draw: (size) => paretoChart(pareto, size),
    widths: [HALF, SLIM],
    numbers: table(pareto.points, columns, {
      caption: "Memory and throughput",
      strong: ({ onFront }) => onFront,
    }),
  });
}

/** Methods added one by one, beside the source of the paper's claim. */
export function ladderSection({ configurations, loaded }: Analysis, context: PageContext): Html | null {
  const rows = ladderRows(configurations, guideRowFor);
  if (rows.length === 0) return null;
  return section(
    context,
    "ladder",
    "Adding one method after another",
    figure({
      id: `${context.prefix}ladder-chart`,
      title: ladderFinding(rows),
      subtitle: `Ratios to ${
        rows[0].label
      }: planned = booked peak, and throughput with 95 % interval over processes of ${
        count(rows[0].configuration.seeds.length, "seed")
      }; grey lies inside the noise (no difference). Crosses: the guide the paper cites (BERT-large on a V100, one run each).`,
      draw: (size) => ladderChart(rows, size),
      widths: [HALF, SLIM],
      numbers: table(rows, ladderColumns(rows[0], loaded.run.decisions, context), {
        caption: "The ladder, ours and the guide's",
      }),
    }),
    "half",
  );
}

function ladderColumns(
  baseline: LadderRow,
  decisions: Analysis["loaded"]["run"]["decisions"],
  context: PageContext,
): Column<LadderRow>[] {
  const lossText = (row: LadderRow) => {
    const margin = lossMargin(decisions, row.configuration.config);
    const loss = row === baseline ? null : compareLosses(baseline.configuration, row.configuration, margin);
    if (!loss) return row === baseline && row.heldOut ? "0" : "–";
    const { estimate } = loss.interval;
    const text = `${estimate > 0 ? "+" : ""}${formatNumber(estimate, 4)}`;
    return markup`<span class="${loss.outcome === "equal" ? "same" : ""}" title="${
      lossDetail(loss)
    }">${text}${
      { equal: " (equal)", worse: " (higher)", better: " (lower)", unshown: "" }[loss.outcome]
    }</span>`;
  };
  return [
    { head: "configuration", cell: ({ configuration }) => configurationLink(context, configuration) },
    figures(
      "booked peak",
      ({ configuration: { memory } }) => traced(context, memory?.id, formatBytes(memory?.bookedBytes)),
    ),
    figures(["less booked", "×"], ({ memoryRatio }) => formatSignificant(memoryRatio)),
    figures(
      ["less observed with context", "×, 95 %"],
      ({ configuration }) =>
        formatInterval(ratioOf(baseline.configuration.contextBytes, configuration.contextBytes), 2),
    ),
    figures(["guide, driver's figure", "×"], ({ guide }) => formatSignificant(guide?.memory)),
    figures(
      ["throughput", "tokens/s"],
      ({ configuration: { tokensPerSecond: rate } }) =>
        traced(context, rate?.byCell[0].id, formatInterval(rate?.interval)),
    ),
    figures(
      ["throughput", "×"],
      (row) =>
        row === baseline
          ? "1"
          : judged(ratioWords(row.configuration.tokensPerSecond, baseline.configuration.tokensPerSecond)),
    ),
    figures(["guide", "×"], ({ guide }) => formatSignificant(guide?.throughput)),
    figures(
      ["held-out loss, difference", "nats/token"],
      (row) => traced(context, row.heldOut?.byCell[0].id, lossText(row)),
    ),
  ];
}
