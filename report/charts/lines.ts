/** Lines over one axis, in one panel or several: what most questions of "how does it grow" come down to. */
import { formatNumber, shorten } from "../words/format.ts";
import { SERIES_STYLE } from "./palette.ts";
import { d3, type Scale, type Selection } from "./d3.ts";
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
} from "./frame.ts";

export interface LinePoint {
  x: number;
  y: number;
  /** Interval in y. */
  low?: number;
  high?: number;
  hint: string;
  /** Drawn as a cross: something happened here. */
  isFlagged?: boolean;
  /** Drawn with a ring: what a rule chose. */
  isChosen?: boolean;
}

export interface LineSeries {
  label: string;
  /** Index into the palette of series, the same for the same thing in all panels. */
  style: number;
  points: LinePoint[];
}

export interface LineAxis {
  label: string;
  scale: "linear" | "log";
  ticks?: readonly number[];
  format: (value: number) => string;
  /** Linear axes begin at zero unless told otherwise. */
  fromData?: boolean;
  /** A line across the plot. */
  reference?: number;
}

export interface LinePanel {
  name: string;
  series: LineSeries[];
  x: LineAxis;
  y: LineAxis;
  /** Lines only, without a mark at each point. */
  isDense?: boolean;
}

const GAP = 26;

/** Panels side by side on a wide page, else below each other; up to six series, labelled at their ends. */
export function linesChart(
  panels: readonly LinePanel[],
  { id, width, title, description }: DrawOptions,
): string {
  const narrow = width < NARROW;
  const columns = narrow ? 1 : Math.min(panels.length, 2);
  const names = new Map(panels.flatMap(({ series }) => series.map(({ label, style }) => [label, style])));
  // Names stand where lines end, as long as they all end at the right.
  const isDirect = names.size > 1 && names.size <= 6 && panels.every(({ series }) => endTogether(series));
  const longest = Math.max(
    0,
    ...[...names.keys()].map((label) => textWidth(shorten(label, narrow ? 16 : 24))),
  );
  const labelRoom = isDirect ? longest + 14 : 14;
  const height = narrow ? 210 : 230;
  const keyHeight = isDirect || names.size < 2 ? 0 : keyRows(names, width) * 20 + 6;
  const rows = Math.ceil(panels.length / columns);
  const rowHeight = height + 74;
  const chart = openChart({ id, width, height: keyHeight + rows * rowHeight - 14, title, description });
  const { svg } = chart;
  if (keyHeight > 0) drawKey(svg, names, width);
  const panelWidth = (width - GAP * (columns - 1)) / columns;
  panels.forEach((panel, i) => {
    const left = (i % columns) * (panelWidth + GAP);
    const top = keyHeight + Math.floor(i / columns) * rowHeight + 40;
    drawPanel(panel, { left, right: left + panelWidth, top: top + 4, bottom: top + height - 40 });
  });
  return chart.text();

  function drawPanel(panel: LinePanel, box: Plot): void {
    const points = panel.series.flatMap((series) => series.points);
    const [xs, ys] = [
      points.map(({ x }) => x),
      points.flatMap(({ y, low, high }) => [y, low ?? y, high ?? y]),
    ];
    const x = scaleOf(panel.x, xs);
    const y = scaleOf(panel.y, ys);
    const yTicks = panel.y.ticks ?? y.ticks(5);
    const gutter = Math.max(...yTicks.map((tick) => textWidth(panel.y.format(tick)))) + 10;
    const plot: Plot = { ...box, left: box.left + gutter, right: box.right - labelRoom };
    x.range([plot.left, plot.right]);
    y.range([plot.bottom, plot.top]);
    addText(svg, panel.name, box.left, box.top - 30, { class: "strong" });
    const placed = svg.append("g");
    addYAxis(placed, y, plot, { ticks: within(yTicks, y), format: panel.y.format });
    addText(svg, panel.y.label, box.left, box.top - 14, { class: "name" });
    addXAxis(svg, x, plot, {
      ticks: within(panel.x.ticks ?? x.ticks(narrow ? 4 : 6), x),
      format: panel.x.format,
      label: panel.x.label,
    });
    const { reference } = panel.y;
    if (reference !== undefined && within([reference], y).length > 0) {
      addLine(svg, plot.left, y(reference), plot.right, y(reference), "pointer");
    }
    for (const series of panel.series) drawSeries(series, x, y, panel.isDense ?? false);
    if (isDirect) labelEnds(panel.series, x, y, plot);
  }

  function drawSeries({ points, style, label }: LineSeries, x: Scale, y: Scale, isDense: boolean): void {
    const { colour, shape, dash } = SERIES_STYLE[style % SERIES_STYLE.length];
    const line = d3.line<LinePoint>().x((point) => px(x(point.x))).y((point) => px(y(point.y)));
    const path = svg.append("path").attr("class", "line").attr("stroke", colour).attr("d", line(points));
    if (dash) path.attr("stroke-dasharray", dash);
    for (const { x: at, y: value, low, high, hint, isFlagged, isChosen } of points) {
      const place = { x: x(at), y: y(value) };
      if (low !== undefined && high !== undefined && low < high) {
        addInterval(svg, { x: place.x, y: y(low) }, { x: place.x, y: y(high) }, colour);
      }
      if (isFlagged) addMark(svg, place.x, place.y, { shape: "times", colour: "var(--bad)", size: 60, hint });
      else if (!isDense) {
        addMark(svg, place.x, place.y, { shape, colour, size: 46, hint: `${label}: ${hint}` });
      }
      if (isChosen) {
        svg.append("circle").attr("class", "ring").attr("cx", px(place.x)).attr("cy", px(place.y)).attr(
          "r",
          8,
        );
      }
    }
  }

  /** Names where the lines end, moved apart where lines end close together. */
  function labelEnds(series: readonly LineSeries[], x: Scale, y: Scale, plot: Plot): void {
    const ends = series.filter(({ points }) => points.length > 0).map(({ label, points, style }) => {
      const end = points.reduce((a, b) => b.x >= a.x ? b : a);
      return { label, style, x: x(end.x), y: y(end.y), at: y(end.y) };
    }).sort((a, b) => a.at - b.at);
    const step = 15;
    for (let i = 1; i < ends.length; i++) ends[i].at = Math.max(ends[i].at, ends[i - 1].at + step);
    const over = ends.length > 0 ? Math.max(0, ends.at(-1)!.at - plot.bottom) : 0;
    for (let i = ends.length - 1, limit = Infinity; over > 0 && i >= 0; i--) {
      ends[i].at = Math.min(ends[i].at, limit, plot.bottom);
      limit = ends[i].at - step;
    }
    for (const { label, style, x: from, y: height, at } of ends) {
      const { colour } = SERIES_STYLE[style % SERIES_STYLE.length];
      const left = plot.right + 10;
      if (Math.abs(at - height) > 5 || left - from > 16) {
        addLine(svg, from + 5, height, left - 2, at, "leader").attr("stroke", colour);
      }
      addText(svg, shorten(label, narrow ? 16 : 24), left, at + 4, { hint: label });
    }
  }
}

