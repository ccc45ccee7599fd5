/** One figure against batch size: three of these side by side are the batch sweep. */
import type { Status } from "../../results/record.ts";
import { exactly, type Interval } from "../../results/stats.ts";
import type { Sweep } from "../rows/sweep.ts";
import { byteUnit } from "../../results/bytes.ts";
import { formatInterval, formatSignificant } from "../words/format.ts";
import { d3 } from "./d3.ts";
import {
  addDots,
  addInterval,
  addLine,
  addMark,
  addText,
  addXAxis,
  addYAxis,
  type DrawOptions,
  jitter,
  openChart,
  type Plot,
  px,
  textWidth,
  thin,
  tickFormat,
} from "./frame.ts";

export interface BatchPoint {
  batch: number;
  /** Null where there is nothing to show at this batch. */
  interval: Interval | null;
  raw: number[];
  hint: string;
  /** Planned only: drawn as an outline. */
  planned?: boolean;
}

export interface BatchSeries {
  name: string;
  colour: string;
  shape: string;
  dash: string | null;
  hollow: boolean;
  points: BatchPoint[];
}

export interface BatchPanel {
  unit: string;
  /** Whether the axis starts at zero. */
  fromZero: boolean;
  series: BatchSeries[];
  batches: number[];
  /** Batches without a figure, and how their cells ended. */
  failures: { batch: number; status: Status }[];
  chosen: number | null;
}

const MEASURED = { colour: "var(--blue)", shape: "circle", dash: null, hollow: false };

function panel(sweep: Sweep, unit: string, fromZero: boolean, series: BatchSeries[]): BatchPanel {
  const shown = new Set(
    series.flatMap(({ points }) => points.filter((p) => p.interval).map(({ batch }) => batch)),
  );
  return {
    unit,
    fromZero,
    series: series.filter(({ points }) => points.some(({ interval }) => interval)),
    batches: [...new Set(sweep.rows.map(({ batch }) => batch))],
    failures: sweep.rows
      .filter(({ configuration }) => configuration.ok.length === 0)
      .map(({ batch, configuration }) => ({ batch, status: configuration.cells[0].status }))
      .filter(({ batch, status }) => status !== "ok" || !shown.has(batch)),
    chosen: sweep.chosen?.batch ?? null,
  };
}

/** Tokens per second: raw dots are steps. */
export function throughputPanel(sweep: Sweep): BatchPanel {
  const points = sweep.rows.map(({ batch, tokensPerSecond, configuration }): BatchPoint => ({
    batch,
    interval: tokensPerSecond?.interval ?? null,
    raw: tokensPerSecond ? thin(tokensPerSecond.values, 150).items : [],
    hint: `${configuration.label}: ${formatInterval(tokensPerSecond?.interval)} tokens/s`,
  }));
  return panel(sweep, "tokens/s", true, [{ name: "throughput", ...MEASURED, points }]);
}

/** Peak memory: what was planned (and booked), and what was observed from outside. */
export function memoryPanel(sweep: Sweep): BatchPanel {
  const largest = Math.max(
    0,
    ...sweep.rows.flatMap(({ configuration: { memory } }) =>
      memory ? [memory.plannedBytes, memory.observed?.high ?? 0] : []
    ),
  );
  const unit = byteUnit(largest);
  const planned = sweep.rows.map(({ batch, configuration: { memory, label } }): BatchPoint => {
    const value = memory ? (memory.bookedBytes ?? memory.plannedBytes) / unit.bytes : null;
    const interval = value === null ? null : exactly(value);
    const kind = memory?.bookedBytes == null ? "planned" : "booked";
    return {
      batch,
      interval,
      raw: [],
      planned: kind === "planned",
      hint: `${label}: ${formatSignificant(value)} ${unit.name} ${kind}`,
    };
  });
  const observed = sweep.rows.map(({ batch, configuration: { memory, label } }): BatchPoint => {
    const scaled = (bytes: number) => bytes / unit.bytes;
    const interval = memory?.observed
      ? {
        low: scaled(memory.observed.low),
        estimate: scaled(memory.observed.estimate),
        high: scaled(memory.observed.high),
      }
      : null;
    const raw = memory ? memory.observedByCell.flatMap(({ values }) => values.map(scaled)) : [];
    return { batch, interval, raw, hint: `${label}: ${formatInterval(interval)} ${unit.name} observed` };
  });
  return panel(sweep, unit.name, true, [
    { name: "planned, booked", ...MEASURED, points: planned },
    {
      name: "observed",
      colour: "var(--vermillion)",
      shape: "diamond",
      dash: "5 3",
      hollow: true,
      points: observed,
    },
  ]);
}

/** Held-out loss after equally many tokens: raw dots are seeds. */
export function heldOutPanel(sweep: Sweep): BatchPanel {
  const points = sweep.rows.map(({ batch, heldOut, configuration }): BatchPoint => ({
    batch,
    interval: heldOut?.interval ?? null,
    raw: heldOut?.values ?? [],
    hint: `${configuration.label}: ${formatInterval(heldOut?.interval)} nats per token`,
  }));
  return panel(sweep, "nats per token", false, [{ name: "held-out loss", ...MEASURED, points }]);
}

function valuesOf({ series }: BatchPanel): number[] {
  return series.flatMap(({ points }) =>
    points.flatMap(({ interval, raw }) => interval ? [interval.low, interval.high, ...raw] : [])
  );
}

