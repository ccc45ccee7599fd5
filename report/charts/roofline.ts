/** Kernels under the roof of the device: work done a byte moved against work done a second. */
import type { KernelShare } from "../rows/kernels.ts";
import { formatCompact, formatNumber, shorten } from "../words/format.ts";
import type { Roofline } from "../../results/record.ts";
import { d3 } from "./d3.ts";
import { leaderEnd, placeLabels } from "./label_placement.ts";
import {
  addLine,
  addMark,
  addText,
  addXAxis,
  addYAxis,
  type DrawOptions,
  NARROW,
  openChart,
  type Plot,
  textWidth,
} from "./frame.ts";
import { powersOfTwo } from "./lines.ts";

const GIGA = 1e9;

/** Both axes logarithmic; the roof is the lower of what memory feeds and what arithmetic does. */
export function rooflineChart(
  kernels: readonly KernelShare[],
  roof: Roofline,
  { id, width, title, description }: DrawOptions,
): string {
  const narrow = width < NARROW;
  const height = narrow ? 340 : 400;
  const chart = openChart({ id, width, height, title, description });
  const { svg } = chart;
  const points = kernels.flatMap(({ kernel, intensity, flopsPerSecond, share }) =>
    intensity && flopsPerSecond ? [{ kernel, intensity, rate: flopsPerSecond / GIGA, share }] : []
  );
  const top = Math.max(roof.matmulFlopsPerSecond.f32, roof.matmulFlopsPerSecond.f16 ?? 0) / GIGA;
  const memory = roof.copyBytesPerSecond / GIGA;
  const ridge = top / memory;
  const xs = [...points.map(({ intensity }) => intensity), ridge];
  const ys = [...points.map(({ rate }) => rate), top];
  const x = d3.scaleLog().base(2).domain([Math.min(...xs) / 2, Math.max(...xs) * 4]);
  const y = d3.scaleLog().base(2).domain([Math.min(...ys) / 2, Math.max(...ys) * 2]);
  const yTicks = powersOfTwo(y.domain()[0], y.domain()[1], 8);
  const format = (value: number) => value >= 1 ? formatCompact(value) : `1/${formatCompact(1 / value)}`;
  const gutter = Math.max(...yTicks.map((tick) => textWidth(format(tick)))) + 10;
  const plot: Plot = { left: gutter, right: width - 10, top: 46, bottom: height - 44 };
  x.range([plot.left, plot.right]);
  y.range([plot.bottom, plot.top]);
  addYAxis(svg, y, plot, { ticks: yTicks, format, label: "GFLOP/s, logarithmic" });
  addXAxis(svg, x, plot, {
    ticks: powersOfTwo(x.domain()[0], x.domain()[1], narrow ? 6 : 10),
    format,
    label: "FLOP a byte bound, logarithmic",
  });
  const [left, right] = x.domain();
  const start = Math.max(left, y.domain()[0] / memory);
  addLine(svg, x(start), y(start * memory), x(ridge), y(top), "line").attr("stroke", "var(--ink)");
  addLine(svg, x(ridge), y(top), x(right), y(top), "line").attr("stroke", "var(--ink)");
  const roofText = `products ${formatCompact(top)} GFLOP/s, copies ${formatNumber(memory, 1)} GB/s`;
  addText(svg, `roof: ${roofText}`, 0, 12, { class: "strong" });
  const marks = points.map(({ intensity, rate }) => ({ x: x(intensity), y: y(rate) }));
  points.forEach(({ kernel, share, rate }, i) =>
    addMark(svg, marks[i].x, marks[i].y, {
      colour: "var(--blue)",
      size: 30 + 400 * share,
      hint: `${kernel}: ${formatNumber(rate, 1)} GFLOP/s, ${formatNumber(share * 100, 1)} % of the time`,
    })
  );
  const labels = points.map(({ kernel, share }, i) => ({
    at: marks[i],
    width: textWidth(shorten(kernel, narrow ? 18 : 28)),
    isImportant: share > 0.05,
  }));
  const bounds = { x0: plot.left + 2, x1: width, y0: 14, y1: plot.bottom - 2 };
  placeLabels(labels, { marks, line: [], bounds }).forEach((label, i) => {
    if (!label) return;
    if (label.leader) {
      const end = leaderEnd(labels[i], label);
      addLine(svg, marks[i].x, marks[i].y, end.x, end.y, "leader");
    }
    addText(svg, shorten(points[i].kernel, narrow ? 18 : 28), label.x, label.y, { class: "muted" });
  });
  return chart.text();
}
