/** One row a configuration, one panel a figure: dots with intervals, faint seeds, crosses for the paper's. */
import { formatNumber, shorten } from "../words/format.ts";
import type { Interval } from "../../results/stats.ts";
import { d3 } from "./d3.ts";
import {
  addDots,
  addInterval,
  addLine,
  addMark,
  addText,
  addXAxis,
  BROAD_BOLD_PX,
  BROAD_PX,
  brokenText,
  type DrawOptions,
  jitter,
  NARROW,
  openChart,
  type Plot,
  textWidth,
} from "./frame.ts";

export interface DotCell {
  value: Interval;
  text: string;
  /** One value a seed. */
  seeds?: readonly number[];
  /** The paper's (or its source's) figure, or range. */
  theirs?: { low: number; high: number; hint: string };
  /** Inside the noise: drawn grey. */
  isSame?: boolean;
  /** Planned, not measured: drawn hollow. */
  isPlanned?: boolean;
}

export interface DotRow {
  label: string;
  /** One a panel, in order; null where there is no figure, with the word to put in its place. */
  cells: (DotCell | { missing: string })[];
}

export interface DotPanel {
  name: string;
  format: (value: number) => string;
  /** A line to compare with. */
  reference?: number;
  /** Dots need no zero: false lets the axis begin where the figures do. */
  fromZero?: boolean;
}

export interface DotKey {
  ours: string;
  /** Name of the crosses, where there are any. */
  theirs?: string;
  planned?: string;
}

/** A panel of ratios to something. */
export function ratioPanel(name: string): DotPanel {
  return { name, format: (value) => `${formatNumber(value, 1)}×`, reference: 1 };
}

/** Characters of a row's name. */
const LABEL = 46;

