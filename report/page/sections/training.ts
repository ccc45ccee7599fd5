import { lossCurvesChart, lossPanels } from "../../charts/loss_curves.ts";
import { dotsPerRow, isWide, stepTimeRows, stepTimesChart } from "../../charts/step_times.ts";
import type { Analysis } from "../../rows/analysis.ts";
import { equalTokens, heldOutLoss } from "../../rows/held_out.ts";
import { shownConfigurations } from "../../rows/shown.ts";
import { figure, HALF, SLIM, WHOLE } from "../figure.ts";
import { lossFinding, stepTimeFinding } from "../findings.ts";
import {
  count,
  formatCompact,
  formatInterval,
  formatNumber,
  formatSignificant,
  ordinal,
} from "../../words/format.ts";
import type { Html } from "../html.ts";
import { figures, table } from "../table.ts";
import { configurationLink, type PageContext, section, traced } from "./context.ts";

/** Loss over tokens, every seed. */
export function lossSection(analysis: Analysis, context: PageContext): Html | null {
  const { highlighted, sweep } = analysis;
  const configurations = shownConfigurations(
    analysis,
    ({ ok }) => ok.some(({ heldOut, samples }) => heldOut.length > 0 && (samples?.loss.length ?? 0) > 1),
  );
  const panels = lossPanels(configurations, highlighted);
  if (panels.length === 0) return null;
  const tokens = sweep?.tokens ?? equalTokens(configurations);
  const stride = Math.max(...panels.map((panel) => panel.stride));
  const seeds = Math.max(...panels.map((panel) => panel.seeds.length));
  return section(
    context,
    "loss",
    "Loss",
    figure({
      id: `${context.prefix}loss-curves`,
      widths: [WHOLE, SLIM],
      title: lossFinding(panels),
      subtitle: `Loss in nats per token over trained tokens, up to ${
        count(seeds, "seed")
      } a panel: thin lines are training loss${
        stride > 1 ? ` (at least every ${ordinal(stride)} step drawn)` : ""
      }, the band spans the seeds, dots are held-out loss; grey: the held-out medians of all panels.${
        tokens === null ? "" : ` Dashed: ${formatCompact(tokens)} tokens, where losses are compared.`
      }`,
      draw: (size) => lossCurvesChart(panels, tokens, size),
      numbers: table(configurations, [
        { head: "configuration", cell: (configuration) => configurationLink(context, configuration) },
        figures("seeds", ({ seeds }) => formatNumber(seeds.length)),
        figures(["last held-out loss", "nats/token, mean and range over seeds"], (configuration) => {
          const loss = heldOutLoss(configuration, equalTokens([configuration]));
          if (!loss) return "–";
          const [low, high] = [Math.min(...loss.values), Math.max(...loss.values)];
          return traced(
            context,
            loss.byCell[0].id,
            formatInterval({ estimate: loss.interval.estimate, low, high }, 3),
          );
        }),
        figures(["trained", "tokens"], (configuration) => formatNumber(equalTokens([configuration]))),
      ], { caption: "Held-out loss at the end of training" }),
    }),
  );
}

/** Raw step times with every outlier. */
export function stepTimesSection(analysis: Analysis, context: PageContext): Html | null {
  const { highlighted } = analysis;
  const configurations = shownConfigurations(analysis);
  const rows = stepTimeRows(configurations, highlighted);
  if (rows.length === 0) return null;
  return section(
    context,
    "step-times",
    "Step times",
    figure({
      id: `${context.prefix}step-time-strips`,
      widths: [HALF, SLIM],
      title: stepTimeFinding(rows),
      subtitle: `Milliseconds of each step after warm-up${
        isWide(rows) ? ", logarithmic" : ""
      }: dots are steps (at most ${
        dotsPerRow(rows.length)
      } a row drawn, the extremes always), the box is the middle half, the bar the median with its 95 % interval below. Outliers, beyond 1.5 boxes, are kept in every figure.`,
      draw: (size) => stepTimesChart(rows, size),
      numbers: table(rows, [
        { head: "configuration", cell: ({ label, byCell }) => traced(context, byCell[0].id, label) },
        figures(
          ["median", "ms"],
          ({ median, byCell }) => traced(context, byCell[0].id, formatInterval(median)),
        ),
        figures(["lower quartile", "ms"], (row) => formatSignificant(row.lowerQuartile, 4)),
        figures(["upper quartile", "ms"], (row) => formatSignificant(row.upperQuartile, 4)),
        figures("steps", ({ n }) => formatNumber(n)),
        figures("outliers", ({ outliers }) => formatNumber(outliers)),
      ], { caption: "Step times", strong: ({ chosen }) => chosen }),
    }),
    "half",
  );
}
