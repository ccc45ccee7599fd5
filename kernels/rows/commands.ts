import { type Command, type Located, type ParamWord, u32, whole } from "../../engine/graph/launch.ts";
import { DTYPE_BYTES } from "../../engine/graph/types.ts";
import { accessOf, type Operand } from "../access.ts";
import type { KernelSet } from "../kernel_set.ts";
import { rowGrid, rowVectorWidth, vectorWgsl } from "./reduction.ts";
import { ALIGNED_ROWS, rowWindows, windowOf } from "./windows.ts";

/** A value that a row kernel binds, and how it reaches it. */
export interface RowOperand {
  value: Located;
  operand: Operand;
  /** Whether it has one row for all tokens: it is bound whole. */
  perColumn?: boolean;
}

/** How an operand is used. */
type Use = Pick<Operand, "reads" | "writes" | "copied">;
const READ: Use = { reads: true };
export const WRITTEN: Use = { writes: true };

/** A row per token. */
export function row(name: string, value: Located, use = READ): RowOperand {
  return { value, operand: { name, dtype: value.dtype, ...use } };
}

/** A number per token. */
export function number(name: string, value: Located, use = READ): RowOperand {
  return { value, operand: { name, dtype: value.dtype, scalar: true, small: true, ...use } };
}

/** A number per column. */
export function column(name: string, value: Located, use = READ): RowOperand {
  return { value, operand: { name, dtype: value.dtype, small: true, ...use }, perColumn: true };
}

/** Bytes of the rows that a window has at least, of the widest type. */
export function leastRowBytes(columns: number): number {
  return ALIGNED_ROWS * columns * DTYPE_BYTES.f32;
}

/**
 * Dispatches of a kernel over rows, one for each window of them. Operands with
 * rows are cut; per-column ones are bound whole.
 *
 * @param source WGSL whose `Params` begin with the rows of the window and the vectors of a row.
 * @param operands In binding order; the first has all rows.
 */
export function rowCommands(
  name: string,
  source: string,
  operands: readonly RowOperand[],
  { kernels, params = [], prelude = "" }: {
    kernels: KernelSet;
    params?: readonly ParamWord[];
    /** WGSL that goes before the source. */
    prelude?: string;
  },
): Command[] {
  const [rows, columns] = operands[0].value.shape;
  const width = rowVectorWidth(columns);
  const form = kernels.rowForm(columns / width);
  const access = accessOf(
    operands.map(({ operand }) => operand),
    { width, leastBytes: leastRowBytes(columns) },
    kernels,
  );
  const kernel = {
    name,
    code: form.wgsl + vectorWgsl(width) + prelude + access.code(source),
    entryPoint: name,
    writes: [...operands.keys()].filter((i) => operands[i].operand.writes),
    workgroupBytes: form.workgroupBytes,
  };
  const bytesPerRow = operands.map(({ value }) => columns * DTYPE_BYTES[value.dtype]);
  return rowWindows(rows, bytesPerRow, access.target).map((window) => {
    const bindings = operands.map(({ value, perColumn }) =>
      perColumn ? whole(value) : windowOf(value, window)
    );
    return {
      kernel,
      bindings,
      ...access.of(access.copied.map((i) => bindings[i]), [
        u32(window.count),
        u32(columns / width),
        ...params,
      ]),
      workgroups: rowGrid(window.count, form, kernels.target),
    };
  });
}
