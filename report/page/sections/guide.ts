import { type DotRow, dotRowsChart, ratioPanel } from "../../charts/dot_rows.ts";
import { GUIDE, guidePlans, guideRatios, type GuideRow, isRow, LOADED_MODEL } from "../../claims/guide.ts";
import type { Analysis } from "../../rows/analysis.ts";
import type { Configuration } from "../../rows/configuration.ts";
import { ratioOf } from "../../../results/measured.ts";
import { figure } from "../figure.ts";
import { formatInterval, formatNumber, formatRatio } from "../../words/format.ts";
import { MIB } from "../../../results/bytes.ts";
import type { Html } from "../html.ts";
import { type Column, figures, table } from "../table.ts";
import { type PageContext, section, traced } from "./context.ts";
import { exactly } from "../../../results/stats.ts";

/** A row of the guide with what was measured and planned for it here. */
interface Row {
  guide: GuideRow;
  measured: Configuration | null;
  planned: Configuration | null;
}

/** The guide's table, row by row: what was measured here (full size or stand-in) and planned at full size. */
export function guideSection(analysis: Analysis, context: PageContext): Html | null {
  const trained = analysis.configurations.filter(({ shows }) => shows === "guide-table");
  const plans = guidePlans(analysis);
  if (trained.length === 0 && plans.length === 0) return null;
  const rows = GUIDE.map((guide): Row => ({
    guide,
    measured: trained.find(({ config }) => isRow(guide, config)) ?? null,
    planned: plans.find(({ row }) => row === guide)?.configuration ?? null,
  }));
  const [base] = rows;
  const model = trained[0]?.config.model;
  const isStandIn = model !== undefined && plans.length > 0 && model !== plans[0].configuration.config.model;
  const what = model === undefined
    ? "No row was run here."
    : `Run here: ${model}${isStandIn ? ", a stand-in for BERT-large with the same ratios of parts" : ""}.`;
  return section(
    context,
    "guide",
    "The guide's table",
    figure({
      id: `${context.prefix}guide-chart`,
      title: findingOf(rows),
      subtitle:
        `${what} Dots: ratios to the first row, measured (throughput with 95 % interval) or, hollow, BERT-large itself as planned. Crosses: the guide's own (driver's memory and one run each on a V100).`,
      draw: (size) =>
        dotRowsChart(
          rows.map((row) => dotRow(row, base)),
          [
            ...model === undefined ? [] : [ratioPanel("memory, run here: times less")],
            ...plans.length === 0 ? [] : [ratioPanel("memory, planned: times less")],
            ...model === undefined ? [] : [ratioPanel("throughput: times")],
          ],
          { ours: "run here", theirs: "the guide", ...plans.length > 0 ? { planned: "planned" } : {} },
          size,
        ),
      numbers: table(rows, columnsOf(base, context), { caption: "The guide's rows, theirs and ours" }),
    }),
  );

  function dotRow(row: Row, base: Row): DotRow {
    const ratios = guideRatios(row.guide);
    const theirs = (value: number) => ({ low: value, high: value, hint: `the guide: ${formatRatio(value)}` });
    const memory = memoryRatio(row.measured, base.measured, "bookedBytes");
    const plan = memoryRatio(row.planned, base.planned, "plannedBytes");
    const rate = ratioOf(row.measured?.tokensPerSecond ?? null, base.measured?.tokensPerSecond ?? null);
    return {
      label: row.guide.label,
      cells: [
        ...model === undefined ? [] : [
          memory === null
            ? { missing: row.measured?.cells[0].status ?? "not run" }
            : { value: exactly(memory), text: formatRatio(memory), theirs: theirs(ratios.memory) },
        ],
        ...plans.length === 0 ? [] : [
          plan === null ? { missing: "not planned" } : {
            value: exactly(plan),
            text: formatRatio(plan),
            theirs: theirs(ratios.memory),
            isPlanned: true,
          },
        ],
        ...model === undefined ? [] : [
          rate === null
            ? { missing: row.measured?.cells[0].status ?? "not run" }
            : { value: rate, text: formatRatio(rate.estimate), theirs: theirs(ratios.throughput) },
        ],
      ],
    };
  }
}

function memoryRatio(
  own: Configuration | null,
  base: Configuration | null,
  of: "bookedBytes" | "plannedBytes",
): number | null {
  const [ours, theirs] = [own?.memory?.[of] ?? null, base?.memory?.[of] ?? null];
  return ours && theirs ? theirs / ours : null;
}

function findingOf(rows: readonly Row[]): string {
  const full = rows.filter(({ guide }) =>
    guide.accumulates && guide.checkpoint && guide.fp16 && guide.optimizer !== "adamw"
  );
  const best = full.toSorted((a, b) => a.guide.megabytes - b.guide.megabytes)[0];
  const theirs = guideRatios(best.guide).memory;
  const measured = memoryRatio(best.measured, rows[0].measured, "bookedBytes");
  const planned = memoryRatio(best.planned, rows[0].planned, "plannedBytes");
  const parts = [
    ...measured === null ? [] : [`${formatRatio(measured)} less memory as run here`],
    ...planned === null ? [] : [`${formatRatio(planned)} for BERT-large as planned`],
    `${formatRatio(theirs)} in the guide`,
  ];
  return `The guide's full stack: ${parts.join(", ")}`;
}

function columnsOf(base: Row, context: PageContext): Column<Row>[] {
  return [
    { head: "row of the guide", cell: ({ guide }) => guide.label },
    figures(["guide, driver", "MB"], ({ guide }) => formatNumber(guide.megabytes)),
    figures(
      ["guide, less context", "MB"],
      ({ guide }) => formatNumber(guide.megabytes - LOADED_MODEL.contextMegabytes),
    ),
    figures(["planned, full size", "MiB"], ({ planned }) =>
      traced(
        context,
        planned?.memory?.id,
        formatNumber(planned?.memory ? planned.memory.plannedBytes / MIB : null),
      )),
    figures(["run here, booked", "MiB"], ({ measured }) =>
      traced(
        context,
        measured?.memory?.id,
        measured && measured.ok.length === 0
          ? measured.cells[0].status
          : formatNumber(measured?.memory?.bookedBytes ? measured.memory.bookedBytes / MIB : null, 1),
      )),
    figures(["guide", "samples/s"], ({ guide }) => formatNumber(guide.samplesPerSecond, 2)),
    figures(["run here", "samples/s"], ({ measured }) => {
      const rate = measured?.tokensPerSecond;
      if (!measured || !rate) return "–";
      const { estimate, low, high } = rate.interval;
      const samples = [estimate, low, high].map((value) => value / measured.config.sequenceLength);
      return traced(
        context,
        rate.byCell[0].id,
        formatInterval({ estimate: samples[0], low: samples[1], high: samples[2] }),
      );
    }),
    figures(["less memory, guide", "×"], ({ guide }) => formatNumber(guideRatios(guide).memory, 2)),
    figures(
      ["planned", "×"],
      ({ planned }) => formatNumber(memoryRatio(planned, base.planned, "plannedBytes"), 2),
    ),
    figures(
      ["run here", "×"],
      ({ measured }) => formatNumber(memoryRatio(measured, base.measured, "bookedBytes"), 2),
    ),
    figures(["throughput, guide", "×"], ({ guide }) => formatNumber(guideRatios(guide).throughput, 2)),
    figures(
      ["run here", "×"],
      ({ measured }) =>
        formatInterval(ratioOf(measured?.tokensPerSecond ?? null, base.measured?.tokensPerSecond ?? null), 2),
    ),
  ];
}
