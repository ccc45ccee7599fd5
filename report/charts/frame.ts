/** What all charts share: the SVG with its accessible name, axes, marks, texts and fills. */
import { formatNumber } from "../words/format.ts";
import { printable } from "../words/text.ts";
import { d3, newSvg, type Scale, type Selection } from "./d3.ts";

/** Charts are drawn once for each width, so that text keeps its size; `id` is unique in the page. */
export interface ChartSize {
  id: string;
  width: number;
}

/** The same with what a screen reader says. */
export interface DrawOptions extends ChartSize {
  title: string;
  description: string;
}

/** Charts below this width move labels from the margin into the plot. */
export const NARROW = 500;

export const TEXT_PX = 12.5;

/** Room a text needs, in px: close enough for placing labels, since the reader's font is unknown. */
export function textWidth(text: string): number {
  return [...text].length * TEXT_PX * 0.56;
}

/** What a character takes in a broad font, px: names must fit whatever font the reader has. */
export const BROAD_PX = 7.3;
export const BROAD_BOLD_PX = 8;

/** A text in lines of so many characters at most, broken between words. */
export function brokenText(text: string, length: number): string[] {
  const found: string[] = [];
  for (const word of text.split(" ")) {
    const last = found.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= length) found[found.length - 1] += ` ${word}`;
    else found.push(word);
  }
  return found;
}

export interface Chart {
  svg: Selection;
  text: () => string;
}

/** An SVG that scales with its box; `title` and `description` are what a screen reader says. */
export function openChart(
  { id, width, height, title, description }: DrawOptions & { height: number },
): Chart {
  const chart = newSvg({
    class: "chart",
    viewBox: `0 0 ${width} ${px(height)}`,
    role: "img",
    "aria-labelledby": `${id}-title ${id}-desc`,
  });
  chart.svg.append("title").attr("id", `${id}-title`).text(printable(title));
  chart.svg.append("desc").attr("id", `${id}-desc`).text(printable(description));
  return chart;
}

/** Tenths of a pixel: more would be bytes nobody sees. */
export function px(value: number): number {
  return Math.round(value * 10) / 10;
}

export interface TextOptions {
  anchor?: "start" | "middle" | "end";
  class?: string;
  /** Shown on hover: the whole text where the visible one is cut, or where a figure comes from. */
  hint?: string;
}

export function addText(to: Selection, text: string, x: number, y: number, options: TextOptions = {}): void {
  const node = to.append("text").attr("x", px(x)).attr("y", px(y));
  if (options.anchor && options.anchor !== "start") node.attr("text-anchor", options.anchor);
  if (options.class) node.attr("class", options.class);
  node.text(printable(text));
  if (options.hint) node.append("title").text(printable(options.hint));
}

export function addLine(
  to: Selection,
  x1: number,
  y1: number,
  x2: number,
  y2: number,
  kind: string,
): Selection {
  return to.append("line").attr("class", kind)
    .attr("x1", px(x1)).attr("y1", px(y1)).attr("x2", px(x2)).attr("y2", px(y2));
}

/** Many small dots as one path: a tenth of the bytes of circles. */
export function addDots(
  to: Selection,
  points: readonly { x: number; y: number }[],
  hint?: string,
): Selection {
  const path = to.append("path").attr("class", "raw")
    .attr("d", points.map(({ x, y }) => `M${px(x)},${px(y)}h0`).join(""));
  if (hint) path.append("title").text(printable(hint));
  return path;
}

const SYMBOLS: Record<string, unknown> = {
  circle: d3.symbolCircle,
  square: d3.symbolSquare,
  diamond: d3.symbolDiamond,
  triangle: d3.symbolTriangle,
  times: d3.symbolTimes,
  cross: d3.symbolCross,
};

export interface MarkOptions {
  shape?: string;
  colour: string;
  size?: number;
  /** Outline only: planned rather than measured, or dominated. */
  hollow?: boolean;
  /** Half transparent: there, but not what the chart is about. */
  faint?: boolean;
  hint?: string;
}

