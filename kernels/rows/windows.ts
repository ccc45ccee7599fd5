import { type Binding, BINDING_ALIGNMENT, type Located } from "../../engine/graph/launch.ts";
import type { Target } from "../../engine/graph/target.ts";
import { DTYPE_BYTES, elementCount } from "../../engine/graph/types.ts";

/** Rows `first … first + count − 1`. */
export interface RowWindow {
  first: number;
  count: number;
}

/**
 * Splits `rows` so that every operand's window fits one binding. Windows start at multiples of the binding alignment
 * in rows, hence at aligned bytes whatever a row's size, and kernels index them from zero.
 *
 * @param bytesPerRow Row size of every operand that is windowed.
 * @throws {RangeError} if even the smallest window of some operand passes the limit.
 */
export function rowWindows(rows: number, bytesPerRow: readonly number[], target: Target): RowWindow[] {
  const largest = Math.max(...bytesPerRow, 1);
  const limit = target.maxStorageBufferBindingSize;
  if (Math.ceil((rows * largest) / 4) * 4 <= limit) return [{ first: 0, count: rows }];
  const perWindow = Math.floor(limit / largest / BINDING_ALIGNMENT) * BINDING_ALIGNMENT;
  if (perWindow === 0) {
    throw new RangeError(
      `Cannot bind ${BINDING_ALIGNMENT} rows of ${largest} bytes: maxStorageBufferBindingSize is ${limit}`,
    );
  }
  const windows = [];
  for (let first = 0; first < rows; first += perWindow) {
    windows.push({ first, count: Math.min(perWindow, rows - first) });
  }
  return windows;
}

/** The part of `value`, whose first extent (or element count, where `rows` says so) is split, that a window covers. */
export function windowOf(
  value: Located,
  { first, count }: RowWindow,
  rows: number = value.shape[0],
): Binding {
  const bytesPerRow = (elementCount(value) / rows) * DTYPE_BYTES[value.dtype];
  const start = first * bytesPerRow;
  // The last window takes the value's padding to whole words along.
  const end = first + count === rows ? value.byteLength : start + count * bytesPerRow;
  return { buffer: value.buffer, byteOffset: value.byteOffset + start, byteLength: end - start };
}

/** The range of `value` that covers elements `first … first + count − 1`, widened to binding alignment. */
export function elementRange(
  value: Located,
  first: number,
  count: number,
  bytesPerElement: number,
): Binding & { firstElement: number } {
  const start = Math.floor((first * bytesPerElement) / BINDING_ALIGNMENT) * BINDING_ALIGNMENT;
  const end = Math.min(Math.ceil(((first + count) * bytesPerElement) / 16) * 16, value.byteLength);
  return {
    buffer: value.buffer,
    byteOffset: value.byteOffset + start,
    byteLength: Math.max(end - start, 4),
    /** Index of element `first` inside the returned range. */
    firstElement: first - start / bytesPerElement,
  };
}

/** Splits `rows` into ranges whose bytes stay within the binding limit for every operand with these row sizes. */
export function rowRanges(
  rows: number,
  bytesPerRow: readonly number[],
  target: Target,
): { first: number; count: number }[] {
  const largest = Math.max(...bytesPerRow, 1);
  const limit = target.maxStorageBufferBindingSize - 2 * BINDING_ALIGNMENT;
  if (rows * largest <= limit) return [{ first: 0, count: rows }];
  const perRange = Math.floor(limit / largest);
  if (perRange < 1) {
    throw new RangeError(
      `Cannot bind a row of ${largest} bytes: the adapter's maxStorageBufferBindingSize is ${target.maxStorageBufferBindingSize}`,
    );
  }
  const ranges = [];
  for (let first = 0; first < rows; first += perRange) {
    ranges.push({ first, count: Math.min(perRange, rows - first) });
  }
  return ranges;
}
