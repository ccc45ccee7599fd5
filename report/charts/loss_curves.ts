/** Training and held-out loss over trained tokens, one panel a configuration. */
import type { Configuration } from "../rows/configuration.ts";
import { heldOutAt } from "../../results/held_out_at.ts";
import { formatCompact, formatNumber, shorten } from "../words/format.ts";
import { median } from "../../results/stats.ts";
import { d3 } from "./d3.ts";
import {
  addDots,
  addLine,
  addText,
  addXAxis,
  type DrawOptions,
  NARROW,
  openChart,
  type Plot,
  px,
  thin,
} from "./frame.ts";

export interface LossPoint {
  tokens: number;
  /** Null where the loss was not finite. */
  loss: number | null;
}

export interface LossPanel {
  label: string;
  /** One line a seed. */
  seeds: { id: string; seed: number; training: LossPoint[]; heldOut: { tokens: number; loss: number }[] }[];
  /** Smallest and largest training loss over seeds, where two or more have one. */
  band: { tokens: number; low: number; high: number }[];
  /** Median held-out loss over seeds. */
  middle: { tokens: number; loss: number }[];
  /** How cells ended that did not run to their end. */
  note: string | null;
  chosen: boolean;
  /** Every so many steps are drawn. */
  stride: number;
}

/** Points a line at most, and over all panels: a large suite must not make a large page. */
const POINTS = { line: 160, page: 5000 };

/** One panel a configuration that trained at all; steps are thinned evenly, never averaged. */
export function lossPanels(
  configurations: readonly Configuration[],
  chosen: Configuration | null,
): LossPanel[] {
  const limit = Math.max(24, Math.min(POINTS.line, Math.round(POINTS.page / configurations.length)));
  return configurations.flatMap((configuration) => {
    const bySeed = new Map(
      configuration.cells.filter(({ samples }) => samples !== null && samples.loss.length > 0)
        .reverse().map((cell) => [cell.config.seed, cell]),
    );
    const cells = [...bySeed.values()].reverse();
    if (cells.length === 0) return [];
    let stride = 1;
    const seeds = cells.map((cell) => {
      let tokens = 0;
      const all = cell.samples!.loss.map((loss, step): LossPoint => {
        tokens += cell.samples!.tokens[step] ?? 0;
        return { tokens, loss };
      });
      const thinned = thin(all, limit);
      stride = Math.max(stride, thinned.stride);
      return { id: cell.id, seed: cell.config.seed, training: thinned.items, heldOut: cell.heldOut };
    });
    const failed = configuration.cells.find(({ status }) => status !== "ok");
    return [{
      label: configuration.label,
      seeds,
      band: bandOf(seeds.map(({ training }) => training)),
      middle: middleOf(configuration),
      note: failed ? failed.status : null,
      chosen: configuration === chosen,
      stride,
    }];
  });
}

function bandOf(lines: readonly LossPoint[][]): LossPanel["band"] {
  const byTokens = new Map<number, number[]>();
  for (const { tokens, loss } of lines.flat()) {
    if (loss !== null) byTokens.set(tokens, [...byTokens.get(tokens) ?? [], loss]);
  }
  return [...byTokens].filter(([, losses]) => losses.length > 1).sort(([a], [b]) => a - b)
    .map(([tokens, losses]) => ({ tokens, low: Math.min(...losses), high: Math.max(...losses) }));
}

function middleOf({ ok }: Configuration): LossPanel["middle"] {
  const marks = [...new Set(ok.flatMap(({ heldOut }) => heldOut.map(({ tokens }) => tokens)))].sort((a, b) =>
    a - b
  );
  return marks.flatMap((tokens) => {
    const losses = ok.map((cell) => heldOutAt(cell, tokens)).filter((loss) => loss !== null);
    return losses.length > 0 ? [{ tokens, loss: median(losses) }] : [];
  });
}

/** About as wide as a panel is on a wide page, px. */
const PANEL_WIDTH = 280;

