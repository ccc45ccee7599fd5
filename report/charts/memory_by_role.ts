/** What the peak is made of, one bar a configuration. */
import { byteUnit } from "../../results/bytes.ts";
import { formatBytes, shorten } from "../words/format.ts";
import { type Role, ROLES } from "../../results/record.ts";
import { ROLE_STYLE } from "./palette.ts";
import { d3 } from "./d3.ts";
import {
  addInterval,
  addMark,
  addText,
  addXAxis,
  type DrawOptions,
  NARROW,
  openChart,
  type Plot,
  textWidth,
  tickFormat,
} from "./frame.ts";
import { addRoleBox, addRoleKey } from "./hatch.ts";
import type { RoleBar } from "../rows/memory.ts";

/** Roles that occur in any bar. */
export function rolesOf(bars: readonly { bytes: { role: Role }[] }[]): Role[] {
  return ROLES.filter((role) => bars.some(({ bytes }) => bytes.some((part) => part.role === role)));
}

/** More bars than this stand closer. */
const MANY = 10;

/** Stacked bars of bytes by role at the peak, with the observed peak as a diamond. */
export function memoryByRoleChart(
  bars: readonly RoleBar[],
  { id, width, title, description }: DrawOptions,
): string {
  const narrow = width < NARROW;
  const rowHeight = narrow ? 44 : bars.length > MANY ? 26 : 32;
  const labelRoom = narrow
    ? 0
    : Math.min(190, Math.max(...bars.map(({ label }) => textWidth(shorten(label, 26)))) + 10);
  const isObserved = bars.some(({ observed }) => observed);
  const roles = rolesOf(bars);
  const keyHeight = 20 *
    Math.ceil(roles.reduce((sum, role) => sum + 36 + textWidth(ROLE_STYLE[role].label), 0) / width);
  const top = keyHeight + 30;
  const figuresRoom = narrow ? 8 : isObserved ? 170 : 86;
  const plot: Plot = {
    left: labelRoom,
    right: width - figuresRoom,
    top,
    bottom: top + bars.length * rowHeight,
  };
  const chart = openChart({ id, width, height: plot.bottom + 46, title, description });
  const { svg } = chart;
  addRoleKey(chart, roles, width);
  const largest = Math.max(...bars.map(({ total, observed }) => Math.max(total, observed?.high ?? 0)));
  const unit = byteUnit(largest);
  const x = d3.scaleLinear().domain([0, largest / unit.bytes]).range([plot.left, plot.right]);
  addXAxis(svg, x, plot, {
    ticks: x.ticks(narrow ? 4 : 7),
    format: tickFormat(x.ticks(narrow ? 4 : 7)),
    label: unit.name,
    grid: true,
  });
  if (!narrow) {
    addText(svg, bars.every(({ planned }) => planned) ? "planned" : "booked", plot.right + 80, top - 8, {
      anchor: "end",
      class: "name",
    });
    if (isObserved) addText(svg, "observed", width, top - 8, { anchor: "end", class: "name" });
  }
  bars.forEach((bar, i) => drawBar(bar, plot.top + i * rowHeight));
  return chart.text();

  function drawBar({ label, bytes, total, observed, planned, id: cell }: RoleBar, rowTop: number): void {
    const barHeight = narrow ? 20 : rowHeight - 10;
    const barTop = rowTop + (narrow ? 18 : 5);
    if (narrow) addText(svg, shorten(label, isObserved ? 18 : 30), 0, rowTop + 13, { hint: label });
    else {addText(svg, shorten(label, 26), plot.left - 8, barTop + barHeight / 2 + 4, {
        anchor: "end",
        hint: label,
      });}
    let from = 0;
    for (const part of bytes) {
      const [left, right] = [x(from / unit.bytes), x((from + part.bytes) / unit.bytes)];
      const box = { x: left, y: barTop, width: right - left, height: barHeight };
      const rect = addRoleBox(svg, part.role, box, { faint: planned });
      rect.append("title").text(`${ROLE_STYLE[part.role].label}: ${formatBytes(part.bytes)} (cell ${cell})`);
      from += part.bytes;
    }
    const middle = barTop + barHeight / 2;
    if (observed) {
      if (observed.low < observed.high) {
        const [low, high] = [observed.low, observed.high].map((value) => ({
          x: x(value / unit.bytes),
          y: middle,
        }));
        addInterval(svg, low, high, "var(--ink)");
      }
      addMark(svg, x(observed.estimate / unit.bytes), middle, {
        shape: "diamond",
        colour: "var(--ink)",
        hollow: true,
        hint: `observed: ${formatBytes(observed.estimate)}`,
      });
    }
    const kind = planned ? "muted" : undefined;
    const hint = planned ? "planned; no cell ran to its end" : undefined;
    const seen = observed ? formatBytes(observed.estimate) : "–";
    if (narrow) {
      const both = isObserved ? `${formatBytes(total)}, observed ${seen}` : formatBytes(total);
      addText(svg, both, width, rowTop + 13, { anchor: "end", class: "tick", hint });
      return;
    }
    addText(svg, formatBytes(total), plot.right + 80, middle + 4.5, { anchor: "end", class: kind, hint });
    if (isObserved) addText(svg, seen, width, middle + 4.5, { anchor: "end", class: "muted" });
  }
}
