import { type Binding, BINDING_ALIGNMENT, type Located } from "../../engine/graph/launch.ts";
import type { Target } from "../../engine/graph/target.ts";
import { DTYPE_BYTES, elementCount } from "../../engine/graph/types.ts";

/** Rows `first … first + count − 1`. */
export interface RowWindow {
  first: number;
  count: number;
}

/** A range of a value, and where in it its first element lies. */
export interface Window extends Binding {
  /** Elements from the start of the range. */
  firstElement: number;
}

/**
 * Cuts rows so that each operand's part of them fits one binding.
 *
 * @param bytesPerRow Row size of every operand that is cut.
 * @param unit Rows that windows begin at multiples of. With `ALIGNED_ROWS` they
 * begin at aligned bytes whatever a
 *   row's size, and kernels index them from zero; with 1, kernels take `firstElement` of each.
 * @throws {RangeError} if even the smallest window of some operand passes the limit.
 */
export function rowWindows(
  rows: number,
  bytesPerRow: readonly number[],
  { maxStorageBufferBindingSize }: Target,
  unit: number = ALIGNED_ROWS,
): RowWindow[] {
  const largest = Math.max(...bytesPerRow, 1);
  // A window that begins anywhere is widened to whole alignments at both ends.
  const limit = maxStorageBufferBindingSize - (unit % ALIGNED_ROWS === 0 ? 0 : 2 * BINDING_ALIGNMENT);
  if (Math.ceil((rows * largest) / 4) * 4 <= limit) return [{ first: 0, count: rows }];
  const perWindow = Math.floor(limit / largest / unit) * unit;
  if (perWindow <= 0) {
    throw new RangeError(
      `Cannot bind ${unit === 1 ? "a row" : `${unit} rows`} of ${largest} bytes: ` +
        `maxStorageBufferBindingSize is ${maxStorageBufferBindingSize}`,
    );
  }
  const windows = [];
  for (let first = 0; first < rows; first += perWindow) {
    windows.push({ first, count: Math.min(perWindow, rows - first) });
  }
  return windows;
}

/** So many rows begin at aligned bytes, whatever their size. */
export const ALIGNED_ROWS = BINDING_ALIGNMENT;

/**
 * The part of `value` that a window of its rows covers.
 *
 * @param columns Elements of a row; default: what the first extent leaves.
 */
export function windowOf(
  value: Located,
  { first, count }: RowWindow,
  columns: number = elementCount(value) / value.shape[0],
): Window {
  return elementRange(value, first * columns, count * columns);
}

/** The range of `value` that covers elements `first … first + count − 1`, widened to binding alignment. */
export function elementRange(value: Located, first: number, count: number): Window {
  const bytes = DTYPE_BYTES[value.dtype];
  const start = Math.floor((first * bytes) / BINDING_ALIGNMENT) * BINDING_ALIGNMENT;
  const end = Math.min(Math.ceil(((first + count) * bytes) / 16) * 16, value.byteLength);
  return {
    buffer: value.buffer,
    byteOffset: value.byteOffset + start,
    byteLength: Math.max(end - start, 4),
    firstElement: first - start / bytes,
  };
}
