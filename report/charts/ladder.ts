/** Methods added one after another: memory and throughput of each rung, ours beside the guide's. */
import { differs } from "../rows/measured.ts";
import { formatNumber, formatRatio, shorten } from "../words/format.ts";
import type { Interval } from "../../results/stats.ts";
import { d3 } from "./d3.ts";
import {
  addInterval,
  addLine,
  addMark,
  addText,
  addXAxis,
  type ChartSize,
  NARROW,
  openChart,
  type Plot,
  textWidth,
} from "./frame.ts";
import type { LadderRow } from "../rows/ladder.ts";

interface LadderPanel {
  name: string;
  ours: (row: LadderRow) => Interval | null;
  guide: (row: LadderRow) => number | null;
}

const point = (value: number | null): Interval | null =>
  value === null ? null : { low: value, estimate: value, high: value };

const PANELS: readonly LadderPanel[] = [
  {
    name: "memory: times less than the baseline",
    ours: ({ memoryRatio }) => point(memoryRatio),
    guide: ({ guide }) => guide?.memory ?? null,
  },
  {
    name: "throughput: times the baseline",
    ours: ({ throughputRatio }) => throughputRatio,
    guide: ({ guide }) => guide?.throughput ?? null,
  },
];

/** Two panels, memory and throughput; one row a rung, dots with intervals for ours and crosses for the guide's. */
export function ladderChart(
  rows: readonly LadderRow[],
  { id, width, title, description }: ChartSize & { title: string; description: string },
): string {
  const narrow = width < NARROW;
  const labelRoom = narrow
    ? 0
    : Math.min(200, Math.max(...rows.map(({ label }) => textWidth(shorten(label, 28)))) + 14);
  const rowHeight = narrow ? 42 : 34;
  const panelHeight = rows.length * rowHeight;
  const top = 50;
  const panels = PANELS.map((panel, i): { panel: LadderPanel; plot: Plot } => {
    const panelWidth = narrow ? width - 12 : (width - labelRoom - 34) / 2;
    const left = narrow ? 4 : labelRoom + i * (panelWidth + 28);
    const panelTop = top + (narrow ? i * (panelHeight + 84) : 0);
    return { panel, plot: { left, right: left + panelWidth, top: panelTop, bottom: panelTop + panelHeight } };
  });
  const chart = openChart({ id, width, height: panels[1].plot.bottom + 30, title, description });
  const { svg } = chart;
  addMark(svg, 7, 8, { colour: "var(--blue)" });
  addText(svg, "this run", 18, 12);
  addMark(svg, 97, 8, { shape: "times", colour: "var(--vermillion)", size: 70 });
  addText(svg, "the paper's source", 108, 12, { class: "muted" });
  for (const { panel, plot } of panels) drawPanel(panel, plot);
  if (!narrow) {
    rows.forEach(({ label }, i) => {
      const y = top + (i + 0.5) * rowHeight;
      addText(svg, shorten(label, 28), labelRoom - 12, y + 4.5, { anchor: "end", hint: label });
    });
  }
  return chart.text();

  function drawPanel({ name, ours, guide }: LadderPanel, plot: Plot): void {
    const values = rows.flatMap((row) => [ours(row)?.high ?? 0, guide(row) ?? 0]);
    const x = d3.scaleLinear().domain([0, Math.max(1.1, ...values) * 1.2]).range([plot.left, plot.right]);
    addXAxis(svg, x, plot, {
      ticks: x.ticks(5),
      format: (value) => `${formatNumber(value, 1)}×`,
      grid: true,
    });
    addText(svg, name, plot.left, plot.top - 12, { class: "strong" });
    addLine(svg, x(1), plot.top, x(1), plot.bottom, "pointer");
    rows.forEach((row, i) => {
      const middle = plot.top + i * rowHeight + (narrow ? 28 : rowHeight / 2);
      if (narrow) addText(svg, shorten(row.label, 40), plot.left + 2, middle - 12, { hint: row.label });
      const theirs = guide(row);
      if (theirs !== null) {
        const hint = `${row.guide!.label}: ${formatRatio(theirs)}`;
        addMark(svg, x(theirs), middle, { shape: "times", colour: "var(--vermillion)", size: 70, hint });
      }
      const value = ours(row);
      if (!value) {
        addText(svg, row.configuration.cells[0].status, x(0) + 6, middle + 4, { class: "bad" });
        return;
      }
      const colour = i > 0 && value.low < value.high && !differs(value) ? "var(--muted)" : "var(--blue)";
      if (value.low < value.high) {
        addInterval(svg, { x: x(value.low), y: middle }, { x: x(value.high), y: middle }, colour);
      }
      // On the side away from the cross, so that it cannot be read as the guide's.
      const isLeft = theirs !== null && theirs > value.estimate;
      addText(svg, formatRatio(value.estimate), isLeft ? x(value.low) - 9 : x(value.high) + 9, middle + 4.5, {
        anchor: isLeft ? "end" : "start",
        class: "tick",
      });
      addMark(svg, x(value.estimate), middle, {
        colour,
        hint: `${row.label}: ${formatRatio(value.estimate)}`,
      });
    });
  }
}