/** Small multiples on common axes: training loss, band over seeds, held-out dots, all medians behind. */
export function lossCurvesChart(
  panels: readonly LossPanel[],
  equalTokens: number | null,
  { id, width, title, description }: DrawOptions,
): string {
  const narrow = width < NARROW;
  const columns = Math.min(panels.length, narrow ? 2 : Math.round(width / PANEL_WIDTH));
  const rows = Math.ceil(panels.length / columns);
  const [left, gap, top] = [34, 14, 30];
  const panelWidth = (width - left - gap * (columns - 1) - 6) / columns;
  const panelHeight = columns === 3 ? 170 : 130;
  const rowHeight = panelHeight + 34;
  const chart = openChart({ id, width, height: top + rows * rowHeight + 30, title, description });
  const { svg } = chart;
  const losses = panels.flatMap(({ seeds }) =>
    seeds.flatMap(({ training, heldOut }) =>
      [...training, ...heldOut].flatMap(({ loss }) => loss === null ? [] : [loss])
    )
  );
  const tokens = panels.flatMap(({ seeds }) =>
    seeds.flatMap(({ training }) => training.map((point) => point.tokens))
  );
  const [low, high] = losses.length > 0 ? d3.extent(losses) : [0, 1];
  const y = d3.scaleLinear().domain([low, high > low ? high : low + 1]).nice(4);
  const x = d3.scaleLinear().domain([0, d3.max([1, ...tokens])]);
  defineContext();
  addText(svg, "nats per token", 0, 12, { class: "name" });
  panels.forEach((panel, i) => drawPanel(panel, i % columns, Math.floor(i / columns)));
  return chart.text();

  function drawPanel(panel: LossPanel, column: number, row: number): void {
    const plot: Plot = {
      left: left + column * (panelWidth + gap),
      right: left + column * (panelWidth + gap) + panelWidth,
      top: top + row * rowHeight + 22,
      bottom: top + row * rowHeight + panelHeight,
    };
    y.range([plot.bottom, plot.top]);
    x.range([plot.left, plot.right]);
    for (const tick of y.ticks(4)) {
      addLine(svg, plot.left, y(tick), plot.right, y(tick), "grid");
      if (column === 0) {
        addText(svg, formatNumber(tick, 1), plot.left - 5, y(tick) + 4, { anchor: "end", class: "tick" });
      }
    }
    const isLowest = (row + 1) * columns + column >= panels.length;
    addXAxis(svg, x, plot, {
      ticks: x.ticks(narrow ? 2 : 4),
      format: (value) => isLowest && value > 0 ? formatCompact(value) : "",
      label: isLowest ? "tokens" : undefined,
    });
    const note = panel.note ? ` · ${panel.note}` : "";
    const name = shorten(
      panel.label + (panel.chosen ? " (chosen)" : ""),
      Math.floor(panelWidth / 7.2) - note.length,
    );
    addText(svg, name + note, plot.left, plot.top - 7, { class: "strong", hint: panel.label + note });
    if (equalTokens !== null) addLine(svg, x(equalTokens), plot.top, x(equalTokens), plot.bottom, "pointer");
    svg.append("use").attr("href", `#${id}-context`).attr("x", px(plot.left)).attr("y", px(plot.bottom));
    drawLines(panel);
  }

  /** Every panel's held-out median, drawn once and shown in all of them: n lines instead of n². */
  function defineContext(): void {
    y.range([0, -(panelHeight - 22)]);
    x.range([0, panelWidth]);
    const line = d3.line<LossPoint>().x((point) => px(x(point.tokens))).y((point) => px(y(point.loss!)));
    const paths = panels.map(({ middle }) => middle.length > 1 ? line(thin(middle, 24).items) : "");
    svg.append("defs").append("path").attr("id", `${id}-context`).attr("class", "context").attr(
      "d",
      paths.join(""),
    );
  }

  function drawLines(panel: LossPanel): void {
    const colour = panel.chosen ? "var(--vermillion)" : "var(--blue)";
    const curve = d3.line<LossPoint>().defined(({ loss }) => loss !== null)
      .x((point) => px(x(point.tokens))).y((point) => px(y(point.loss!)));
    const band = d3.area<LossPanel["band"][number]>().x((point) => px(x(point.tokens)))
      .y0((point) => px(y(point.low))).y1((point) => px(y(point.high)));
    if (panel.band.length > 1) {
      svg.append("path").attr("class", "band").attr("fill", colour).attr("d", band(panel.band));
    }
    for (const { training, id: cell, seed } of panel.seeds) {
      svg.append("path").attr("class", "thin").attr("stroke", colour).attr("d", curve(training))
        .append("title").text(`training loss, seed ${seed} (cell ${cell})`);
    }
    for (const { heldOut, id: cell, seed } of panel.seeds) {
      const dots = thin(heldOut, 40).items.map((point) => ({ x: x(point.tokens), y: y(point.loss) }));
      if (dots.length > 0) {
        addDots(svg, dots, `held-out loss, seed ${seed} (cell ${cell})`).attr("class", "held-out");
      }
    }
  }
}
