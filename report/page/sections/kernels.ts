import { rooflineChart } from "../../charts/roofline.ts";
import type { Analysis } from "../../rows/analysis.ts";
import type { Configuration } from "../../rows/configuration.ts";
import { figure, HALF, SLIM } from "../figure.ts";
import { named } from "../../words/text.ts";
import { count, formatCompact, formatNumber, formatSignificant } from "../../words/format.ts";
import { type Html, markup } from "../html.ts";
import { type KernelShare, type Profile, profileOf, roofOf, utilisation } from "../../rows/kernels.ts";
import type { Roofline } from "../../../results/record.ts";
import { type Column, figures, table } from "../table.ts";
import { configurationLink, type PageContext, section, traced } from "./context.ts";

/** Where a step's time goes and how near kernels come to the roof; null where nothing was profiled. */
export function kernelsSection(analysis: Analysis, context: PageContext): Html | null {
  const { loaded: { run }, configurations, baseline } = analysis;
  const own = [baseline, context.judgement.stack?.changed ?? null].filter((one): one is Configuration =>
    one !== null
  );
  const profiled = (one: Configuration) => profileOf(one, null) !== null;
  const shown = own.some(profiled) ? own.filter(profiled) : configurations.filter(profiled).slice(0, 1);
  const roof = roofOf(shown, run.roofline);
  const profiles = shown.map((one) => profileOf(one, roof)!);
  if (profiles.length === 0) return null;
  return section(
    context,
    "kernels",
    "Kernels and roofline",
    markup`${profiles.map((profile) => profileFigure(profile, roof, context))}${
      roof && utilisationTable(configurations, roof, context)
    }`,
    "half",
  );
}

function profileFigure(profile: Profile, roof: Roofline | null, context: PageContext): Html {
  const { kernels, id, configuration, totalMs } = profile;
  const numbers = table(kernels, columnsOf(roof), {
    caption: `Kernels of one profiled step, ${configuration.label}`,
  });
  const title = findingOf(profile);
  const isDrawn = roof && kernels.some(({ intensity, flopsPerSecond }) => intensity && flopsPerSecond);
  if (!roof || !isDrawn) {
    return markup`<div><h4>${title}</h4>
${numbers}</div>`;
  }
  return figure({
    id: `${context.prefix}roofline-${id}`,
    widths: [HALF, SLIM],
    title,
    subtitle: `One profiled step of cell ${id} (${
      formatNumber(totalMs, 1)
    } ms in kernels, every dispatch timed by itself): work a second against work a byte bound, size by share of the time. Line: the roof, ${roof.how}. Kernels without products are in the table alone.`,
    draw: (size) => rooflineChart(kernels, roof, size),
    numbers,
  });
}

function findingOf({ kernels, configuration }: Profile): string {
  const [first] = kernels;
  const products = kernels.filter(({ flopsPerSecond }) => flopsPerSecond);
  const share = products.reduce((sum, one) => sum + one.share, 0);
  const roof = first.ofRoof === null ? "" : `, at ${formatNumber(first.ofRoof * 100)} % of the roof`;
  return `In ${named(configuration.label)}, products take ${
    formatNumber(share * 100)
  } % of the kernels' time; the longest kernel is ${first.kernel}, ${
    formatNumber(first.share * 100)
  } %${roof}`;
}

function columnsOf(roof: Roofline | null): Column<KernelShare>[] {
  return [
    { head: "kernel", cell: ({ kernel }) => kernel },
    figures("dispatches", ({ dispatches }) => formatNumber(dispatches)),
    figures(["time", "ms"], ({ ms }) => formatSignificant(ms)),
    figures(["share", "%"], ({ share }) => formatNumber(share * 100, 1)),
    figures(["work", "FLOP/s"], ({ flopsPerSecond }) => formatCompact(flopsPerSecond)),
    figures(["bound", "B/s"], ({ bytesPerSecond }) => formatCompact(bytesPerSecond)),
    figures(["intensity", "FLOP/B"], ({ intensity }) => formatSignificant(intensity)),
    ...roof
      ? [
        figures(["of the roof", "%"], ({ ofRoof }: KernelShare) =>
          formatNumber(ofRoof === null ? null : ofRoof * 100, 1)),
      ]
      : [],
  ];
}

/** Model FLOPs utilisation of every configuration of the ladder, or of those that ran. */
function utilisationTable(
  configurations: readonly Configuration[],
  roof: Roofline,
  context: PageContext,
): Html | null {
  const known = configurations.flatMap((configuration) => {
    const share = utilisation(configuration, roof);
    return share === null ? [] : [{ configuration, share }];
  });
  const ladder = known.filter(({ configuration }) => configuration.shows === "method-ladder");
  const rows = ladder.length > 0 ? ladder : known.slice(0, 12);
  if (rows.length === 0) return null;
  const best = rows.reduce((a, b) => b.share > a.share ? b : a);
  const percent = (share: number) => formatNumber(share * 100, 1);
  return markup`<h4>${named(best.configuration.label)} uses ${
    percent(best.share)
  } % of the peak of products, most of ${count(rows.length, "configuration")}</h4>
${
    table(rows, [
      { head: "configuration", cell: ({ configuration }) => configurationLink(context, configuration) },
      figures("model FLOPs a step", ({ configuration }) =>
        formatCompact(configuration.ok[0].modelFlopsPerStep)),
      figures(["step", "ms"], ({ configuration: { stepMs } }) =>
        traced(context, stepMs!.byCell[0].id, formatSignificant(stepMs!.interval.estimate, 4))),
      figures(["model FLOPs utilisation", "%"], ({ share }) =>
        percent(share)),
    ], { caption: "Model FLOPs (recomputation not counted) over the measured peak of matrix products" })
  }`;
}
