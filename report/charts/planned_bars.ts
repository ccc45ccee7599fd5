/** Planned bytes by role of large models, stacked, with the paper's own stack above them. */
import type { Configuration } from "../rows/configuration.ts";
import { formatNumber, shorten } from "../words/format.ts";
import { GB } from "../../results/bytes.ts";
import { type Role, ROLES } from "../../results/record.ts";
import { ROLE_STYLE } from "./palette.ts";
import { d3 } from "./d3.ts";
import {
  addInterval,
  addText,
  addXAxis,
  BROAD_PX,
  brokenText,
  type DrawOptions,
  NARROW,
  openChart,
  type Plot,
  px,
  textWidth,
  tickFormat,
} from "./frame.ts";
import { addRoleBox, addRoleKey, type Box } from "./hatch.ts";

export interface PlannedPart {
  /** Null: the paper gives these roles in one sum. */
  role: Role | null;
  name: string;
  gigabytes: number;
}

export interface PlannedBar {
  label: string;
  /** The cell it comes from; null for the paper's. */
  id: string | null;
  parts: PlannedPart[];
  total: number;
  /** The paper's range of the total. */
  range: { low: number; high: number } | null;
}

/** A planned configuration by role, in the paper's GB (10⁹ bytes). */
export function plannedBar({ label, memory }: Configuration): PlannedBar | null {
  if (!memory) return null;
  const parts = ROLES.map((role): PlannedPart => ({
    role,
    name: ROLE_STYLE[role].label,
    gigabytes: memory.byRole[role] / GB,
  })).filter(({ gigabytes }) => gigabytes > 0);
  return { label, id: memory.id, parts, total: memory.plannedBytes / GB, range: null };
}

/** Horizontal stacks on one axis; the paper's sum that is not split is grey. */
export function plannedBarsChart(
  bars: readonly PlannedBar[],
  { id, width, title, description }: DrawOptions,
): string {
  const narrow = width < NARROW;
  const rowHeight = narrow ? 46 : 36;
  const labelRoom = narrow
    ? 0
    : Math.min(width * 0.36, Math.max(...bars.map(({ label }) => textWidth(shorten(label, 42)))) + 12);
  const roles = ROLES.filter((role) =>
    bars.some(({ parts }) => parts.some((part) => part.role === role && part.gigabytes > 0))
  );
  const keyHeight = keyRoom(roles, width);
  const top = keyHeight + 14;
  const plot: Plot = {
    left: labelRoom,
    right: width - (narrow ? 6 : 84),
    top,
    bottom: top + bars.length * rowHeight,
  };
  const chart = openChart({ id, width, height: plot.bottom + 46, title, description });
  const { svg } = chart;
  addRoleKey(chart, roles, width);
  const x = d3.scaleLinear().domain([
    0,
    Math.max(...bars.map(({ total, range }) => range?.high ?? total)) * 1.02,
  ])
    .range([plot.left, plot.right]);
  const ticks = x.ticks(narrow ? 4 : 7);
  addXAxis(svg, x, plot, { ticks, format: tickFormat(ticks), label: "GB (10⁹ bytes)", grid: true });
  bars.forEach((bar, i) => drawBar(bar, plot.top + i * rowHeight));
  return chart.text();

  /** What the paper gives as one sum has no role, so no colour of one. */
  function addPlainBox({ x, y, width, height }: Box) {
    return svg.append("rect").attr("class", "segment").attr("x", px(x)).attr("y", px(y))
      .attr("width", px(width)).attr("height", px(height)).attr("fill", "var(--faint)");
  }

  function drawBar({ label, id: cell, parts, total, range }: PlannedBar, rowTop: number): void {
    const [barTop, barHeight] = [rowTop + (narrow ? 18 : 6), narrow ? 22 : 24];
    const figure = range ? `${formatNumber(range.low)}–${formatNumber(range.high)}` : formatNumber(total, 1);
    if (narrow) {
      addText(svg, shorten(label, 34), 0, rowTop + 13, { hint: label });
      addText(svg, `${figure} GB`, width, rowTop + 13, { anchor: "end", class: "tick" });
    } else {
      const parts = brokenText(shorten(label, 42), Math.floor((labelRoom - 8) / BROAD_PX));
      parts.forEach((part, k, { length }) =>
        addText(svg, part, plot.left - 8, barTop + 16 + 14 * (k - (length - 1) / 2), {
          anchor: "end",
          hint: label,
        })
      );
      addText(svg, `${figure} GB`, width, barTop + 16, { anchor: "end" });
    }
    let from = 0;
    for (const { role, name, gigabytes } of parts) {
      const [left, right] = [x(from), x(from + gigabytes)];
      const box = { x: left, y: barTop, width: right - left, height: barHeight };
      const rect = role ? addRoleBox(svg, role, box) : addPlainBox(box);
      const source = cell ? `cell ${cell}` : "the paper";
      rect.append("title").text(`${name}: ${formatNumber(gigabytes, 2)} GB (${source})`);
      const free = (range ? Math.min(right, x(range.low)) : right) - left;
      const short = shorten(name, Math.floor((free - 10) / 6.4));
      if (!role && free > 60) addText(svg, short, left + 5, barTop + barHeight / 2 + 4, { class: "cell" });
      from += gigabytes;
    }
    if (range && range.low < range.high) {
      const y = barTop + barHeight / 2;
      addInterval(svg, { x: x(range.low), y }, { x: x(range.high), y }, "var(--ink)");
    }
  }
}

function keyRoom(roles: readonly Role[], width: number): number {
  let [x, rows] = [0, 1];
  for (const role of roles) {
    const room = 18 + textWidth(ROLE_STYLE[role].label) + 14;
    if (x > 0 && x + room - 14 > width) [x, rows] = [0, rows + 1];
    x += room;
  }
  return rows * 20;
}
