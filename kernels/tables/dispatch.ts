import {
  type Binding,
  BINDING_ALIGNMENT,
  type Dispatch,
  type ParamWord,
  SCRATCH_ROW_BYTES,
  u32,
} from "../../engine/graph/launch.ts";
import { foldGrid, type Target } from "../../engine/graph/target.ts";
import type { KernelSet } from "../kernel_set.ts";
import type { Scratch } from "../scratch.ts";
import { accessBytes, type TableAccess, type TableKernel, wordsPerEntry } from "./kernel.ts";
import { type BoundWindows, tableWgsl, type WindowElement } from "./text.ts";

/**
 * Entries that tables are compiled for: the first that holds a dispatch's, the last at most. Few lengths,
 * since each is a kernel of its own.
 */
const TABLE_LENGTHS = [128, 512];
const LONGEST_TABLE = TABLE_LENGTHS[TABLE_LENGTHS.length - 1];
/** A run of work on one tensor. */
export interface TablePiece {
  /** Its blocks are numbered through all pieces of a dispatch. */
  blocks: number;
  /** Its own fields, in the order of `TableKernel.fields`. */
  fields: readonly ParamWord[];
  /** Where each operand's elements of the piece lie; byte offsets are multiples of what one access takes. */
  places: readonly Binding[];
}

/**
 * Dispatches of a table-driven kernel: as few as tables, windows and bindings
 * allow, which for a small model is one.
 *
 * Pieces are taken by the buffers they lie in, in order of their place there, and put into one dispatch as
 * long as each operand's ranges fit one binding window. Operands whose windows overlap (moments stored
 * alternately, say) share a binding, because bindings of one dispatch may not overlap.
 *
 * @param copyBytes What one dispatch may copy; see `Scratch.tableBytes`. 0:
 * everything is read where it lies, as
 *   scalars are.
 */
export function tableDispatches(
  kernel: TableKernel,
  pieces: readonly TablePiece[],
  copyBytes: number,
  { scratch, target }: KernelSet,
): Dispatch[] {
  const ranged = pieces.map((piece): RangedPiece => ({
    ...piece,
    ranges: piece.places.map(({ buffer, byteOffset, byteLength }, k) => ({
      buffer,
      from: alignDown(byteOffset, BINDING_ALIGNMENT),
      to: Math.ceil((byteOffset + byteLength) / 4) * 4,
      element: elementOf(kernel.operands[k].access),
    })),
  }));
  const copied = kernel.width === 4 ? copyBytes : 0;
  const from = copied > 0 ? scratch : null;
  return group(ranged, kernel, copied, target).map((group) => dispatchOf(group, kernel, from, target));
}

function elementOf(access: TableAccess): WindowElement {
  return access === "scalar" ? "word" : access;
}

/** Bytes `from … to − 1` of a buffer. */
interface Range {
  buffer: number;
  from: number;
  to: number;
  element: WindowElement;
}

interface RangedPiece extends TablePiece {
  /** Bytes of each operand, from an aligned one on. */
  ranges: Range[];
}

/**
 * Those whose operands lie in the same buffers together, since windows are of one
 * buffer; then in the order of the first operand.
 */
function byPlace(a: RangedPiece, b: RangedPiece): number {
  const k = a.ranges.findIndex(({ buffer }, k) => buffer !== b.ranges[k].buffer);
  if (k >= 0) return a.ranges[k].buffer - b.ranges[k].buffer;
  return a.ranges.length === 0 ? 0 : a.ranges[0].from - b.ranges[0].from;
}

/** Greedy: a group grows until its table is full or its windows would pass the binding limit. */
function group(
  pieces: readonly RangedPiece[],
  kernel: TableKernel,
  copyBytes: number,
  target: Target,
): RangedPiece[][] {
  const sorted = pieces.toSorted(byPlace);
  const groups: RangedPiece[][] = [];
  let open: RangedPiece[] = [];
  let spans: Range[] | undefined;
  for (const next of sorted) {
    const grown = spans && open.length < LONGEST_TABLE ? spanning(spans, next.ranges) : undefined;
    if (grown && fits(windowsOf(grown, kernel), [...open, next], kernel, copyBytes, target)) {
      open.push(next);
      spans = grown;
    } else {
      groups.push(open = [next]);
      spans = next.ranges;
    }
  }
  return groups;
}

/** The operands' ranges widened to take in further ones; undefined where they lie in different buffers. */
function spanning(spans: readonly Range[], more: readonly Range[]): Range[] | undefined {
  if (spans.some((span, k) => span.buffer !== more[k].buffer)) return undefined;
  return spans.map((span, k) => ({
    ...span,
    from: Math.min(span.from, more[k].from),
    to: Math.max(span.to, more[k].to),
  }));
}

/**
 * Disjoint windows over everything a dispatch touches, and which of them serves
 * each operand and shared value.
 */
interface Windows extends BoundWindows {
  windows: Range[];
}

function windowsOf(spans: readonly Range[], { shared }: TableKernel): Windows {
  const wanted = [
    ...spans,
    ...shared.map(({ value: { buffer, byteOffset, byteLength } }): Range => ({
      buffer,
      from: byteOffset,
      to: byteOffset + byteLength,
      element: "vector",
    })),
  ];
  const windows: Range[] = [];
  for (const range of wanted.toSorted((a, b) => a.buffer - b.buffer || a.from - b.from)) {
    const last = windows.at(-1);
    if (!last || last.buffer !== range.buffer || range.from >= last.to) windows.push({ ...range });
    else {
      last.to = Math.max(last.to, range.to);
      if (range.element === "word") last.element = "word";
    }
  }
  return {
    windows,
    of: wanted.map(({ buffer, from }) =>
      windows.findIndex((window) => window.buffer === buffer && window.from <= from && from < window.to)
    ),
  };
}

