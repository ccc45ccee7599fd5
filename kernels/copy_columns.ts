import { type Command, type Located, u32 } from "../engine/graph/launch.ts";
import { foldGrid } from "../engine/graph/target.ts";
import { DTYPE_BYTES, elementCount } from "../engine/graph/types.ts";
import type { KernelSet } from "./kernel_set.ts";
import { rowVectorWidth } from "./rows/reduction.ts";
import { rowWindows, windowOf } from "./rows/windows.ts";
import { storageFormOf } from "./storage_forms.ts";
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
  kernels: KernelSet,
): Command[] {
  const narrowColumns = elementCount(narrow) / rows;
  const wideColumns = elementCount(wide) / rows;
  const whole = [narrowColumns, wideColumns, firstColumn].every((columns) => rowVectorWidth(columns) === 4);
  const width = whole ? 4 : 1;
  const workgroupSize = kernels.workgroups.elementwise;
  const kernel = {
    name: "copy_columns",
    code: [
      `alias element_t = ${storageFormOf(narrow.dtype).element(width)};`,
      `const WG: u32 = ${workgroupSize}u;`,
      `const GATHER = ${gather};`,
      source,
    ].join("\n"),
    entryPoint: "copy_columns",
    writes: [gather ? 0 : 1],
  };
  const bytes = DTYPE_BYTES[narrow.dtype];
  return rowWindows(rows, [wideColumns * bytes], kernels.target, 1).map((window) => {
    const [narrowPart, widePart] = [
      windowOf(narrow, window, narrowColumns),
      windowOf(wide, window, wideColumns),
    ];
    const vectors = (window.count * narrowColumns) / width;
    return {
      kernel,
      bindings: [narrowPart, widePart],
      params: [
        vectors,
        narrowColumns / width,
        wideColumns / width,
        (widePart.firstElement + firstColumn) / width,
        narrowPart.firstElement / width,
      ].map(u32),
      workgroups: foldGrid(Math.ceil(vectors / workgroupSize), kernels.target),
    };
  });
}
