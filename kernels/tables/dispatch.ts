import {
  type Binding,
  BINDING_ALIGNMENT,
  type Dispatch,
  type ParamWord,
  TEXEL_ROW_BYTES,
  u32,
} from "../../engine/graph/launch.ts";
import { foldGrid, type Target } from "../../engine/graph/target.ts";
import { firstTexel, placeTexels, texelBytesOf } from "../lavapipe/texel_reads.ts";
import { accessBytes, type TableAccess, type TableKernel, wordsPerEntry } from "./kernel.ts";
import { type BoundWindows, tableWgsl, type WindowElement } from "./text.ts";

/**
 * Entries that tables are compiled for: the first that holds a dispatch's, the last at most. Few lengths, since each is a kernel
 * of its own.
 */
const TABLE_LENGTHS = [128, 512];
const LONGEST_TABLE = TABLE_LENGTHS[TABLE_LENGTHS.length - 1];
/**
 * Share of its operands, and most bytes, that one dispatch reads through the scratch texture: large enough that dispatches stay
 * few and copies cheap, small beside the model, since every plan pays for the texture. Where the most would make thousands of
 * dispatches, each with a table of its own, another share: models so large have products that fill the texture.
 */
const TEXEL_SHARE = 1 / 4;
const MOST_TEXEL_BYTES = 8 * 2 ** 20;
const LEAST_TEXEL_BYTES = 2 ** 18;
const LARGE_TEXEL_SHARE = 1 / 1024;

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
 * Dispatches of a table-driven kernel: as few as tables, windows and bindings allow, which for a small model is one.
 *
 * Pieces are taken by the buffers they lie in, in order of their place there, and put into one dispatch as long as each
 * operand's ranges fit one binding window. Operands whose windows overlap (moments stored alternately, say) share a binding, because bindings of
 * one dispatch may not overlap.
 *
 * @param texelBytes What one dispatch may copy into the scratch texture; see `tableTexelBytes`. 0: everything is read where it lies,
 *   as scalars are.
 */
export function tableDispatches(
  kernel: TableKernel,
  pieces: readonly TablePiece[],
  texelBytes: number,
  target: Target,
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
  const copied = kernel.width === 4 ? texelBytes : 0;
  return group(ranged, kernel, copied, target).map((group) => dispatchOf(group, kernel, copied > 0, target));
}

