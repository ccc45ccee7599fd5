import {
  type Binding,
  BINDING_ALIGNMENT,
  type Dispatch,
  type Located,
  type ParamWord,
  TEXEL_ROW_BYTES,
  u32,
} from "../../engine/graph/launch.ts";
import { foldGrid, type Target } from "../../engine/graph/target.ts";
import { firstTexel, placeTexels, TEXEL_LOAD_WGSL, texelBytesOf } from "../lavapipe/texel_reads.ts";
import { vectorWgsl } from "../rows/reduction.ts";

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

/**
 * How the elements of an operand are reached: as a `vec_t` of f32, as words of 32 bits (codes, four to a word), or as single f32.
 */
export type TableAccess = "vector" | "word" | "scalar";

/** What every piece of a table has a range of. */
export interface TableOperand {
  /** `load_<name>` and `store_<name>` access it. */
  name: string;
  access: TableAccess;
}

/** A value bound beside the operands and accessed in groups of four f32: `load_<name>(i) -> vec4<f32>`, `store_<name>`. */
export interface TableShared {
  name: string;
  value: Located;
  /** Whether loads are many: they then go through the scratch texture where that is faster. */
  often?: boolean;
}

/** A run of work on one tensor. */
export interface TablePiece {
  /** Its blocks are numbered through all pieces of a dispatch. */
  blocks: number;
  /** Its own fields, in the order of `TableKernel.fields`. */
  fields: readonly ParamWord[];
  /** Where each operand's elements of the piece lie; byte offsets are multiples of what one access takes. */
  places: readonly Binding[];
}

/** A kernel that runs over many pieces of tensors at once, wherever they lie. */
export interface TableKernel {
  /** Name for profiles and of the entry point. */
  name: string;
  /** WGSL that works on blocks; see `tableWgsl` for what it can use. */
  source: string;
  /** Elements of a `vec_t`. */
  width: 1 | 4;
  operands: readonly TableOperand[];
  /** Names of a piece's own fields, all u32. */
  fields: readonly string[];
  shared: readonly TableShared[];
  /** Names of the operands and shared values that it stores. */
  writes: readonly string[];
  /** Workgroup memory of the source, bytes; default none. */
  workgroupBytes?: number;
  /** Name and word of further fields of `params`. */
  params?: readonly (readonly [string, ParamWord])[];
  /** A field of `params` with numbers to look up, an array of `vec4<f32>`. */
  constants?: { name: string; words: readonly ParamWord[] };
  /** Blocks that one workgroup takes; default 1. */
  blocksPerWorkgroup?: number;
}

