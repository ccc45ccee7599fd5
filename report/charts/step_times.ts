/** Raw step times, one row a configuration. */
import type { Configuration } from "../rows/configuration.ts";
import { formatInterval, formatSignificant, shorten } from "../words/format.ts";
import type { Interval } from "../../results/stats.ts";
import { d3 } from "./d3.ts";
import {
  addDots,
  addInterval,
  addLine,
  addText,
  addXAxis,
  type DrawOptions,
  jitter,
  NARROW,
  openChart,
  type Plot,
  px,
  textWidth,
} from "./frame.ts";

export interface StepTimeRow {
  label: string;
  median: Interval;
  lowerQuartile: number;
  upperQuartile: number;
  byCell: { id: string; values: number[] }[];
  n: number;
  /** Steps beyond 1.5 interquartile ranges of the box (Tukey); kept in every figure. */
  outliers: number;
  chosen: boolean;
}

/** Quartiles and raw milliseconds of each configuration with timed steps. */
export function stepTimeRows(
  configurations: readonly Configuration[],
  chosen: Configuration | null,
): StepTimeRow[] {
  return configurations.flatMap((configuration) => {
    const { stepMs, label } = configuration;
    if (!stepMs) return [];
    const sorted = [...stepMs.values].sort((a, b) => a - b);
    const [lower, upper] = [0.25, 0.75].map((p) => d3.quantileSorted(sorted, p));
    const reach = 1.5 * (upper - lower);
    return [{
      label,
      median: stepMs.interval,
      lowerQuartile: lower,
      upperQuartile: upper,
      byCell: stepMs.byCell,
      n: sorted.length,
      outliers: sorted.filter((ms) => ms < lower - reach || ms > upper + reach).length,
      chosen: configuration === chosen,
    }];
  });
}

/** Most dots a row, and over all rows; the smallest and largest of a cell are among them. */
const DOTS = { row: 300, page: 6000 };

/** Dots a row of a chart with so many rows. */
export function dotsPerRow(rows: number): number {
  return Math.max(30, Math.min(DOTS.row, Math.round(DOTS.page / rows)));
}

function someOf(values: readonly number[], limit: number): number[] {
  if (values.length <= limit) return [...values];
  const sorted = [...values].sort((a, b) => a - b);
  return Array.from({ length: limit }, (_, i) => sorted[Math.round(i * (sorted.length - 1) / (limit - 1))]);
}

/** Whether the times need a logarithmic axis: a span of more than a factor of 8. */
export function isWide(rows: readonly StepTimeRow[]): boolean {
  const all = rows.flatMap(({ byCell }) => byCell.flatMap(({ values }) => values));
  const [low, high] = d3.extent(all);
  return all.length > 0 && high / low > 8;
}

/** Strip and box of raw milliseconds a step; every outlier is drawn. */
export function stepTimesChart(
  rows: readonly StepTimeRow[],
  { id, width, title, description }: DrawOptions,
): string {
  const narrow = width < NARROW;
  const rowHeight = narrow ? 54 : 40;
  const labelRoom = narrow
    ? 6
    : Math.min(190, Math.max(...rows.map(({ label }) => textWidth(shorten(label, 26)))) + 12);
  const plot: Plot = {
    left: labelRoom,
    right: width - (narrow ? 10 : 165),
    top: 6,
    bottom: 6 + rows.length * rowHeight,
  };
  const chart = openChart({ id, width, height: plot.bottom + 44, title, description });
  const { svg } = chart;
  const all = rows.flatMap(({ byCell }) => byCell.flatMap(({ values }) => values));
  const ends = rows.flatMap(({ median }) => [median.low, median.high]);
  const [low, high] = d3.extent([...all, ...ends]);
  const log = isWide(rows);
  const x =
    (log ? d3.scaleLog().domain([low * 0.9, high * 1.1]) : d3.scaleLinear().domain([0, high * 1.04 || 1]))
      .range([plot.left, plot.right]);
  addXAxis(svg, x, plot, {
    ticks: log ? logTicks(low * 0.9, high * 1.1) : x.ticks(narrow ? 5 : 8),
    format: (value) => formatSignificant(value, 1),
    label: log ? "ms per step (log)" : "ms per step",
    grid: true,
  });
  rows.forEach((row, i) => drawRow(row, plot.top + i * rowHeight));
  return chart.text();

  function drawRow(row: StepTimeRow, top: number): void {
    const colour = row.chosen ? "var(--vermillion)" : "var(--blue)";
    const middle = top + (narrow ? 35 : rowHeight / 2);
    const figure = `${formatInterval(row.median)} ms`;
    if (narrow) {
      addText(svg, shorten(row.label, 22), 0, top + 14, { class: "strong", hint: row.label });
      addText(svg, figure, width - 2, top + 14, { anchor: "end", class: "tick" });
    } else {
      addText(svg, shorten(row.label, 26), plot.left - 10, middle + 4.5, { anchor: "end", hint: row.label });
      addText(svg, figure, plot.right + 12, middle + 4.5, { class: "tick" });
    }
    let i = 0;
    for (const { id: cell, values } of row.byCell) {
      const shown = someOf(values, Math.max(2, Math.ceil(dotsPerRow(rows.length) / row.byCell.length)));
      const dots = shown.map((ms) => ({ x: x(ms), y: middle + jitter(i++) * 20 }));
      addDots(svg, dots, `steps of cell ${cell}`).attr("stroke", colour);
    }
    const [left, right] = [x(row.lowerQuartile), x(row.upperQuartile)];
    svg.append("rect").attr("class", "box").attr("x", px(left)).attr("y", px(middle - 9))
      .attr("width", px(Math.max(1, right - left))).attr("height", 18).attr("stroke", colour);
    addLine(svg, x(row.median.estimate), middle - 12, x(row.median.estimate), middle + 12, "median").attr(
      "stroke",
      colour,
    );
    if (row.median.low < row.median.high) {
      const at = middle + 14;
      addInterval(svg, { x: x(row.median.low), y: at }, { x: x(row.median.high), y: at }, colour);
    }
  }
}

/** 1, 2, 5 in each decade. */
export function logTicks(low: number, high: number): number[] {
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const digit of [1, 2, 5]) {
      const tick = digit * 10 ** power;
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  return ticks;
}
