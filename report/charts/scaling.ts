/** Time or memory against one size, both logarithmic: points, fitted law, slope of the theory. */
import type { ScalingCurve } from "../rows/scaling.ts";
import { decimalsFor, formatCompact, formatNumber } from "../words/format.ts";
import { SERIES_STYLE } from "./palette.ts";
import { d3 } from "./d3.ts";
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
  textWidth,
} from "./frame.ts";
import { logTicks } from "./step_times.ts";

export interface ScalingPanel {
  curves: readonly ScalingCurve[];
  xLabel: string;
  yLabel: string;
  /** What the y values are divided by. */
  unit: number;
}

/** One chart; curves of the same quantity over the same axis share it. */
export function scalingChart(
  { curves, xLabel, yLabel, unit }: ScalingPanel,
  { id, width, title, description }: DrawOptions,
): string {
  const narrow = width < NARROW;
  const key = curves.length * 20 + 24;
  const height = (narrow ? 300 : 340) + key;
  const chart = openChart({ id, width, height, title, description });
  const { svg } = chart;
  const points = curves.flatMap((curve) => curve.points);
  const xs = points.map(({ x }) => x);
  const ys = points.flatMap(({ low, high }) => [low / unit, high / unit]);
  const x = d3.scaleLog().domain([Math.min(...xs) / 1.15, Math.max(...xs) * 1.15]);
  const y = d3.scaleLog().domain([Math.min(...ys) / 1.5, Math.max(...ys) * 1.5]);
  const yTicks = logTicks(y.domain()[0], y.domain()[1]);
  const gutter = Math.max(...yTicks.map((tick) => textWidth(tickText(tick)))) + 10;
  const plot: Plot = { left: gutter, right: width - 10, top: key + 14, bottom: height - 44 };
  x.range([plot.left, plot.right]);
  y.range([plot.bottom, plot.top]);
  addYAxis(svg, y, plot, { ticks: yTicks, format: tickText, label: yLabel });
  addXAxis(svg, x, plot, {
    ticks: [...new Set(xs)].sort((a, b) => a - b),
    format: tickText,
    label: xLabel,
  });
  curves.forEach((curve, i) => {
    const { colour, shape } = SERIES_STYLE[i % SERIES_STYLE.length];
    addMark(svg, 8, 10 + 20 * i, { colour, shape });
    addText(svg, keyText(curve, narrow), 20, 14 + 20 * i);
    drawLaws(curve, colour);
    for (const { id: cell, x: size, y: value, low, high } of curve.points) {
      const at = { x: x(size), y: y(value / unit) };
      if (low < high) addInterval(svg, { x: at.x, y: y(low / unit) }, { x: at.x, y: y(high / unit) }, colour);
      addMark(svg, at.x, at.y, { colour, shape, hint: `cell ${cell}` });
    }
  });
  return chart.text();

  /** The fit through its points; theory's slope through the middle of them. */
  function drawLaws({ points, fit, expected }: ScalingCurve, colour: string): void {
    const [from, until] = [points[0].x, points[points.length - 1].x];
    if (fit) {
      const at = (size: number) => y(fit.factor * size ** fit.exponent.estimate / unit);
      addLine(svg, x(from), at(from), x(until), at(until), "line").attr("stroke", colour);
    }
    const mean = (values: number[]) =>
      Math.exp(values.reduce((sum, v) => sum + Math.log(v), 0) / values.length);
    const [midX, midY] = [mean(points.map((p) => p.x)), mean(points.map((p) => p.y / unit))];
    const theory = (size: number) => midY * (size / midX) ** expected.exponent;
    const clipped = clip(theory, from, until);
    addLine(svg, x(clipped[0]), y(theory(clipped[0])), x(clipped[1]), y(theory(clipped[1])), "line")
      .attr("stroke", colour).attr("stroke-dasharray", "2 4");
  }

  /** The sizes between which a rising law stays inside the plot. */
  function clip(law: (size: number) => number, from: number, until: number): [number, number] {
    const [low, high] = y.domain();
    const slope = Math.log(law(until) / law(from)) / Math.log(until / from);
    const sizeAt = (value: number) => from * Math.exp(Math.log(value / law(from)) / slope);
    if (!(slope > 0)) return [from, until];
    return [Math.max(from, sizeAt(low)), Math.min(until, sizeAt(high))];
  }
}

/** Whole sizes as they are as long as they are short. */
function tickText(value: number): string {
  return value < 1e5 ? formatNumber(value, decimalsFor(value, 1)) : formatCompact(value);
}

function keyText({ label, fit, expected }: ScalingCurve, narrow: boolean): string {
  const name = label === "" ? "" : `${label}: `;
  const fitted = fit
    ? `exponent ${formatNumber(fit.exponent.estimate, 2)} [${formatNumber(fit.exponent.low, 2)}, ${
      formatNumber(fit.exponent.high, 2)
    }]`
    : "no fit";
  const theory = `theory ${formatNumber(expected.exponent, 2)} (dotted)`;
  return narrow ? `${name}${fitted}` : `${name}${fitted}, ${theory}`;
}
