/** Memory against throughput: what each configuration buys, and which ones no other beats on both. */
import type { Configuration } from "../derive.ts";
import { byteUnit, formatBytes, formatInterval, shorten } from "../format.ts";
import { FULL_STACKS } from "../guide.ts";
import type { Interval } from "../../results/stats.ts";
import { d3 } from "./d3.ts";
import {
  addInterval,
  addLine,
  addMark,
  addText,
  addXAxis,
  addYAxis,
  type ChartSize,
  NARROW,
  openChart,
  type Plot,
  px,
  textWidth,
  tickFormat,
} from "./frame.ts";

export interface ParetoPoint {
  label: string;
  id: string;
  bytes: number;
  tokensPerSecond: Interval;
  /** No other configuration needs less memory at no less throughput. */
  onFront: boolean;
  isBaseline: boolean;
}

/** A point of the paper, its ratios applied to our baseline. */
export interface PaperPoint {
  label: string;
  bytes: number;
  tokensPerSecond: number;
}

export interface Pareto {
  points: ParetoPoint[];
  /** Points of the front by rising memory. */
  front: ParetoPoint[];
  paper: PaperPoint[];
}

/** Configurations with booked memory and throughput, the front among them, and the paper's two full stacks. */
export function paretoOf(configurations: readonly Configuration[], baseline: Configuration | null): Pareto {
  const points = configurations.flatMap((configuration): ParetoPoint[] => {
    const { label, memory, tokensPerSecond } = configuration;
    if (memory?.bookedBytes == null || !tokensPerSecond) return [];
    return [{
      label,
      id: memory.id,
      bytes: memory.bookedBytes,
      tokensPerSecond: tokensPerSecond.interval,
      onFront: false,
      isBaseline: configuration === baseline,
    }];
  });
  for (const point of points) point.onFront = !points.some((other) => dominates(other, point));
  const front = points.filter(({ onFront }) => onFront).sort((a, b) => a.bytes - b.bytes);
  const base = points.find(({ isBaseline }) => isBaseline);
  const paper = base
    ? FULL_STACKS.map(({ label, memory, throughput }) => ({
      label: `paper: ${label.includes("Adafactor") ? "Adafactor" : "8-bit Adam"} stack`,
      bytes: base.bytes / memory,
      tokensPerSecond: base.tokensPerSecond.estimate * throughput,
    }))
    : [];
  return { points, front, paper };
}

function dominates(a: ParetoPoint, b: ParetoPoint): boolean {
  const [x, y] = [a.tokensPerSecond.estimate, b.tokensPerSecond.estimate];
  return a.bytes <= b.bytes && x >= y && (a.bytes < b.bytes || x > y);
}

interface Box {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
}

function overlaps(a: Box, b: Box): boolean {
  return a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1;
}

const PLACES = [
  { dx: 9, dy: 4, anchor: "start" },
  { dx: -9, dy: 4, anchor: "end" },
  { dx: 0, dy: -11, anchor: "middle" },
  { dx: 0, dy: 19, anchor: "middle" },
  { dx: 9, dy: -9, anchor: "start" },
  { dx: 9, dy: 17, anchor: "start" },
  { dx: -9, dy: -9, anchor: "end" },
  { dx: -9, dy: 17, anchor: "end" },
] as const;