function endTogether(series: readonly LineSeries[]): boolean {
  const ends = series.filter(({ points }) => points.length > 0).map(({ points }) =>
    d3.max(points.map(({ x }) => x))
  );
  return ends.every((end) => end === ends[0]);
}

function scaleOf(axis: LineAxis, values: readonly number[]): Scale {
  const known = values.filter((value) => Number.isFinite(value) && (axis.scale === "linear" || value > 0));
  if (axis.reference !== undefined) known.push(axis.reference);
  const [low, high] = known.length > 0 ? d3.extent(known) : [1, 2];
  if (axis.scale === "log") {
    const room = Math.max(1.06, (high / low) ** 0.04);
    return d3.scaleLog().base(2).domain([low / room, high * room]);
  }
  if (!axis.fromData) return d3.scaleLinear().domain([Math.min(0, low), high * 1.08 || 1]);
  const room = (high - low) * 0.08 || Math.abs(high) * 0.01 || 1;
  return d3.scaleLinear().domain([low - room, high + room]);
}

function within(ticks: readonly number[], scale: Scale): number[] {
  const [low, high] = scale.domain();
  return ticks.filter((tick) => tick >= low && tick <= high);
}

const swatchRoom = (label: string) => 30 + textWidth(label) + 22;

function keyRows(names: ReadonlyMap<string, number>, width: number): number {
  let [x, rows] = [0, 1];
  for (const label of names.keys()) {
    if (x > 0 && x + swatchRoom(label) > width) [x, rows] = [0, rows + 1];
    x += swatchRoom(label);
  }
  return rows;
}

/** Line, mark and name of each series, wrapped to the width. */
function drawKey(svg: Selection, names: ReadonlyMap<string, number>, width: number): void {
  let [x, y] = [0, 8];
  for (const [label, style] of names) {
    if (x > 0 && x + swatchRoom(label) > width) [x, y] = [0, y + 20];
    const { colour, shape, dash } = SERIES_STYLE[style % SERIES_STYLE.length];
    const line = addLine(svg, x, y, x + 24, y, "line").attr("stroke", colour);
    if (dash) line.attr("stroke-dasharray", dash);
    addMark(svg, x + 12, y, { shape, colour, size: 46 });
    addText(svg, label, x + 30, y + 4);
    x += swatchRoom(label);
  }
}

/** `1/4`, `0.5` would be two ways to write one axis: whole powers as they are, the others as fractions. */
export function powerOfTwoText(value: number): string {
  return value >= 1 ? formatNumber(value) : `1/${formatNumber(1 / value)}`;
}

/** Powers of two from the first at or above `low` to the last at or below `high`, at most `limit` of them. */
export function powersOfTwo(low: number, high: number, limit = 7): number[] {
  const [first, last] = [Math.ceil(Math.log2(low) - 1e-9), Math.floor(Math.log2(high) + 1e-9)];
  const step = Math.max(1, Math.ceil((last - first + 1) / limit));
  const ticks: number[] = [];
  for (let power = first; power <= last; power += step) ticks.push(2 ** power);
  return ticks;
}
