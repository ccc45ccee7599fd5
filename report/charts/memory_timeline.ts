/** Live bytes over the dispatches of one step. */
import { byteUnit } from "../../results/bytes.ts";
import { formatBytes } from "../words/format.ts";
import { ROLE_STYLE } from "./palette.ts";
import { d3 } from "./d3.ts";
import {
  addLine,
  addText,
  addXAxis,
  addYAxis,
  type DrawOptions,
  NARROW,
  openChart,
  type Plot,
  textWidth,
  tickFormat,
} from "./frame.ts";
import { addHatch, addRoleKey } from "./hatch.ts";
import type { Timeline, TimelinePoint } from "../rows/memory.ts";

/** Stacked area of live bytes by role against dispatch, the peak marked. */
export function memoryTimelineChart(
  { roles, points, peak }: Timeline,
  { id, width, title, description }: DrawOptions,
): string {
  const narrow = width < NARROW;
  const keyHeight = 20 *
    Math.ceil(roles.reduce((sum, role) => sum + 36 + textWidth(ROLE_STYLE[role].label), 0) / width);
  const unit = byteUnit(peak.bytes);
  const y = d3.scaleLinear().domain([0, peak.bytes / unit.bytes * 1.08 || 1]);
  const ticks = y.ticks(5);
  const format = tickFormat(ticks);
  const top = keyHeight + 34;
  const plot: Plot = {
    left: Math.max(...ticks.map((tick) => textWidth(format(tick)))) + 10,
    right: width - 10,
    top,
    bottom: top + (narrow ? 190 : 240),
  };
  y.range([plot.bottom, plot.top]);
  const chart = openChart({ id, width, height: plot.bottom + 44, title, description });
  const { svg } = chart;
  addRoleKey(chart, roles, width);
  const last = points.at(-1)!.dispatch;
  const x = d3.scaleLinear().domain([points[0].dispatch, Math.max(last, points[0].dispatch + 1)])
    .range([plot.left, plot.right]);
  addYAxis(svg, y, plot, { ticks, format, label: unit.name });
  roles.forEach((role, r) => {
    const area = d3.area<TimelinePoint>().curve(d3.curveStepAfter)
      .x(({ dispatch }) => Math.round(x(dispatch) * 10) / 10)
      .y0(({ edges }) => Math.round(y(edges[r] / unit.bytes) * 10) / 10)
      .y1(({ edges }) => Math.round(y(edges[r + 1] / unit.bytes) * 10) / 10);
    const shape = area(points);
    svg.append("path").attr("class", "segment").attr("fill", ROLE_STYLE[role].colour).attr("d", shape)
      .append("title").text(ROLE_STYLE[role].label);
    const highest = Math.max(...points.map(({ edges }) => edges[r + 1]));
    const lowest = Math.min(...points.map(({ edges }) => edges[r]));
    const [boxTop, boxBottom] = [highest, lowest].map((bytes) => y(bytes / unit.bytes));
    svg.append("clipPath").attr("id", `${id}-${role}`).append("path").attr("d", shape);
    addHatch(svg, ROLE_STYLE[role], {
      x: plot.left,
      y: boxTop,
      width: plot.right - plot.left,
      height: boxBottom - boxTop,
    }, {
      clip: `${id}-${role}`,
    });
  });
  addXAxis(svg, x, plot, {
    ticks: x.ticks(narrow ? 4 : 8),
    format: String,
    label: "dispatch within the step",
  });
  addLine(svg, x(peak.dispatch), plot.top - 8, x(peak.dispatch), plot.bottom, "pointer");
  const text = `peak ${formatBytes(peak.bytes)} at dispatch ${peak.dispatch}`;
  const room = textWidth(text) * 1.08 + 5;
  const start = Math.min(Math.max(x(peak.dispatch) + 5, plot.left), width - room);
  const isLeft = x(peak.dispatch) > (plot.left + plot.right) / 2 && x(peak.dispatch) - room > 0;
  addText(svg, text, isLeft ? x(peak.dispatch) - 5 : start, plot.top - 10, {
    anchor: isLeft ? "end" : "start",
    class: "strong",
  });
  return chart.text();
}
