/** Memory against throughput: what each configuration buys, and which ones no other beats on both. */
import { byteUnit } from "../../results/bytes.ts";
import { formatBytes, formatInterval, shorten } from "../words/format.ts";
import { d3 } from "./d3.ts";
import { leaderEnd, placeLabels, type Point } from "./label_placement.ts";
import {
  addInterval,
  addLine,
  addMark,
  addText,
  addXAxis,
  addYAxis,
  type DrawOptions,
  NARROW,
  openChart,
  type Plot,
  px,
  textWidth,
  tickFormat,
} from "./frame.ts";
import type { Pareto, ParetoPoint } from "../rows/pareto.ts";

/** Beyond this many points, those that are beaten stay without names. */
const MANY = 14;
/** Times the fastest point that the axis reaches at most. */
const ROOM_FOR_INTERVALS = 1.5;
/** Up to this many points, all have their intervals. */
const FEW = 9;

/** What is drawn last lies on top. */
function weight({ onFront, isBaseline, isWinner }: ParetoPoint): number {
  return (isBaseline || isWinner ? 2 : 0) + (onFront ? 1 : 0);
}

/** Peak memory against throughput; beaten points faint, the front as a line, the guide as crosses. */
export function paretoChart(
  { points, front, guide }: Pareto,
  { id, width, title, description }: DrawOptions,
): string {
  const narrow = width < NARROW;
  const height = narrow ? 340 : 430;
  const chart = openChart({ id, width, height, title, description });
  const { svg } = chart;
  const unit = byteUnit(Math.max(...points.map(({ bytes }) => bytes)));
  const largestBytes = Math.max(...points.map(({ bytes }) => bytes), ...guide.map(({ bytes }) => bytes)) /
    unit.bytes;
  // Two processes can have an interval of any length: the axis is made for the points, and a longer interval
  // ends at its edge, without an end of its own.
  const highest = Math.max(...[
    ...points.map((point) => point.tokensPerSecond.estimate),
    ...guide.map((point) => point.tokensPerSecond),
  ]);
  const fastest = Math.min(
    Math.max(highest, ...points.map((point) => point.tokensPerSecond.high)),
    highest * ROOM_FOR_INTERVALS,
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
  for (const point of [...points].sort((a, b) => weight(a) - weight(b))) drawPoint(point);
  for (const { label, bytes, tokensPerSecond } of guide) {
    const at = place(bytes, tokensPerSecond);
    addMark(svg, at.x, at.y, {
      shape: "times",
      colour: "var(--vermillion)",
      size: 90,
      hint: `guide: ${label} stack`,
    });
  }
  drawLabels();
  return chart.text();

  function drawLabels(): void {
    // Names for the two that the sentence is about; then for the front, then for the rest as far as there is
    // room.
    const rank = (point: ParetoPoint) => point.isBaseline || point.isWinner ? 0 : point.onFront ? 1 : 2;
    const named = points.length > MANY ? points.filter((point) => rank(point) < 2) : points;
    const texts = [
      ...guide.map(({ label, bytes, tokensPerSecond }) => ({
        text: narrow ? label : `guide: ${label} stack`,
        kind: "bad",
        at: place(bytes, tokensPerSecond),
      })),
      ...named.toSorted((a, b) => rank(a) - rank(b) || a.bytes - b.bytes).map((point) => ({
        text: shorten(
          point.isBaseline && !/baseline/i.test(point.label) ? `baseline: ${point.label}` : point.label,
          narrow ? 20 : 34,
        ),
        kind: rank(point) === 0 ? "strong" : "muted",
        at: place(point.bytes, point.tokensPerSecond.estimate),
      })),
    ];
    const labels = texts.map(({ text, kind, at }) => ({
      at,
      width: textWidth(text) * (kind === "muted" ? 1 : 1.06),
      isImportant: kind !== "muted",
      isRequired: kind === "strong",
    }));
    const placed = placeLabels(labels, {
      marks: [
        ...labels.map(({ at }) => at),
        ...points.filter((point) => !named.includes(point)).map((point) =>
          place(point.bytes, point.tokensPerSecond.estimate)
        ),
      ],
      line: front.slice(1).flatMap((end, i) => between(front[i], end)),
      bounds: { x0: plot.left + 2, x1: width, y0: 14, y1: plot.bottom - 2 },
    });
    placed.forEach((label, i) => {
      if (!label) return;
      if (label.leader) {
        const end = leaderEnd(labels[i], label);
        addLine(svg, labels[i].at.x, labels[i].at.y, end.x, end.y, "leader");
      }
      addText(svg, texts[i].text, label.x, label.y, { class: texts[i].kind });
    });
  }

  /** Points along the front, so that labels keep off the line. */
  function between(from: ParetoPoint, until: ParetoPoint): Point[] {
    const [a, b] = [from, until].map((end) => place(end.bytes, end.tokensPerSecond.estimate));
    const steps = Math.ceil(Math.hypot(b.x - a.x, b.y - a.y) / 6);
    return Array.from({ length: steps }, (_, i) => ({
      x: a.x + (b.x - a.x) * i / steps,
      y: a.y + (b.y - a.y) * i / steps,
    }));
  }

  function drawPoint(point: ParetoPoint): void {
    const { label, id: cell, bytes, tokensPerSecond, onFront, isBaseline, isWinner } = point;
    const at = place(bytes, tokensPerSecond.estimate);
    const isMain = isBaseline || isWinner;
    const colour = onFront ? "var(--blue)" : isMain ? "var(--ink)" : "var(--muted)";
    const hint = `${label}: ${formatBytes(bytes)}, ${
      formatInterval(tokensPerSecond)
    } tokens/s (cell ${cell})`;
    if (tokensPerSecond.low < tokensPerSecond.high && (isMain || onFront || points.length <= FEW)) {
      addInterval(
        svg,
        { x: at.x, y: y(tokensPerSecond.low) },
        { x: at.x, y: Math.max(y(tokensPerSecond.high), plot.top) },
        colour,
      );
    }
    addMark(svg, at.x, at.y, {
      shape: isBaseline ? "square" : isWinner ? "diamond" : "circle",
      colour,
      size: isMain ? 76 : 52,
      hollow: !onFront && !isMain,
      faint: !onFront && !isMain,
      hint,
    });
  }
}