/** Scatter of peak memory and throughput; dominated points faint, the front as a line, the paper as crosses. */
export function paretoChart(
  { points, front, paper }: Pareto,
  { id, width, title, description }: ChartSize & { title: string; description: string },
): string {
  const narrow = width < NARROW;
  const height = narrow ? 340 : 430;
  const chart = openChart({ id, width, height, title, description });
  const { svg } = chart;
  const unit = byteUnit(Math.max(...points.map(({ bytes }) => bytes)));
  const largestBytes = Math.max(...points.map(({ bytes }) => bytes), ...paper.map(({ bytes }) => bytes)) /
    unit.bytes;
  const fastest = Math.max(
    ...points.map((point) => point.tokensPerSecond.high),
    ...paper.map((point) => point.tokensPerSecond),
  );
  const y = d3.scaleLinear().domain([0, fastest * 1.05]).nice(6);
  const ticks = y.ticks(6);
  const format = tickFormat(ticks);
  const plot: Plot = {
    left: Math.max(...ticks.map((tick) => textWidth(format(tick)))) + 8,
    right: width - 14,
    top: 30,
    bottom: height - 44,
  };
  y.range([plot.bottom, plot.top]);
  const x = d3.scaleLinear().domain([0, largestBytes * 1.06]).range([plot.left, plot.right]);
  addYAxis(svg, y, plot, { ticks, format, label: "tokens/s" });
  addXAxis(svg, x, plot, {
    ticks: x.ticks(narrow ? 5 : 8),
    format: tickFormat(x.ticks(narrow ? 5 : 8)),
    label: `planned = booked peak, ${unit.name} (less is better)`,
  });
  const line = d3.line<ParetoPoint>().x(({ bytes }) => px(x(bytes / unit.bytes)))
    .y(({ tokensPerSecond }) => px(y(tokensPerSecond.estimate)));
  svg.append("path").attr("class", "front").attr("d", line(front));

  const place = (bytes: number, rate: number) => ({ x: x(bytes / unit.bytes), y: y(rate) });
  const taken: Box[] = [
    ...points.map((point) => place(point.bytes, point.tokensPerSecond.estimate)),
    ...paper.map((point) => place(point.bytes, point.tokensPerSecond)),
  ].map((at) => ({ x0: at.x - 6, y0: at.y - 6, x1: at.x + 6, y1: at.y + 6 }));

  for (let i = 1; i < front.length; i++) taken.push(...between(front[i - 1], front[i]));

  for (const point of [...points].sort((a, b) => Number(a.onFront) - Number(b.onFront))) drawPoint(point);
  for (const { label, bytes, tokensPerSecond } of paper) {
    const at = place(bytes, tokensPerSecond);
    addMark(svg, at.x, at.y, { shape: "times", colour: "var(--vermillion)", size: 90, hint: label });
  }
  for (const { label, bytes, tokensPerSecond } of paper) {
    addLabel(label, place(bytes, tokensPerSecond), "bad", true);
  }
  const named = points.toSorted((a, b) =>
    Number(b.onFront || b.isBaseline) - Number(a.onFront || a.isBaseline) || a.bytes - b.bytes
  );
  for (const point of named) {
    const at = place(point.bytes, point.tokensPerSecond.estimate);
    const text = shorten(point.label, narrow ? 18 : 30);
    const isLoud = point.onFront || point.isBaseline;
    addLabel(text, at, isLoud ? "strong" : "muted", isLoud);
  }
  return chart.text();

  /** Small boxes along the front, so that labels keep off the line. */
  function between(from: ParetoPoint, until: ParetoPoint): Box[] {
    const [a, b] = [from, until].map((end) => place(end.bytes, end.tokensPerSecond.estimate));
    const steps = Math.ceil(Math.hypot(b.x - a.x, b.y - a.y) / 6);
    return Array.from({ length: steps }, (_, i) => {
      const [x, y] = [a.x + (b.x - a.x) * i / steps, a.y + (b.y - a.y) * i / steps];
      return { x0: x - 2, y0: y - 2, x1: x + 2, y1: y + 2 };
    });
  }

  function drawPoint({ label, id: cell, bytes, tokensPerSecond, onFront, isBaseline }: ParetoPoint): void {
    const at = place(bytes, tokensPerSecond.estimate);
    const colour = onFront ? "var(--blue)" : isBaseline ? "var(--ink)" : "var(--muted)";
    const hint = `${label}: ${formatBytes(bytes)}, ${
      formatInterval(tokensPerSecond)
    } tokens/s (cell ${cell})`;
    if (tokensPerSecond.low < tokensPerSecond.high) {
      addInterval(
        svg,
        { x: at.x, y: y(tokensPerSecond.low) },
        { x: at.x, y: y(tokensPerSecond.high) },
        colour,
      );
    }
    addMark(svg, at.x, at.y, {
      shape: isBaseline ? "square" : "circle",
      colour,
      hollow: !onFront && !isBaseline,
      hint,
    });
  }

  /** Puts a label where it touches nothing; one that must stand and finds no room stands at the right with a leader. */
  function addLabel(text: string, at: { x: number; y: number }, kind: string, mustStand: boolean): void {
    const wide = textWidth(text) * (kind === "strong" ? 1.06 : 1);
    const choices = PLACES.map(({ dx, dy, anchor }) => {
      const x0 = at.x + dx - (anchor === "end" ? wide : anchor === "middle" ? wide / 2 : 0);
      return { x0, x1: x0 + wide, y0: at.y + dy - 11, y1: at.y + dy + 3, dx, dy, anchor };
    });
    const inside = (box: Box) =>
      box.x0 >= plot.left + 2 && box.x1 <= plot.right + 12 && box.y0 >= 14 && box.y1 <= plot.bottom;
    const fits = choices.find((box) => inside(box) && !taken.some((other) => overlaps(box, other)));
    if (fits) {
      taken.push(fits);
      addText(svg, text, at.x + fits.dx, at.y + fits.dy, { anchor: fits.anchor, class: kind });
      return;
    }
    if (!mustStand) return;
    for (let drop = 34; drop < 160; drop += 15) {
      for (const dy of [-drop, drop]) {
        const x0 = Math.min(Math.max(at.x + 14, plot.left + 2), plot.right + 10 - wide);
        const box = { x0, x1: x0 + wide, y0: at.y + dy - 11, y1: at.y + dy + 3 };
        if (!inside(box) || taken.some((other) => overlaps(box, other))) continue;
        taken.push(box);
        addLine(svg, at.x, at.y, x0, at.y + dy - 3, "leader");
        addText(svg, text, x0, at.y + dy, { class: kind });
        return;
      }
    }
  }
}