/** Bytes that a dispatch may copy of `bytes` that tables run over, which is 0 where kernels read operands where they lie. */
export function tableTexelBytes(bytes: number, target: Target): number {
  const most = Math.max(MOST_TEXEL_BYTES, bytes * LARGE_TEXEL_SHARE);
  return Math.min(texelBytesOf(target), Math.max(LEAST_TEXEL_BYTES, Math.min(bytes * TEXEL_SHARE, most)));
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

/** Those whose operands lie in the same buffers together, since windows are of one buffer; then in the order of the first operand. */
function byPlace(a: RangedPiece, b: RangedPiece): number {
  const k = a.ranges.findIndex(({ buffer }, k) => buffer !== b.ranges[k].buffer);
  if (k >= 0) return a.ranges[k].buffer - b.ranges[k].buffer;
  return a.ranges.length === 0 ? 0 : a.ranges[0].from - b.ranges[0].from;
}

/** Greedy: a group grows until its table is full or its windows would pass the binding limit. */
function group(
  pieces: readonly RangedPiece[],
  kernel: TableKernel,
  texelBytes: number,
  target: Target,
): RangedPiece[][] {
  const sorted = pieces.toSorted(byPlace);
  const groups: RangedPiece[][] = [];
  let open: RangedPiece[] = [];
  let spans: Range[] | undefined;
  for (const next of sorted) {
    const grown = spans && open.length < LONGEST_TABLE ? spanning(spans, next.ranges) : undefined;
    if (grown && fits(windowsOf(grown, kernel), [...open, next], kernel, texelBytes, target)) {
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

/** Disjoint windows over everything a dispatch touches, and which of them serves each operand and shared value. */
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
  texelBytes: number,
  target: Target,
): boolean {
  if (!windows.every(({ from, to }) => to - from <= target.maxStorageBufferBindingSize)) {
    return false;
  }
  return texelBytes === 0 ||
    texelRanges(pieces, kernel).reduce((sum, { from, to }) => sum + wholeRows(to - from), 0) <= texelBytes;
}

function wholeRows(bytes: number): number {
  return Math.ceil(bytes / TEXEL_ROW_BYTES) * TEXEL_ROW_BYTES;
}

/** Ranges this close are copied together with what lies between them. */
const TEXEL_GAP = 4096;

/** What a dispatch copies into the scratch texture: the operands of its pieces, neighbours as one range, and what all share. */
function texelRanges(pieces: readonly RangedPiece[], { shared }: TableKernel): Range[] {
  const wanted = pieces.flatMap(({ ranges }) => ranges);
  for (const { value: { buffer, byteOffset, byteLength }, often } of shared) {
    if (often) wanted.push({ buffer, from: byteOffset, to: byteOffset + byteLength, element: "vector" });
  }
  wanted.sort((x, y) => x.buffer - y.buffer || x.from - y.from);
  const merged: Range[] = [];
  for (const range of wanted) {
    const last = merged.at(-1);
    if (last && last.buffer === range.buffer && range.from - last.to <= TEXEL_GAP) {
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
  copies: boolean,
  target: Target,
): Dispatch {
  const { operands, shared, width } = kernel;
  const layout = windowsOf(pieces.map(({ ranges }) => ranges).reduce((a, b) => spanning(a, b)!), kernel);
  const { windows, of } = layout;
  const read = copies ? texelRanges(pieces, kernel) : [];
  const texels = placeTexels(
    read.map(({ buffer, from, to }) => ({ buffer, byteOffset: from, byteLength: to - from })),
  );
  /** The texel of a window's first byte, as if all of it were copied: added to a place in it; wraps around below zero. */
  const texelOf = (buffer: number, at: number, window: Range) => {
    const copy = read.findIndex((range) => range.buffer === buffer && range.from <= at && at < range.to);
    return firstTexel(texels, copy, (window.from - read[copy].from) / 16);
  };
  const words = wordsPerEntry(kernel, read.length > 0);
  const length = TABLE_LENGTHS.find((length) => pieces.length <= length)!;
  const table: ParamWord[] = Array(length * words).fill(ZERO);
  let blocks = 0;
  pieces.forEach((piece, i) => {
    const offsets = piece.places.map(({ byteOffset }, k) =>
      u32((byteOffset - windows[of[k]].from) / accessBytes(operands[k].access, width))
    );
    const entry = [u32(blocks), ...piece.fields, ...offsets];
    if (read.length > 0) {
      entry.push(...piece.ranges.map(({ buffer, from }, k) => texelOf(buffer, from, windows[of[k]])));
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
    if (!often || read.length === 0) return [offset];
    const copy = read.findIndex(({ buffer, from, to }) =>
      buffer === value.buffer && from <= value.byteOffset && value.byteOffset < to
    );
    return [offset, firstTexel(texels, copy, (value.byteOffset - read[copy].from) / 16)];
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
      code: tableWgsl(layout, length, read.length > 0, kernel) + kernel.source,
      entryPoint: kernel.name,
      writes: [...new Set(kernel.writes.map((name) => of[names.indexOf(name)]))].sort(),
      workgroupBytes: kernel.workgroupBytes,
    },
    bindings: windows.map(({ buffer, from, to }) => ({ buffer, byteOffset: from, byteLength: to - from })),
    reached,
    ...read.length > 0 && { texels },
    params: header.concat(table),
    workgroups: foldGrid(Math.ceil(blocks / (kernel.blocksPerWorkgroup ?? 1)), target),
  };
}

function alignDown(bytes: number, alignment: number): number {
  return Math.floor(bytes / alignment) * alignment;
}