/** Panels side by side on a wide page, below each other on a narrow one. */
export function dotRowsChart(
  rows: readonly DotRow[],
  panels: readonly DotPanel[],
  key: DotKey,
  { id, width, title, description }: DrawOptions,
): string {
  const narrow = width < NARROW;
  const labelRoom = narrow ? 0 : Math.min(
    width * 0.36,
    Math.max(...rows.map(({ label }) => [...shorten(label, LABEL)].length * BROAD_PX)) + 14,
  );
  const labelLength = Math.min(LABEL, Math.floor((labelRoom - 14) / BROAD_PX));
  const rowHeight = narrow ? 42 : 32;
  const panelHeight = rows.length * rowHeight;
  const gap = 46;
  const nameRoom = narrow ? width : (width - labelRoom - 6 - gap * (panels.length - 1)) / panels.length + gap;
  const names = panels.map(({ name }) => brokenText(name, Math.floor((nameRoom - 10) / BROAD_BOLD_PX)));
  const top = 34 + 16 * Math.max(...names.map(({ length }) => length));
  const plots = panels.map((_, i): Plot => {
    const panelWidth = narrow
      ? width - 12
      : (width - labelRoom - 6 - gap * (panels.length - 1)) / panels.length;
    const left = narrow ? 4 : labelRoom + i * (panelWidth + gap);
    const panelTop = top + (narrow ? i * (panelHeight + 70) : 0);
    return { left, right: left + panelWidth, top: panelTop, bottom: panelTop + panelHeight };
  });
  const chart = openChart({ id, width, height: plots.at(-1)!.bottom + 28, title, description });
  const { svg } = chart;
  drawKey();
  panels.forEach(drawPanel);
  if (!narrow) {
    rows.forEach(({ label }, i) => {
      const y = top + (i + 0.5) * rowHeight;
      const parts = brokenText(label, labelLength);
      const shown = parts.length <= 2
        ? parts
        : brokenText(shorten(label, 2 * labelLength - 8), labelLength).slice(0, 2);
      shown.forEach((part, k, { length }) =>
        addText(svg, part, labelRoom - 12, y + 4.5 + 14 * (k - (length - 1) / 2), {
          anchor: "end",
          hint: label,
        })
      );
    });
  }
  return chart.text();

  function drawKey(): void {
    let x = 7;
    const entry = (text: string, mark: Parameters<typeof addMark>[3]) => {
      addMark(svg, x, 8, mark);
      addText(svg, text, x + 11, 12);
      x += textWidth(text) + 34;
    };
    entry(key.ours, { colour: "var(--blue)" });
    if (key.planned) entry(key.planned, { colour: "var(--blue)", hollow: true });
    if (key.theirs) entry(key.theirs, { shape: "times", colour: "var(--vermillion)", size: 70 });
  }

  function drawPanel({ format, reference, fromZero = true }: DotPanel, index: number): void {
    const plot = plots[index];
    const cells = rows.map(({ cells }) => cells[index]);
    const values = cells.flatMap((cell) =>
      "missing" in cell ? [] : [
        cell.value.low,
        cell.value.high,
        ...cell.seeds ?? [],
        ...cell.theirs ? [cell.theirs.low, cell.theirs.high] : [],
      ]
    );
    if (reference !== undefined) values.push(reference);
    const [low, high] = values.length > 0 ? [Math.min(...values), Math.max(...values)] : [0, 1];
    const span = (fromZero ? high - Math.min(0, low) : high - low) || 1;
    // Room for the figure beside the outermost dot.
    const room = span * Math.min(0.45, 76 / (plot.right - plot.left));
    const from = fromZero ? Math.min(0, low < 0 ? low - room : 0) : low - room;
    const x = d3.scaleLinear().domain([from, high + room]).range([plot.left, plot.right]);
    addXAxis(svg, x, plot, { ticks: x.ticks(4), format, grid: true });
    names[index].forEach((line, i, { length }) =>
      addText(svg, line, plot.left, plot.top - 12 - 16 * (length - 1 - i), { class: "strong" })
    );
    if (reference !== undefined) addLine(svg, x(reference), plot.top, x(reference), plot.bottom, "pointer");
    rows.forEach((row, i) => {
      const middle = plot.top + i * rowHeight + (narrow ? 28 : rowHeight / 2);
      if (narrow) addText(svg, shorten(row.label, 44), plot.left + 2, middle - 12, { hint: row.label });
      drawCell(row, cells[i], (value) => x(value), middle, plot);
    });
  }

  function drawCell(
    { label }: DotRow,
    cell: DotRow["cells"][number],
    x: (value: number) => number,
    y: number,
    plot: Plot,
  ): void {
    if ("missing" in cell) {
      if (cell.missing) addText(svg, cell.missing, plot.left + 6, y + 4, { class: "muted" });
      return;
    }
    const { value, text, seeds, theirs, isSame, isPlanned } = cell;
    const colour = isSame ? "var(--muted)" : "var(--blue)";
    if (seeds && seeds.length > 1) {
      const dots = seeds.map((seed, i) => ({ x: x(seed), y: y + 6 * jitter(i + 1) }));
      addDots(svg, dots).attr("stroke", colour);
    }
    if (theirs) {
      if (theirs.low < theirs.high) {
        addInterval(svg, { x: x(theirs.low), y }, { x: x(theirs.high), y }, "var(--vermillion)");
      }
      addMark(svg, x((theirs.low + theirs.high) / 2), y, {
        shape: "times",
        colour: "var(--vermillion)",
        size: 70,
        hint: theirs.hint,
      });
    }
    if (value.low < value.high) addInterval(svg, { x: x(value.low), y }, { x: x(value.high), y }, colour);
    // Beside the dot, on the side away from the cross, so that it cannot be read as the paper's.
    const room = textWidth(text) + 18;
    const isLeftOfCross = theirs !== undefined && theirs.high > value.estimate;
    const fitsBetween = !isLeftOfCross || x(value.high) + room < x(theirs.low) - 8;
    const fitsLeft = x(value.low) - room > plot.left;
    const isLeft = isLeftOfCross && !fitsBetween && fitsLeft;
    const right = fitsBetween && isLeftOfCross
      ? x(value.high)
      : Math.max(x(value.high), theirs ? x(theirs.high) : 0);
    addText(svg, text, isLeft ? x(value.low) - 9 : right + 9, y + 4.5, {
      anchor: isLeft ? "end" : "start",
      class: "tick",
    });
    addMark(svg, x(value.estimate), y, { colour, hollow: isPlanned ?? false, hint: `${label}: ${text}` });
  }
}