/** Bytes of one access. */
export function accessBytes(access: TableAccess, width: 1 | 4): number {
  return access === "vector" ? 4 * width : 4;
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

/** What a binding is an array of. */
type Element = "vector" | "word";

function elementOf(access: TableAccess): Element {
  return access === "scalar" ? "word" : access;
}

/** Bytes `from … to − 1` of a buffer. */
interface Range {
  buffer: number;
  from: number;
  to: number;
  element: Element;
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
interface Windows {
  windows: Range[];
  /** Window by operand, then by shared value. */
  of: number[];
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

/** Words of an entry: its first block and own fields, each operand's place, and, where they are copied, its texel. */
function wordsPerEntry({ fields, operands }: TableKernel, texels: boolean): number {
  return Math.ceil((1 + fields.length + operands.length * (texels ? 2 : 1)) / 4) * 4;
}

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

/** WGSL of the accesses to one operand; see `tableWgsl`. */
function operandWgsl(
  { name, access }: TableOperand,
  window: string,
  element: Element,
  { width, copied }: { width: 1 | 4; copied: boolean },
): string {
  const each = [0, 1, 2, 3];
  const texel = copied ? `texel_of_${name}` : undefined;
  const declared = texel ? `var<private> ${texel}: u32;` : "";
  if (access === "word" || access === "scalar") {
    const one = texel ? `texel(${texel} + at / 4u)[at % 4u]` : `${window}[at]`;
    const type = access === "word" ? "u32" : "f32";
    const cast = access === "word" ? "" : "bitcast<f32>";
    return `${declared}
fn load_${name}(at: u32) -> ${type} { return ${cast}(${one}); }
fn store_${name}(at: u32, v: ${type}) { ${window}[at] = ${access === "word" ? "v" : "bitcast<u32>(v)"}; }`;
  }
  const narrow = element === "word" && width === 4;
  const bits = texel
    ? `texel(${texel} + at)`
    : narrow
    ? `vec4<u32>(${each.map((c) => `${window}[4u * at + ${c}u]`).join(", ")})`
    : `${window}[at]`;
  const store = narrow
    ? `let b = bitcast<vec4<u32>>(v); ${each.map((c) => `${window}[4u * at + ${c}u] = b[${c}];`).join(" ")}`
    : `${window}[at] = bitcast<index_t>(v);`;
  return `${declared}
fn bits_${name}(at: u32) -> index_t { return ${bits}; }
fn load_${name}(at: u32) -> vec_t { return bitcast<vec_t>(bits_${name}(at)); }
fn store_${name}(at: u32, v: vec_t) { ${store} }`;
}

/** WGSL of the accesses to one shared value; see `tableWgsl`. */
function sharedWgsl({ name }: TableShared, window: string, words: boolean, texel: boolean): string {
  const at = `(params.${name}_offset + i)`;
  const each = [0, 1, 2, 3];
  const load = texel
    ? `texel(params.${name}_texel + i)`
    : words
    ? `vec4<u32>(${each.map((c) => `${window}[4u * ${at} + ${c}u]`).join(", ")})`
    : `${window}[${at}]`;
  const store = words
    ? each.map((c) => `${window}[4u * ${at} + ${c}u] = bitcast<u32>(v[${c}]);`).join(" ")
    : `${window}[${at}] = bitcast<vec4<u32>>(v);`;
  return `fn load_${name}(i: u32) -> vec4<f32> { return bitcast<vec4<f32>>(${load}); }
fn store_${name}(i: u32, v: vec4<f32>) { ${store} }`;
}

/**
 * WGSL that a table-driven kernel builds on, in the scalar or the vector form (`vec_t`, `index_t`, …):
 *
 * - `params.blocks`: blocks of the dispatch.
 * - `block_at(number) -> Block`: the `index` of the block in its piece, the piece's own fields, and where each operand of the piece
 *   starts.
 * - of operands accessed as vectors `load_<operand>(at)`, `store_<operand>(at, v)`: the vector at `block.<operand> + i` as
 *   `vec_t`; `bits_<operand>(at)` its bits. Windows of f32 are bound as u32, because only bits tell a NaN from a number in WGSL.
 * - of operands accessed as words or scalars `load_<operand>(at)`, `store_<operand>(at, v)`: one `u32` or `f32`.
 * - `load_<shared>(i)`, `store_<shared>(i, v)`: elements 4·i … 4·i + 3 as `vec4<f32>`.
 *
 * Loads give what was there before the dispatch, or what it has stored: a kernel must not load what it stores.
 */
function tableWgsl(
  { windows, of }: Windows,
  length: number,
  texels: boolean,
  kernel: TableKernel,
): string {
  const { width, operands, shared, fields } = kernel;
  const vectorsPerEntry = wordsPerEntry(kernel, texels) / 4;
  const entryWord = (index: number) =>
    `params.table[${vectorsPerEntry}u * low + ${index >> 2}u].${"xyzw"[index & 3]}`;
  const [firstOperand, firstTexelWord] = [1 + fields.length, 1 + fields.length + operands.length];
  const elementType = (element: Element) => element === "word" ? "u32" : "index_t";
  return `${vectorWgsl(width, {})}
struct Params {
  entries: u32,
  blocks: u32,
${
    shared.map(({ name, often }) => `  ${name}_offset: u32,${often && texels ? ` ${name}_texel: u32,` : ""}`)
      .join("\n")
  }
${(kernel.params ?? []).map(([name, { kind }]) => `  ${name}: ${kind},`).join("\n")}
${
    kernel.constants
      ? `  ${kernel.constants.name}: array<vec4<f32>, ${kernel.constants.words.length / 4}>,`
      : ""
  }
  table: array<vec4<u32>, ${length * vectorsPerEntry}>,
}
@group(1) @binding(0) var<uniform> params: Params;
${
    windows.map(({ element }, k) =>
      `@group(0) @binding(${k}) var<storage, read_write> window${k}: array<${elementType(element)}>;`
    ).join("\n")
  }
${texels ? TEXEL_LOAD_WGSL : ""}
struct Block {
  index: u32,
${[...fields, ...operands.map(({ name }) => name)].map((name) => `  ${name}: u32,`).join("\n")}
}
fn block_at(number: u32) -> Block {
  // The last entry that starts at or before the block.
  var low = 0u;
  var high = params.entries;
  while (high - low > 1u) {
    let middle = (low + high) / 2u;
    if (params.table[${vectorsPerEntry}u * middle].x <= number) { low = middle; } else { high = middle; }
  }
${
    operands.map(({ name }, k) => texels ? `  texel_of_${name} = ${entryWord(firstTexelWord + k)};` : "")
      .join("\n")
  }
  return Block(number - ${entryWord(0)}, ${
    [...fields.map((_, k) => entryWord(1 + k)), ...operands.map((_, k) => entryWord(firstOperand + k))]
      .join(", ")
  });
}
${
    operands.map((operand, k) =>
      operandWgsl(operand, `window${of[k]}`, windows[of[k]].element, { width, copied: texels })
    ).join("\n")
  }
${
    shared.map((one, k) => {
      const window = of[operands.length + k];
      const words = width === 1 || windows[window].element === "word";
      return sharedWgsl(one, `window${window}`, words, texels && one.often === true);
    }).join("\n")
  }
`;
}

function alignDown(bytes: number, alignment: number): number {
  return Math.floor(bytes / alignment) * alignment;
}
