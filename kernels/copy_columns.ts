import { type Command, type Located, u32 } from "../engine/graph/launch.ts";
import { foldGrid, type Target } from "../engine/graph/target.ts";
import { elementRange, rowRanges } from "./rows/windows.ts";
import { DTYPE_BYTES, elementCount } from "../engine/graph/types.ts";
import { rowVectorWidth, vectorWgsl } from "./rows/reduction.ts";
import source from "./copy_columns.wgsl" with { type: "text" };

/** Columns `first … first + columns − 1` of `wide`, both taken as matrices with `rows` rows. */
export interface ColumnWindow {
  rows: number;
  first: number;
  narrow: Located;
  wide: Located;
  /** From `wide` to `narrow`, rather than back. */
  gather: boolean;
}

/** Dispatches that copy a window of columns, split where a range of rows would pass the binding limit. */
export function copyColumnsCommands(
  { rows, first: firstColumn, narrow, wide, gather }: ColumnWindow,
  target: Target,
): Command[] {
  const narrowColumns = elementCount(narrow) / rows;
  const wideColumns = elementCount(wide) / rows;
  const whole = [narrowColumns, wideColumns, firstColumn].every((columns) => rowVectorWidth(columns) === 4);
  const width = whole ? 4 : 1;
  // On a CPU larger workgroups only cost balance; GPUs need them to fill a multiprocessor.
  const workgroupSize = target.software ? 64 : 256;
  const kernel = {
    name: "copy_columns",
    code: [
      vectorWgsl(width, { act: narrow.dtype }),
      `const WG: u32 = ${workgroupSize}u;`,
      `const GATHER = ${gather};`,
      source,
    ].join("\n"),
    entryPoint: "copy_columns",
    writes: [gather ? 0 : 1],
  };
  const bytes = DTYPE_BYTES[narrow.dtype];
  return rowRanges(rows, [wideColumns * bytes], target).map(({ first, count }) => {
    const part = (value: Located, columns: number) =>
      elementRange(value, first * columns, count * columns, bytes);
    const [narrowPart, widePart] = [part(narrow, narrowColumns), part(wide, wideColumns)];
    const vectors = (count * narrowColumns) / width;
    return {
      kernel,
      bindings: [narrowPart, widePart].map(({ buffer, byteOffset, byteLength }) => ({
        buffer,
        byteOffset,
        byteLength,
      })),
      params: [
        vectors,
        narrowColumns / width,
        wideColumns / width,
        (widePart.firstElement + firstColumn) / width,
        narrowPart.firstElement / width,
      ].map(u32),
      workgroups: foldGrid(Math.ceil(vectors / workgroupSize), target),
    };
  });
}
