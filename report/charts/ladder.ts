/** Methods added one after another: memory and throughput of each rung, ours beside the guide's. */
import { exactly, type Interval } from "../../results/stats.ts";
import type { LadderRow } from "../rows/ladder.ts";
import { differs } from "../../results/measured.ts";
import { formatRatio } from "../words/format.ts";
import { type DotRow, dotRowsChart, ratioPanel } from "./dot_rows.ts";
import type { DrawOptions } from "./frame.ts";

/** Two panels, memory and throughput; one row a rung. */
export function ladderChart(rows: readonly LadderRow[], options: DrawOptions): string {
  const dots = rows.map((row, i): DotRow => {
    const { label, guide, memoryRatio, throughputRatio } = row;
    const cell = (value: Interval | null, theirs: number | undefined) =>
      value === null ? { missing: row.configuration.cells[0].status } : {
        value,
        text: formatRatio(value.estimate),
        isSame: i > 0 && value.low < value.high && !differs(value),
        ...theirs !== undefined && {
          theirs: { low: theirs, high: theirs, hint: `${guide!.label}: ${formatRatio(theirs)}` },
        },
      };
    const memory = memoryRatio === null ? null : exactly(memoryRatio);
    return { label, cells: [cell(memory, guide?.memory), cell(throughputRatio, guide?.throughput)] };
  });
  const panels = [
    ratioPanel("memory: times less than the baseline"),
    ratioPanel("throughput: times the baseline"),
  ];
  return dotRowsChart(dots, panels, { ours: "this run", theirs: "the paper's source" }, options);
}