/** Figure against batch size (log₂), with intervals, raw samples, failed batches and the chosen one. */
export function batchPanelChart(
  data: BatchPanel,
  { id, width, title, description }: DrawOptions,
): string {
  const height = 236;
  const chart = openChart({ id, width, height, title, description });
  const { svg } = chart;
  const values = valuesOf(data);
  if (values.length === 0) values.push(0, 1);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const pad = (high - low || Math.abs(high) || 1) * 0.08;
  const y = d3.scaleLinear().domain(data.fromZero ? [0, high + pad || 1] : [low - pad, high + pad]).nice(5);
  const ticks = y.ticks(5);
  const label = tickFormat(ticks);
  const room = Math.max(...ticks.map((tick) => textWidth(label(tick))));
  const plot: Plot = { left: room + 8, right: width - 10, top: 34, bottom: height - 44 };
  y.range([plot.bottom, plot.top]);
  const x = d3.scaleLog().base(2)
    .domain([Math.min(...data.batches) / 1.5, Math.max(...data.batches) * 1.5]).range([
      plot.left,
      plot.right,
    ]);
  addYAxis(svg, y, plot, { ticks, format: label, label: data.unit });
  addXAxis(svg, x, plot, { ticks: data.batches, format: String, label: "batch size (log₂)" });
  if (data.chosen !== null) {
    addLine(svg, x(data.chosen), plot.top - 4, x(data.chosen), plot.bottom, "pointer");
    // The unit stands on the same line, at the left end.
    const leftmost = plot.left + textWidth(data.unit) + 8 + textWidth("chosen") / 2;
    const at = Math.max(x(data.chosen), leftmost);
    addText(svg, "chosen", at, plot.top - 10, { anchor: "middle", class: "strong" });
  }
  for (const { batch, status } of data.failures) {
    addText(svg, status, x(batch), plot.bottom - 20, { anchor: "middle", class: "bad" });
    addMark(svg, x(batch), plot.bottom - 8, { shape: "times", colour: "var(--vermillion)", size: 60 });
  }
  for (const series of data.series) drawSeries(series);
  if (data.series.length > 1) drawNames();
  return chart.text();

  function drawSeries({ points, colour, shape, dash, hollow }: BatchSeries): void {
    const present = points.filter((point) => point.interval !== null);
    const line = d3.line<BatchPoint>().x(({ batch }) => px(x(batch))).y(({ interval }) =>
      px(y(interval!.estimate))
    );
    svg.append("path").attr("class", "line").attr("stroke", colour).attr("d", line(present)).attr(
      "stroke-dasharray",
      dash,
    );
    for (const { batch, interval, raw, hint, planned } of present) {
      if (raw.length > 0) {
        const spreadPx = raw.length > 12 ? 16 : 10;
        addDots(svg, raw.map((value, i) => ({ x: x(batch) + jitter(i) * spreadPx, y: y(value) }))).attr(
          "stroke",
          colour,
        );
      }
      if (interval!.low < interval!.high) {
        addInterval(svg, { x: x(batch), y: y(interval!.low) }, { x: x(batch), y: y(interval!.high) }, colour);
      }
      addMark(svg, x(batch), y(interval!.estimate), { shape, colour, hollow: hollow || planned, hint });
      if (batch === data.chosen) {
        svg.append("circle").attr("class", "ring").attr("cx", px(x(batch))).attr(
          "cy",
          px(y(interval!.estimate)),
        )
          .attr("r", 8);
      }
    }
  }

  /** Names the lines in the corner they leave free. */
  function drawNames(): void {
    const named = [...data.series].sort((a, b) => heightOf(b) - heightOf(a));
    const [room, high] = [26 + Math.max(...named.map(({ name }) => textWidth(name))), 18 * named.length];
    const corners = [
      { x: plot.left + 2, y: plot.top + 2 },
      { x: plot.right - room, y: plot.bottom - high - 4 },
      { x: plot.left + 2, y: plot.bottom - high - 4 },
      { x: plot.right - room, y: plot.top + 2 },
    ];
    const places = data.series.flatMap(({ points }) => along(points));
    const crowd = (corner: { x: number; y: number }) =>
      places.filter((at) =>
        at.x > corner.x - 6 && at.x < corner.x + room && at.y > corner.y - 8 && at.y < corner.y + high + 8
      ).length;
    const corner = corners.reduce((a, b) => crowd(b) < crowd(a) ? b : a);
    named.forEach(({ name, shape, colour, hollow }, i) => {
      const at = corner.y + 9 + 18 * i;
      addMark(svg, corner.x + 9, at, { shape, colour, hollow });
      addText(svg, name, corner.x + 20, at + 4.5, { class: "label" });
    });
  }

  function heightOf({ points }: BatchSeries): number {
    return points.find(({ interval }) => interval)!.interval!.estimate;
  }

  /** Places along a line, a few between each two points. */
  function along(points: readonly BatchPoint[]): { x: number; y: number }[] {
    const ends = points.filter(({ interval }) => interval)
      .map(({ batch, interval }) => ({ x: x(batch), y: y(interval!.estimate) }));
    return ends.flatMap((end, i) => {
      const next = ends[i + 1] ?? end;
      return [0, 0.25, 0.5, 0.75].map((t) => ({
        x: end.x + (next.x - end.x) * t,
        y: end.y + (next.y - end.y) * t,
      }));
    });
  }
}
