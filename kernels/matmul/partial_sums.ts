import { type Command, type Dispatch, type Located, u32 } from "../../engine/graph/launch.ts";
import type { OutputType } from "../../engine/graph/op.ts";
import { foldGrid, type Target } from "../../engine/graph/target.ts";
import { accessOf } from "../access.ts";
import { elementRange } from "../rows/windows.ts";
import { DTYPE_BYTES, elementCount, type TensorType } from "../../engine/graph/types.ts";
import type { CheckedSpec, MatmulOperand } from "./product.ts";
import source from "./partial_sums.wgsl" with { type: "text" };

/**
 * The least that one binding may cover on any WebGPU adapter, bytes: what plans,
 * which know no adapter, have to expect.
 */
const LEAST_BINDING_BYTES = 2 ** 27;
/** By which a window may be larger than what lies in it: both ends are at multiples. */
const WINDOW_SLACK = 512;

/**
 * Whether the terms of a product may have to be split: where an operand that is
 * stored with a row for every term, A transposed or B not, passes the binding
 * limit of some adapter. Of all others fewer rows or columns are bound.
 *
 * @param bytes Of the operand, or of the part of its value from the first to the last element of one batch.
 */
export function mayBeSplit(bytes: number): boolean {
  return bytes > LEAST_BINDING_BYTES - WINDOW_SLACK;
}

/** Bytes of a value. */
export function bytesOf(type: TensorType): number {
  return elementCount(type) * DTYPE_BYTES[type.dtype];
}

/**
 * Where the parts of a product with this result meet in f32, as workspace: in f16 each of them would be
 * rounded. None where the terms stay together, or where the result is f32, in which they meet.
 *
 * @param apart Whether the terms may come in parts.
 */
export function meetingType({ shape, dtype }: TensorType, apart: boolean): OutputType[] {
  return apart && dtype !== "f32" ? [{ shape, dtype: "f32", role: "workspace", name: "meeting" }] : [];
}

/** What the reference of an op gives for outputs that are workspace, from number `first` on. */
export function unusedOutputs(outputs: readonly TensorType[], first: number): Float64Array[] {
  return outputs.slice(first).map((type) => new Float64Array(elementCount(type)));
}

/** A result that is to be stored at once: `[batches, m, n]`, one behind the other. */
export function meetingOperand(meeting: Located, { m, n, batch }: Shape): MatmulOperand {
  const strides = batch.map((_, d) => batch.slice(d + 1).reduce((product, count) => product * count, m * n));
  return { value: meeting, ld: n, strides };
}

type Shape = Pick<CheckedSpec, "m" | "n" | "batch">;

/** What `partialSums` adds up, and where. */
export interface PartialSums extends Shape {
  /** f32 [parts, batches · m · n], or more than that. */
  partials: Located;
  parts: number;
  /** With one stride for each of the batches. */
  c: MatmulOperand;
  /** Whether C is added too. */
  accumulate: boolean;
}

/**
 * C from the sums of its parts, rounded once; split over rows where partials of
 * one part, or C, pass the binding limit.
 *
 * @throws {RangeError} if several parts, or a row of C, cannot be bound.
 */
export function partialSums(sums: PartialSums, target: Target): Command[] {
  const { m, n, batch } = sums;
  const rows = batch.reduce((product, count) => product * count, m);
  const commands: Command[] = [];
  const add = (first: number, count: number) => {
    const dispatch = dispatchRows(sums, first, count, target);
    const excess = dispatch.bindings.some(({ byteLength }) =>
      byteLength > target.maxStorageBufferBindingSize
    );
    if (!excess) commands.push(dispatch);
    else if (count === 1 || sums.parts > 1) {
      throw new RangeError(
        `Cannot add up the parts of ${m} × ${n} results: maxStorageBufferBindingSize is ${target.maxStorageBufferBindingSize}`,
      );
    } else {
      const head = Math.ceil(count / 2);
      add(first, head);
      add(first + head, count - head);
    }
  };
  add(0, rows);
  return commands;
}

/** Rows `first … first + count − 1` of all batches. */
function dispatchRows(sums: PartialSums, first: number, count: number, target: Target): Dispatch {
  const { partials, parts, c, accumulate, m, n } = sums;
  const batch = [...Array(3 - sums.batch.length).fill(1), ...sums.batch];
  const strides = [...Array(3 - sums.batch.length).fill(0), ...c.strides ?? []];
  const matrices = batch[0] * batch[1] * batch[2];
  const rowStart = (row: number) => {
    const z = Math.floor(row / m);
    const [z0, z1, z2] = [
      Math.floor(z / batch[1] / batch[2]),
      Math.floor(z / batch[2]) % batch[1],
      z % batch[2],
    ];
    return z0 * strides[0] + z1 * strides[1] + z2 * strides[2] + row % m * c.ld;
  };
  let [least, most] = [Infinity, 0];
  for (let z = Math.floor(first / m); z * m < first + count; z++) {
    least = Math.min(least, rowStart(Math.max(first, z * m)));
    most = Math.max(most, rowStart(Math.min(first + count, (z + 1) * m) - 1) + n);
  }
  const offset = c.offset ?? 0;
  const dtype = c.value.dtype;
  const { firstElement, ...stored } = elementRange(c.value, offset + least, most - least);
  const { firstElement: firstPartial, ...read } = parts === 1
    ? elementRange(partials, first * n, count * n)
    : elementRange(partials, 0, elementCount(partials));
  const cOffset = firstElement - least;
  const width = [n, firstPartial, cOffset, c.ld, ...strides].every((number) => number % 4 === 0) ? 4 : 1;
  const access = accessOf(
    [{ name: "c", dtype, reads: true, copied: false, writes: true }],
    { width, leastBytes: 0 },
    { target, scratch: null },
  );
  const grid = foldGrid(Math.ceil(count * n / width / 64), target);
  return {
    kernel: {
      name: "partial_sums",
      code: access.code(
        `alias vec_t = ${width === 4 ? "vec4<f32>" : "f32"};\nconst ACCUMULATE = ${accumulate};\n${source}`,
      ),
      entryPoint: "partial_sums",
      writes: [1],
    },
    bindings: [read, stored],
    params: [
      count * n / width,
      parts,
      matrices * m * n / width,
      first * n / width,
      firstPartial / width,
      m,
      n / width,
      batch[1],
      batch[2],
      (cOffset / width) >>> 0,
      Math.floor(c.ld / width),
      ...strides.map((stride) => stride / width),
      grid[0],
    ].map(u32),
    workgroups: grid,
  };
}
