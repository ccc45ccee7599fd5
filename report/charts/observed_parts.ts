/** What is observed at the peak, one stack a configuration: context, kernels, booked bytes and the rest. */
import { byteUnit } from "../../results/bytes.ts";
import type { ObservedParts } from "../rows/memory.ts";
import { formatBytes, shorten } from "../words/format.ts";
import { d3 } from "./d3.ts";
import {
  addText,
  addXAxis,
  type DrawOptions,
  NARROW,
  openChart,
  type Plot,
  textWidth,
  tickFormat,
} from "./frame.ts";
import { addKey, addPartBox } from "./hatch.ts";
import { OBSERVED_STYLE } from "./palette.ts";

/** The parts, in the order in which they are stacked. */
export const OBSERVED_PARTS = ["context", "kernels", "booked", "rest"] as const;

/** Horizontal stacks on one axis, with what they add up to at the end of the row. */
export function observedPartsChart(
  bars: readonly ObservedParts[],
  { id, width, title, description }: DrawOptions,
): string {
  const narrow = width < NARROW;
  const rowHeight = narrow ? 44 : 32;
  const labelRoom = narrow
    ? 0
    : Math.min(190, Math.max(...bars.map(({ label }) => textWidth(shorten(label, 26)))) + 10);
  const styles = OBSERVED_PARTS.map((part) => OBSERVED_STYLE[part]);
  const keyWidth = styles.reduce((sum, { label }) => sum + 32 + textWidth(label), 0);
  const top = 20 * Math.ceil(keyWidth / width) + 8;
  const plot: Plot = {
    left: labelRoom,
    right: width - (narrow ? 8 : 86),
    top,
    bottom: top + bars.length * rowHeight,
  };
  const chart = openChart({ id, width, height: plot.bottom + 46, title, description });
  const { svg } = chart;
  addKey(chart, styles, width);
  const largest = Math.max(...bars.map(({ total }) => total));
  const unit = byteUnit(largest);
  const x = d3.scaleLinear().domain([0, largest / unit.bytes]).range([plot.left, plot.right]);
  const ticks = x.ticks(narrow ? 4 : 6);
  addXAxis(svg, x, plot, { ticks, format: tickFormat(ticks), label: unit.name, grid: true });
  bars.forEach((bar, i) => drawBar(bar, plot.top + i * rowHeight));
  return chart.text();

  function drawBar(bar: ObservedParts, rowTop: number): void {
    const [barTop, barHeight] = narrow ? [rowTop + 18, 20] : [rowTop + 5, rowHeight - 10];
    const { label, id: cell, total } = bar;
    if (narrow) {
      addText(svg, shorten(label, 30), 0, rowTop + 13, { hint: label });
      addText(svg, formatBytes(total), width, rowTop + 13, { anchor: "end", class: "tick" });
    } else {
      const middle = barTop + barHeight / 2 + 4;
      addText(svg, shorten(label, 26), plot.left - 8, middle, { anchor: "end", hint: label });
      addText(svg, formatBytes(total), width, middle, { anchor: "end" });
    }
    let from = 0;
    for (const part of OBSERVED_PARTS) {
      const bytes = bar[part];
      const [left, right] = [x(from / unit.bytes), x((from + bytes) / unit.bytes)];
      const box = { x: left, y: barTop, width: right - left, height: barHeight };
      const style = OBSERVED_STYLE[part];
      if (bytes > 0) {
        addPartBox(svg, style, box).append("title").text(
          `${style.label}: ${formatBytes(bytes)} (cell ${cell})`,
        );
      }
      from += bytes;
    }
  }
}