function fits(
  { windows }: Windows,
  pieces: readonly RangedPiece[],
  kernel: TableKernel,
  copyBytes: number,
  target: Target,
): boolean {
  if (!windows.every(({ from, to }) => to - from <= target.maxStorageBufferBindingSize)) {
    return false;
  }
  return copyBytes === 0 ||
    copiedRanges(pieces, kernel).reduce((sum, { from, to }) => sum + wholeRows(to - from), 0) <= copyBytes;
}

function wholeRows(bytes: number): number {
  return Math.ceil(bytes / SCRATCH_ROW_BYTES) * SCRATCH_ROW_BYTES;
}

/** Ranges this close are copied together with what lies between them. */
const COPY_GAP = 4096;

/** What a dispatch copies: the operands of its pieces, neighbours as one range, and what all share. */
function copiedRanges(pieces: readonly RangedPiece[], { shared }: TableKernel): Range[] {
  const wanted = pieces.flatMap(({ ranges }) => ranges);
  for (const { value: { buffer, byteOffset, byteLength }, often } of shared) {
    if (often) wanted.push({ buffer, from: byteOffset, to: byteOffset + byteLength, element: "vector" });
  }
  wanted.sort((x, y) => x.buffer - y.buffer || x.from - y.from);
  const merged: Range[] = [];
  for (const range of wanted) {
    const last = merged.at(-1);
    if (last && last.buffer === range.buffer && range.from - last.to <= COPY_GAP) {
      last.to = Math.max(last.to, range.to);
    } else merged.push({ ...range });
  }
  return merged;
}

/** What fills tables up: one word for all of them, since a large model's have millions. */
const ZERO = u32(0);

function dispatchOf(
  pieces: readonly RangedPiece[],
  kernel: TableKernel,
  scratch: Scratch | null,
  target: Target,
): Dispatch {
  const { operands, shared, width } = kernel;
  const layout = windowsOf(pieces.map(({ ranges }) => ranges).reduce((a, b) => spanning(a, b)!), kernel);
  const { windows, of } = layout;
  const read = scratch ? copiedRanges(pieces, kernel) : [];
  // Where nothing is left to copy, kernels read what they read where it lies.
  const from = read.length > 0 ? scratch : null;
  const copies = from?.place(
    read.map(({ buffer, from, to }) => ({ buffer, byteOffset: from, byteLength: to - from })),
  );
  const vectorOf = (copy: number, bytes: number) => from!.vectorOf(copies!, copy, bytes / 16);
  /**
   * The vector of a window's first byte, as if all of it were copied: added to a
   * place in it; wraps around below zero.
   */
  const copyOf = (buffer: number, at: number, window: Range) => {
    const copy = read.findIndex((range) => range.buffer === buffer && range.from <= at && at < range.to);
    return vectorOf(copy, window.from - read[copy].from);
  };
  const words = wordsPerEntry(kernel, from !== null);
  const length = TABLE_LENGTHS.find((length) => pieces.length <= length)!;
  const table: ParamWord[] = Array(length * words).fill(ZERO);
  let blocks = 0;
  pieces.forEach((piece, i) => {
    const offsets = piece.places.map(({ byteOffset }, k) =>
      u32((byteOffset - windows[of[k]].from) / accessBytes(operands[k].access, width))
    );
    const entry = [u32(blocks), ...piece.fields, ...offsets];
    if (from) {
      entry.push(...piece.ranges.map(({ buffer, from }, k) => copyOf(buffer, from, windows[of[k]])));
    }
    entry.forEach((word, k) => table[i * words + k] = word);
    blocks += piece.blocks;
  });
  const names = [...operands, ...shared].map(({ name }) => name);
  const reached = windows.map(() => 0);
  for (const { places } of pieces) places.forEach(({ byteLength }, k) => reached[of[k]] += byteLength);
  shared.forEach(({ value }, k) => reached[of[operands.length + k]] += value.byteLength);
  const sharedWords = shared.flatMap(({ value, often }, k) => {
    const window = windows[of[operands.length + k]];
    const offset = u32((value.byteOffset - window.from) / 16);
    if (!often || !from) return [offset];
    const copy = read.findIndex(({ buffer, from, to }) =>
      buffer === value.buffer && from <= value.byteOffset && value.byteOffset < to
    );
    return [offset, vectorOf(copy, value.byteOffset - read[copy].from)];
  });
  const header = [
    u32(pieces.length),
    u32(blocks),
    ...sharedWords,
    ...(kernel.params ?? []).map(([, word]) => word),
  ];
  while (header.length % 4 !== 0) header.push(ZERO); // where WGSL aligns the arrays of vec4 that follow
  header.push(...kernel.constants?.words ?? []);
  return {
    kernel: {
      name: kernel.name,
      code: tableWgsl(layout, length, from, kernel) + kernel.source,
      entryPoint: kernel.name,
      writes: [...new Set(kernel.writes.map((name) => of[names.indexOf(name)]))].sort(),
      workgroupBytes: kernel.workgroupBytes,
    },
    bindings: windows.map(({ buffer, from, to }) => ({ buffer, byteOffset: from, byteLength: to - from })),
    reached,
    ...copies && { copies },
    params: header.concat(table),
    workgroups: foldGrid(Math.ceil(blocks / (kernel.blocksPerWorkgroup ?? 1)), target),
  };
}

function alignDown(bytes: number, alignment: number): number {
  return Math.floor(bytes / alignment) * alignment;
}
