/** The factorial as two grids, memory and time. */
import type { Factorial, FactorialCell } from "./effects.ts";

/** Factors across and down the grids, as far as they were varied. */
const ACROSS = ["accumulation", "checkpoint", "flash"];
const DOWN = ["optimizer", "fp16"];

export interface HeatMap {
  columns: Record<string, string>[];
  rows: Record<string, string>[];
  across: string[];
  down: string[];
  /** By row and column; null where the combination neither ran nor was planned. */
  cells: (HeatCell | null)[][];
  /** What throughput is compared with: the cell with least switched on of those that were timed. */
  timeBase: FactorialCell | null;
}

export interface HeatCell {
  cell: FactorialCell;
  /** Times less memory, times the throughput of the cell with nothing switched on. */
  memory: number | null;
  throughput: number | null;
}

/** Lays the factorial out as a grid; null without the cell that everything is compared with. */
export function heatMapOf({ cells }: Factorial): HeatMap | null {
  const base = cells.find(({ levels }) => Object.values(levels).every((level) => level === "off"));
  if (!base) return null;
  const onCount = ({ levels }: FactorialCell) =>
    Object.values(levels).filter((level) => level !== "off").length;
  const timeBase =
    cells.filter(({ logTime }) => logTime !== null).toSorted((a, b) => onCount(a) - onCount(b))[0] ?? null;
  const levelsOf = (factor: string) => {
    // Off first, then what is on; the optimizers from most to least state.
    const order = ["off", "accumulation", "checkpoint", "flash", "fp16", "adamw8bit", "adafactor"];
    return [...new Set(cells.map(({ levels }) => levels[factor]))].sort((a, b) =>
      order.indexOf(a) - order.indexOf(b)
    );
  };
  const vary = (factors: readonly string[]) => factors.filter((factor) => levelsOf(factor).length > 1);
  const grid = (factors: readonly string[]) =>
    factors.reduce<Record<string, string>[]>(
      (rows, factor) => rows.flatMap((row) => levelsOf(factor).map((level) => ({ ...row, [factor]: level }))),
      [{}],
    );
  const [across, down] = [vary(ACROSS), vary(DOWN)];
  const [columns, rows] = [grid(across), grid(down)];
  const heat = (cell: FactorialCell): HeatCell => ({
    cell,
    memory: cell.bytes && base.bytes ? base.bytes / cell.bytes : null,
    throughput: cell.logTime !== null && timeBase ? Math.exp(timeBase.logTime! - cell.logTime) : null,
  });
  const find = (wanted: Record<string, string>) =>
    cells.find(({ levels }) => Object.entries(wanted).every(([factor, level]) => levels[factor] === level));
  return {
    columns,
    rows,
    across,
    down,
    timeBase,
    cells: rows.map((row) =>
      columns.map((column) => {
        const cell = find({ ...row, ...column });
        return cell ? heat(cell) : null;
      })
    ),
  };
}