export function addMark(to: Selection, x: number, y: number, options: MarkOptions): void {
  const { shape = "circle", colour, size = 52, hollow = false, faint = false } = options;
  const mark = to.append("path").attr("d", roundPath(d3.symbol(SYMBOLS[shape], size)()))
    .attr("transform", `translate(${px(x)},${px(y)})`)
    .attr("fill", shape === "times" ? "none" : hollow ? "var(--paper)" : colour)
    .attr("stroke", hollow || shape === "times" ? colour : "var(--paper)")
    .attr("stroke-width", shape === "times" ? 2.4 : hollow ? 1.6 : 1);
  if (faint) mark.attr("class", "faint");
  if (options.hint) mark.append("title").text(printable(options.hint));
}

function roundPath(path: string): string {
  return path.replace(/-?\d+\.\d+/g, (number) => String(px(Number(number))));
}

/** An interval as a line with two short ends. */
export function addInterval(
  to: Selection,
  from: { x: number; y: number },
  until: { x: number; y: number },
  colour: string,
): void {
  const end = 3.5;
  const vertical = from.x === until.x;
  const ends = [from, until].map(({ x, y }) =>
    vertical ? `M${px(x - end)},${px(y)}h${2 * end}` : `M${px(x)},${px(y - end)}v${2 * end}`
  );
  to.append("path").attr("class", "interval").attr("stroke", colour)
    .attr("d", `M${px(from.x)},${px(from.y)}L${px(until.x)},${px(until.y)}${ends.join("")}`);
}

export interface Plot {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export interface AxisOptions {
  ticks: readonly number[];
  format: (value: number) => string;
  /** With its unit. */
  label?: string;
  grid?: boolean;
}

/** Numbers of an axis with as many decimals as its steps need; thousands as k. */
export function tickFormat(ticks: readonly number[]): (value: number) => string {
  const step = ticks.length > 1 ? ticks[1] - ticks[0] : 1;
  const [divisor, suffix] = ticks.at(-1)! >= 2000 ? [1000, "\u202fk"] : [1, ""];
  let decimals = 0;
  const isWhole = (value: number) => Math.abs(value - Math.round(value)) < 1e-6;
  while (decimals < 6 && !isWhole(step / divisor * 10 ** decimals)) decimals++;
  return (value) => value === 0 ? "0" : formatNumber(value / divisor, decimals) + suffix;
}

/** Ticks, numbers and name under the plot; numbers that would touch are left out. */
export function addXAxis(
  to: Selection,
  scale: Scale,
  plot: Plot,
  { ticks, format, label, grid }: AxisOptions,
): void {
  addLine(to, plot.left, plot.bottom, plot.right, plot.bottom, "axis");
  let free = -Infinity;
  for (const tick of ticks) {
    const x = scale(tick);
    if (grid) addLine(to, x, plot.top, x, plot.bottom, "grid");
    addLine(to, x, plot.bottom, x, plot.bottom + 4, "axis");
    const text = format(tick);
    const half = textWidth(text) / 2;
    if (x - half < free) continue;
    addText(to, text, x, plot.bottom + 18, { anchor: "middle", class: "tick" });
    free = x + half + 4;
  }
  if (label) {
    // Under the middle of the plot, but not beyond the chart's left edge.
    const middle = Math.max((plot.left + plot.right) / 2, [...label].length * BROAD_PX / 2);
    addText(to, label, middle, plot.bottom + 36, { anchor: "middle", class: "name" });
  }
}

/** Light grid lines with their numbers at the left; the axis' name stands above it, not turned. */
export function addYAxis(
  to: Selection,
  scale: Scale,
  plot: Plot,
  { ticks, format, label }: AxisOptions,
): void {
  for (const tick of ticks) {
    addLine(to, plot.left, scale(tick), plot.right, scale(tick), "grid");
    addText(to, format(tick), plot.left - 6, scale(tick) + 4, { anchor: "end", class: "tick" });
  }
  if (label) addText(to, label, 0, plot.top - 10, { class: "name" });
}

/** Every `stride`-th item, and the last, so that no more than about `limit` are drawn. */
export function thin<Item>(items: readonly Item[], limit: number): { items: Item[]; stride: number } {
  const stride = Math.max(1, Math.ceil(items.length / limit));
  return { items: items.filter((_, i) => i % stride === 0 || i === items.length - 1), stride };
}

/** A number in [-0.5, 0.5) for the i-th dot: evenly spread, the same each time (golden ratio sequence). */
export function jitter(i: number): number {
  return (i * 0.6180339887498949) % 1 - 0.5;
}
