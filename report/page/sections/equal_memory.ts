import { type DotRow, dotRowsChart, ratioPanel } from "../../charts/dot_rows.ts";
import type { Analysis } from "../../rows/analysis.ts";
import { type EqualMemoryRow, equalMemoryRows, type JudgedSide } from "../../rows/equal_memory.ts";
import { differs } from "../../../results/measured.ts";
import { combinationName } from "../../words/names.ts";
import { count, formatBytes, formatInterval, formatNumber, formatRatio } from "../../words/format.ts";
import { capital, sentence } from "../../words/text.ts";
import { exactly, type Interval } from "../../../results/stats.ts";
import { figure, HALF, SLIM } from "../figure.ts";
import { type Html, markup } from "../html.ts";
import { type Column, figures, table } from "../table.ts";
import { configurationLink, judged, type PageContext, section, traced } from "./context.ts";

/** What trains fastest within parts of the baseline's memory; null where the run did not ask. */
export function equalMemorySection(analysis: Analysis, context: PageContext): Html | null {
  const rows = equalMemoryRows(analysis);
  const baseline = rows[0]?.baseline;
  if (!baseline) return null;
  return section(
    context,
    "equal-memory",
    "At equal memory",
    markup`${
      figure({
        id: `${context.prefix}equal-memory-chart`,
        widths: [HALF, SLIM],
        title: findingOf(rows),
        subtitle:
          `Of each budget, a part of the baseline's planned peak, the combination that was fastest of ${
            Math.max(...rows.map(({ tried }) => tried.length))
          } tried; judged in other processes, at effective batch ${baseline.configuration.effectiveBatchSize}, ${
            count(processes(baseline), "process", "processes")
          } of the baseline. Ratios to it: booked peak, and throughput, one value a process, with 95 % interval; grey lies inside the noise.`,
        draw: (size) =>
          dotRowsChart(
            rows.map(dotRow),
            [
              ratioPanel("memory: times less than the baseline"),
              ratioPanel("throughput: times the baseline"),
            ],
            { ours: "finalist of the budget" },
            size,
          ),
        numbers: table(rows, columnsOf(context), { caption: "Finalists at equal memory" }),
      })
    }<p class="muted">Rule: ${sentence(rows[0].decision.rule)}</p>`,
    "half",
  );
}

const processes = (side: JudgedSide | null) => side?.tokensPerSecond?.byCell.length ?? 0;

/** `a third of the memory` and its like. */
function budgetName(ratio: number): string {
  const names: Record<number, string> = { 1: "all", 2: "a half", 3: "a third", 4: "a quarter" };
  return names[ratio] ?? `1/${formatNumber(ratio, Number.isInteger(ratio) ? 0 : 1)}`;
}

const finalistName = ({ finalist }: EqualMemoryRow) =>
  finalist ? capital(combinationName(finalist.configuration.config)) : "";

/** The tightest budget that somebody fits, and what that costs in time. */
function findingOf(rows: readonly EqualMemoryRow[]): string {
  const tightest = rows.findLast(({ finalist, throughputRatio }) => finalist && throughputRatio);
  if (!tightest) return "No finalist has been measured";
  const name = budgetName(tightest.ratio);
  const within = `${finalistName(tightest)} fits ${name} of the memory at ${
    formatRatio(tightest.throughputRatio!.estimate)
  } the throughput`;
  const empty = rows.filter(({ fit }) => fit === 0).map(({ ratio }) => budgetName(ratio));
  return empty.length === 0 ? within : `${within}; nothing fits ${empty.join(" or ")}`;
}

function dotRow(row: EqualMemoryRow): DotRow {
  const { ratio, budgetBytes, finalist, decision, memoryRatio, throughputRatio } = row;
  const missing = finalist
    ? finalist.configuration.cells[0].status
    : row.fit === 0
    ? "nothing fits"
    : decision.chosen === "none"
    ? "none ended well"
    : "not judged yet";
  const cell = (value: Interval | null) =>
    value === null ? { missing } : {
      value,
      text: formatRatio(value.estimate),
      isSame: value.low < value.high && !differs(value),
    };
  return {
    label: `${budgetName(ratio)} (${formatBytes(budgetBytes)}): ${finalistName(row) || "–"}`,
    cells: [cell(memoryRatio === null ? null : exactly(memoryRatio)), cell(throughputRatio)],
  };
}

function columnsOf(context: PageContext): Column<EqualMemoryRow>[] {
  const ratio = (value: Interval | null) =>
    judged({ text: formatInterval(value, 2), isDifferent: differs(value) });
  const peak = (side: JudgedSide | null) => {
    const memory = side?.configuration.memory;
    return traced(context, memory?.id, formatBytes(memory?.bookedBytes));
  };
  return [
    { head: "budget", cell: ({ ratio }) => budgetName(ratio) },
    figures("at most", ({ budgetBytes }) => formatBytes(budgetBytes)),
    figures("combinations that fit", ({ fit }) => formatNumber(fit)),
    figures("tried", ({ tried }) => formatNumber(tried.length)),
    {
      head: "finalist",
      cell: ({ finalist, decision }) =>
        finalist
          ? configurationLink(context, finalist.configuration)
          : markup`<span class="reason">${
            decision.chosen === "none" ? decision.reason : "not judged"
          }</span>`,
    },
    figures("booked peak", ({ finalist }) => peak(finalist)),
    figures(["less than the baseline", "×"], ({ memoryRatio }) => formatNumber(memoryRatio, 2)),
    figures(["throughput", "×, 95 %"], ({ throughputRatio }) => ratio(throughputRatio)),
    figures(
      "processes",
      ({ baseline, finalist }) => `${processes(finalist)} against ${processes(baseline)}`,
    ),
    figures(
      ["held-out loss, difference", "nats/token"],
      ({ finalist, lossDifference }) =>
        traced(context, finalist?.heldOut?.byCell[0].id, formatInterval(lossDifference, 4)),
    ),
    {
      head: "largest batch",
      cell: ({ grown }) =>
        grown
          ? traced(
            context,
            grown.configuration.cells[0].id,
            formatNumber(grown.configuration.effectiveBatchSize),
          )
          : "does not grow",
    },
    figures(["its throughput", "×, 95 %"], ({ grownThroughputRatio }) => ratio(grownThroughputRatio)),
  ];
}
