/** The factorial as two grids, memory and time: colour says how much, and the number stands in the cell. */
import { formatNumber } from "../words/format.ts";
import { methodName, optimizerName } from "../words/names.ts";
import { addText, type DrawOptions, NARROW, openChart, px, textWidth } from "./frame.ts";
import type { Selection } from "./d3.ts";
import type { HeatCell, HeatMap } from "../rows/heat_map.ts";

const SHORT: Readonly<Record<string, string>> = {
  accumulation: "accum.",
  checkpoint: "checkp.",
  flash: "flash",
};

/** `8-bit AdamW, fp16`. */
export function rowName(row: Record<string, string>): string {
  const optimizer = row.optimizer === undefined
    ? []
    : [row.optimizer === "off" ? "AdamW" : optimizerName(row.optimizer)];
  const half = row.fp16 === undefined ? [] : [row.fp16 === "off" ? "f32" : methodName("fp16")];
  return [...optimizer, ...half].join(", ") || "all";
}

/** Memory beside throughput on a wide page, above it on a narrow one. */
export function heatMapChart(
  map: HeatMap,
  { id, width, title, description }: DrawOptions,
): string {
  const narrow = width < NARROW;
  const names = map.rows.map(rowName);
  const labelRoom = Math.max(...[...names, ...map.across.map((factor) => SHORT[factor])].map(textWidth)) + 10;
  const gap = 22;
  const gridWidth = narrow ? width - labelRoom : (width - labelRoom - gap) / 2;
  const [cellWidth, cellHeight] = [gridWidth / map.columns.length, 30];
  const headHeight = 26 + 18 * map.across.length;
  const gridHeight = headHeight + map.rows.length * cellHeight;
  const chart = openChart({
    id,
    width,
    height: narrow && map.timeBase ? gridHeight * 2 + 34 : gridHeight + 6,
    title,
    description,
  });
  const { svg } = chart;
  const panels = [
    { name: "memory: times less", of: (cell: HeatCell) => cell.memory },
    { name: "throughput: times", of: (cell: HeatCell) => cell.throughput },
  ];
  // A factorial in which nothing was timed has memory alone to show.
  panels.slice(0, map.timeBase ? 2 : 1).forEach(({ name, of }, i) => {
    const left = labelRoom + (narrow ? 0 : i * (gridWidth + gap));
    const top = narrow ? i * (gridHeight + 34) : 0;
    drawHead(name, left, top, narrow || i === 0);
    map.cells.forEach((row, r) => {
      const y = top + headHeight + r * cellHeight;
      if (narrow || i === 0) addText(svg, names[r], labelRoom - 8, y + 20, { anchor: "end" });
      row.forEach((cell, c) => drawCell(cell, of, left + c * cellWidth, y));
    });
  });
  return chart.text();

  function drawHead(name: string, left: number, top: number, isNamed: boolean): void {
    addText(svg, name, left, top + 13, { class: "strong" });
    map.across.forEach((factor, f) => {
      const y = top + 32 + f * 18;
      if (isNamed) addText(svg, SHORT[factor], labelRoom - 8, y + 3, { anchor: "end", class: "tick" });
      map.columns.forEach((column, c) => {
        const isOn = column[factor] !== "off";
        const hint = `${methodName(factor)} ${isOn ? "on" : "off"}`;
        dot(svg, left + (c + 0.5) * cellWidth, y - 1, isOn, hint);
      });
    });
  }

  function drawCell(
    cell: HeatCell | null,
    of: (cell: HeatCell) => number | null,
    x: number,
    y: number,
  ): void {
    const value = cell ? of(cell) : null;
    const box = svg.append("rect").attr("class", "swatch").attr("x", px(x)).attr("y", px(y))
      .attr("width", px(cellWidth)).attr("height", cellHeight);
    const middle = { x: x + cellWidth / 2, y: y + 20 };
    if (!cell || value === null) {
      box.attr("fill", "var(--panel)");
      addText(svg, "–", middle.x, middle.y, { anchor: "middle", class: "muted" });
      return;
    }
    const { colour, strength } = shade(value);
    box.attr("fill", colour).attr("fill-opacity", px(strength * 10) / 10);
    box.append("title").text(
      `${cell.cell.configuration.label} (cell ${cell.cell.configuration.cells[0].id}${
        cell.cell.isPlanned ? ", planned" : ""
      })`,
    );
    const text = formatNumber(value, cellWidth < 36 || value >= 9.95 ? 1 : 2);
    addText(svg, text, middle.x, middle.y, {
      anchor: "middle",
      class: cell.cell.isPlanned ? "cell planned-text" : "cell",
    });
  }
}

/** Better is blue, worse orange; the strength grows with the ratio up to a factor of four. */
export function shade(ratio: number): { colour: string; strength: number } {
  const distance = Math.min(1, Math.abs(Math.log(ratio)) / Math.log(4));
  return { colour: ratio >= 1 ? "var(--blue)" : "var(--vermillion)", strength: 0.62 * distance };
}

/** Filled: switched on. */
function dot(svg: Selection, x: number, y: number, isOn: boolean, hint: string): void {
  svg.append("circle").attr("cx", px(x)).attr("cy", px(y)).attr("r", isOn ? 4.5 : 3)
    .attr("class", isOn ? "on" : "off").append("title").text(hint);
}
