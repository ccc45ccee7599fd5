import {
  BINDING_ALIGNMENT,
  type Dispatch,
  foldGrid,
  type Located,
  type ParamWord,
  type Target,
  TEXEL_ROW_BYTES,
  u32,
} from "../engine/graph/op.ts";
import { DTYPE_BYTES, elementCount } from "../engine/graph/types.ts";
import { firstTexel, placeTexels, TEXEL_LOAD_WGSL, texelBytesOf } from "./texel_reads.ts";
import { vectorWgsl } from "./row_kernel.ts";

/** Entries a table holds; its kernels are compiled for this many, whatever a dispatch needs. */
const TABLE_CAPACITY = 128;
/**
 * Share of its operands, and most bytes, that one dispatch reads through the scratch texture: large enough that dispatches stay
 * few and copies cheap, small beside the model, since every plan pays for the texture. Where the most would make thousands of
 * dispatches, each with a table of its own, another share: models so large have products that fill the texture.
 */
const TEXEL_SHARE = 1 / 4;
const MOST_TEXEL_BYTES = 4 * 2 ** 20;
const LEAST_TEXEL_BYTES = 2 ** 18;
const LARGE_TEXEL_SHARE = 1 / 1024;
/** Tensors one entry can name at most. */
const MAX_OPERANDS = 5;

/** The operands that belong to one tensor of a model (its weights, gradient, moments), and a word of its own. */
export interface TableTensor {
  /** One value per operand name of the spec, all with the same element count. */
  values: readonly Located[];
  word?: ParamWord;
  /** Number of the tensor's first block, for kernels that write something per block. */
  firstSlot?: number;
}

/** A kernel that runs over many tensors at once, wherever they lie. */
export interface TableSpec {
  /** Name for profiles and of the entry point. */
  name: string;
  /** WGSL that works on blocks; see `tableWgsl` for what it can use. */
  source: string;
  /** Names of the operands of a tensor; `load_<name>` and `store_<name>` access them. */
  operands: readonly string[];
  tensors: readonly TableTensor[];
  /** Values bound beside the tensors and accessed in groups of four elements: `load_<name>(i) -> vec4<f32>`, `store_<name>`. */
  shared: readonly { name: string; value: Located }[];
  /** Vectors of four elements in a block. */
  vectorsPerBlock: number;
  /** Blocks that one workgroup takes; default 1. */
  blocksPerWorkgroup?: number;
  /** Name and word of further fields of `params`. */
  fields?: readonly (readonly [string, ParamWord])[];
}

/**
 * Dispatches of a table-driven kernel: as few as tables, windows and bindings allow, which for a small model is one.
 *
 * Tensors are taken by the buffers they lie in, in order of their place there, and put into one dispatch as long as each
 * operand's tensors fit one binding window. Operands whose windows overlap (moments stored alternately, say) share a binding, because bindings of
 * one dispatch may not overlap. Tensors larger than a window are split between blocks. The one to three elements left over
 * where a tensor is no whole number of vectors go to a dispatch of the scalar form of the kernel.
 */
export function tableCommands(spec: TableSpec, target: Target): Dispatch[] {
  const vector = { ...target, texelBytes: mostTexelBytes(spec, target) };
  const whole = spec.tensors.flatMap((tensor) => vectorPieces(tensor, spec, vector));
  const tails = spec.tensors.flatMap((tensor) => tailPiece(tensor, spec));
  // Scalars are few: they are read from where they lie.
  const scalar = { ...target, texelBytes: 0 };
  return [
    ...group(whole, spec, vector).map((pieces) => dispatchOf(pieces, 4, spec, vector)),
    ...group(tails, spec, scalar).map((pieces) => dispatchOf(pieces, 1, spec, scalar)),
  ];
}

/** Blocks that `elements` elements make, the scalar rest included; a property of the tensor, not of its place. */
export function blockCount(elements: number, vectorsPerBlock: number): number {
  return Math.ceil(Math.floor(elements / 4) / vectorsPerBlock) + (elements % 4 === 0 ? 0 : 1);
}

/** A run of elements of one tensor. */
interface Piece {
  tensor: TableTensor;
  first: number;
  count: number;
  slot: number;
  /** Bytes of each operand. */
  ranges: Range[];
}

/** Bytes `from … to − 1` of a buffer, accessed as one element type. */
interface Range {
  buffer: number;
  from: number;
  to: number;
  half: boolean;
}

function vectorPieces(tensor: TableTensor, spec: TableSpec, target: Target): Piece[] {
  const { vectorsPerBlock } = spec;
  const elements = Math.floor(elementCount(tensor.values[0]) / 4) * 4;
  const perBlock = vectorsPerBlock * 4;
  const texelBytes = texelBytesOf(target);
  const mostBytes = texelBytes > 0
    ? Math.min(target.maxStorageBufferBindingSize, texelBytes / tensor.values.length)
    : target.maxStorageBufferBindingSize;
  const perPiece = Math.floor(mostBytes / 4 / perBlock) * perBlock;
  if (perPiece === 0) {
    throw new RangeError(
      `Cannot bind a block of ${
        perBlock * 4
      } bytes: maxStorageBufferBindingSize is ${target.maxStorageBufferBindingSize}`,
    );
  }
  const pieces = [];
  for (let first = 0; first < elements; first += perPiece) {
    pieces.push(piece(tensor, first, Math.min(perPiece, elements - first), first / perBlock));
  }
  return pieces;
}

function tailPiece(tensor: TableTensor, { vectorsPerBlock }: TableSpec): Piece[] {
  const elements = elementCount(tensor.values[0]);
  const rest = elements % 4;
  return rest === 0 ? [] : [piece(tensor, elements - rest, rest, blockCount(elements, vectorsPerBlock) - 1)];
}

function piece(tensor: TableTensor, first: number, count: number, block: number): Piece {
  const ranges = tensor.values.map(({ buffer, byteOffset, dtype }) => ({
    buffer,
    from: alignDown(byteOffset + first * DTYPE_BYTES[dtype], BINDING_ALIGNMENT),
    to: Math.ceil((byteOffset + (first + count) * DTYPE_BYTES[dtype]) / 4) * 4,
    half: dtype === "f16",
  }));
  return { tensor, first, count, slot: (tensor.firstSlot ?? 0) + block, ranges };
}

/** Those whose operands lie in the same buffers together, since windows are of one buffer; then in the order of the first operand. */
function byPlace(a: Piece, b: Piece): number {
  const k = a.ranges.findIndex(({ buffer }, k) => buffer !== b.ranges[k].buffer);
  return k < 0 ? a.ranges[0].from - b.ranges[0].from : a.ranges[k].buffer - b.ranges[k].buffer;
}

/** Greedy: a group grows until its table is full or its windows would pass the binding limit. */
function group(pieces: Piece[], spec: TableSpec, target: Target): Piece[][] {
  const sorted = pieces.toSorted(byPlace);
  const groups: Piece[][] = [];
  let open: Piece[] = [];
  let spans: Range[] | undefined;
  for (const next of sorted) {
    const grown = spans && open.length < TABLE_CAPACITY ? spanning(spans, next.ranges) : undefined;
    if (grown && fits(windowsOf(grown, spec), [...open, next], target)) {
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

function windowsOf(spans: readonly Range[], { shared }: TableSpec): Windows | undefined {
  const wanted = [
    ...spans,
    ...shared.map(({ value: { buffer, byteOffset, byteLength } }) => ({
      buffer,
      from: byteOffset,
      to: byteOffset + byteLength,
      half: false,
    })),
  ];
  const windows: Range[] = [];
  for (
    const { buffer, from, to, half } of wanted.toSorted((a, b) => a.buffer - b.buffer || a.from - b.from)
  ) {
    const last = windows.at(-1);
    if (!last || last.buffer !== buffer || from >= last.to) windows.push({ buffer, from, to, half });
    // One binding has one element type, so f32 and f16 that alternate in memory need dispatches of their own.
    else if (last.half !== half) return undefined;
    else last.to = Math.max(last.to, to);
  }
  return {
    windows,
    of: wanted.map(({ buffer, from }) =>
      windows.findIndex((window) => window.buffer === buffer && window.from <= from && from < window.to)
    ),
  };
}

function fits(windows: Windows | undefined, pieces: readonly Piece[], target: Target): boolean {
  return windows !== undefined &&
    windows.windows.every(({ from, to }) => to - from <= target.maxStorageBufferBindingSize) &&
    texelRanges(pieces, target).reduce((sum, { from, to }) => sum + wholeRows(to - from), 0) <=
      texelBytesOf(target);
}

function wholeRows(bytes: number): number {
  return Math.ceil(bytes / TEXEL_ROW_BYTES) * TEXEL_ROW_BYTES;
}

/** Ranges this close are copied together with what lies between them. */
const TEXEL_GAP = 4096;

/** What a dispatch copies into the scratch texture: the operands of its pieces, neighbours as one range. */
function texelRanges(pieces: readonly Piece[], target: Target): Range[] {
  if (texelBytesOf(target) === 0) return [];
  // Halves are only ever written.
  const sorted = pieces.flatMap(({ ranges }) => ranges.filter(({ half }) => !half))
    .sort((x, y) => x.buffer - y.buffer || x.from - y.from);
  const merged: Range[] = [];
  for (const range of sorted) {
    const last = merged.at(-1);
    if (last && last.buffer === range.buffer && range.from - last.to <= TEXEL_GAP) {
      last.to = Math.max(last.to, range.to);
    } else merged.push({ ...range });
  }
  return merged;
}

/** Bytes that a dispatch may copy, which is 0 where it reads operands where they lie. */
function mostTexelBytes({ tensors }: TableSpec, target: Target): number {
  const bytes = tensors.reduce(
    (sum, { values }) => values.reduce((sum, { byteLength }) => sum + byteLength, sum),
    0,
  );
  const most = Math.max(MOST_TEXEL_BYTES, bytes * LARGE_TEXEL_SHARE);
  return Math.min(texelBytesOf(target), Math.max(LEAST_TEXEL_BYTES, Math.min(bytes * TEXEL_SHARE, most)));
}

/** What fills tables up: one word for all of them, since a large model's have millions. */
const ZERO = u32(0);

function dispatchOf(pieces: Piece[], width: 1 | 4, spec: TableSpec, target: Target): Dispatch {
  const layout = windowsOf(pieces.map(({ ranges }) => ranges).reduce((a, b) => spanning(a, b)!), spec)!;
  const { windows, of } = layout;
  const read = texelRanges(pieces, target);
  const texels = placeTexels(
    read.map(({ buffer, from, to }) => ({ buffer, byteOffset: from, byteLength: to - from })),
  );
  const words = WORDS_PER_ENTRY * (read.length > 0 ? 2 : 1);
  const table: ParamWord[] = Array(TABLE_CAPACITY * words).fill(ZERO);
  const write = (at: number, entry: readonly ParamWord[]) => entry.forEach((word, k) => table[at + k] = word);
  let blocks = 0;
  pieces.forEach(({ tensor, first, count, slot, ranges }, i) => {
    const offsets = tensor.values.map(({ byteOffset, dtype }, k) =>
      ((byteOffset - windows[of[k]].from) / DTYPE_BYTES[dtype] + first) / width
    );
    write(i * words, [u32(blocks), u32(count / width), tensor.word ?? u32(slot), ...offsets.map(u32)]);
    if (read.length > 0) {
      const toTexels = ranges.map(({ buffer, from, half }, k) => {
        const at = half
          ? -1
          : read.findIndex((range) => range.buffer === buffer && range.from <= from && from < range.to);
        // Added to a place in the window; wraps around below zero.
        return at < 0 ? ZERO : firstTexel(texels, at, (windows[of[k]].from - read[at].from) / 16);
      });
      write(i * words + WORDS_PER_ENTRY, toTexels);
    }
    blocks += Math.ceil(count / width / spec.vectorsPerBlock);
  });
  const sharedOffsets = spec.shared.map(({ value }, k) =>
    u32((value.byteOffset - windows[of[spec.operands.length + k]].from) / 16)
  );
  const header = [
    u32(pieces.length),
    u32(blocks),
    ...sharedOffsets,
    ...(spec.fields ?? []).map(([, word]) => word),
  ];
  while (header.length % 4 !== 0) header.push(ZERO); // where WGSL aligns the array of vec4 that follows
  return {
    kernel: {
      name: spec.name,
      code: tableWgsl(layout, width, read.length > 0, spec) + spec.source,
      entryPoint: spec.name,
    },
    bindings: windows.map(({ buffer, from, to }) => ({ buffer, byteOffset: from, byteLength: to - from })),
    ...read.length > 0 && { texels },
    params: header.concat(table),
    workgroups: foldGrid(Math.ceil(blocks / (spec.blocksPerWorkgroup ?? 1)), target),
  };
}

/**
 * Per entry: first block, vectors, the tensor's word, then the offset of each operand in its window. Where operands are read
 * from the scratch texture as many words again, which begin with what is added to an offset to find the texel.
 */
const WORDS_PER_ENTRY = 3 + MAX_OPERANDS;

/**
 * WGSL that a table-driven kernel builds on, in the scalar or the vector form (`vec_t`, `index_t`, …):
 *
 * - `params.blocks`: blocks of the dispatch; `BLOCK`: vectors in each.
 * - `block_at(number) -> Block`: the block's vectors `first … end − 1` of a piece, the tensor's own `word` (without one, the
 *   slot of the piece's first block), `index` of the block in its piece, and where each operand of the piece starts.
 * - `load_<operand>(at)`, `store_<operand>(at, v)`: the vector at `block.<operand> + i` as `vec_t`; `bits_<operand>(at)` its
 *   bits. Windows of f32 are bound as u32, because only bits tell a NaN from a number in WGSL.
 * - `load_<shared>(i)`, `store_<shared>(i, v)`: elements 4·i … 4·i + 3 as `vec4<f32>`.
 */
function tableWgsl({ windows, of }: Windows, width: 1 | 4, texels: boolean, spec: TableSpec): string {
  const vectorsPerEntry = (WORDS_PER_ENTRY / 4) * (texels ? 2 : 1);
  const entryWord = (index: number) =>
    `params.table[${vectorsPerEntry}u * low + ${index >> 2}u].${"xyzw"[index & 3]}`;
  const operands = spec.operands.map((name, k) => {
    const window = `window${of[k]}`;
    if (texels && !windows[of[k]].half) {
      return `var<private> texel_of_${name}: u32;
fn bits_${name}(at: u32) -> index_t { return texel(texel_of_${name} + at); }
fn load_${name}(at: u32) -> vec_t { return bitcast<vec_t>(bits_${name}(at)); }
fn store_${name}(at: u32, v: vec_t) { ${window}[at] = bitcast<index_t>(v); }`;
    }
    return windows[of[k]].half
      ? `fn load_${name}(at: u32) -> vec_t { return vec_t(${window}[at]); }
fn store_${name}(at: u32, v: vec_t) { ${window}[at] = half_t(v); }`
      : `fn load_${name}(at: u32) -> vec_t { return bitcast<vec_t>(${window}[at]); }
fn store_${name}(at: u32, v: vec_t) { ${window}[at] = bitcast<index_t>(v); }
fn bits_${name}(at: u32) -> index_t { return ${window}[at]; }`;
  });
  const shared = spec.shared.map(({ name }, k) => {
    const window = `window${of[spec.operands.length + k]}`;
    const at = `(params.${name}_offset + i)`;
    const each = [0, 1, 2, 3];
    return width === 4
      ? `fn load_${name}(i: u32) -> vec4<f32> { return bitcast<vec4<f32>>(${window}[${at}]); }
fn store_${name}(i: u32, v: vec4<f32>) { ${window}[${at}] = bitcast<vec4<u32>>(v); }`
      : `fn load_${name}(i: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(vec4<u32>(${each.map((c) => `${window}[4u * ${at} + ${c}u]`).join(", ")}));
}
fn store_${name}(i: u32, v: vec4<f32>) {
  ${each.map((c) => `${window}[4u * ${at} + ${c}u] = bitcast<u32>(v[${c}]);`).join(" ")}
}`;
  });
  return `${vectorWgsl(width, windows.some(({ half }) => half) ? { half: "f16" } : {})}
const BLOCK: u32 = ${spec.vectorsPerBlock}u;
struct Params {
  entries: u32,
  blocks: u32,
${spec.shared.map(({ name }) => `  ${name}_offset: u32,`).join("\n")}
${(spec.fields ?? []).map(([name, { kind }]) => `  ${name}: ${kind},`).join("\n")}
  table: array<vec4<u32>, ${TABLE_CAPACITY * vectorsPerEntry}>,
}
@group(1) @binding(0) var<uniform> params: Params;
${
    windows.map(({ half }, k) =>
      `@group(0) @binding(${k}) var<storage, read_write> window${k}: array<${half ? "half_t" : "index_t"}>;`
    ).join("\n")
  }
${texels ? TEXEL_LOAD_WGSL : ""}
struct Block {
  first: u32,
  end: u32,
  index: u32,
  word: u32,
${spec.operands.map((name) => `  ${name}: u32,`).join("\n")}
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
    texels
      ? spec.operands.map((name, k) =>
        windows[of[k]].half ? "" : `  texel_of_${name} = ${entryWord(WORDS_PER_ENTRY + k)};`
      ).join("\n")
      : ""
  }
  let index = number - ${entryWord(0)};
  let first = index * BLOCK;
  return Block(first, min(first + BLOCK, ${entryWord(1)}), index, ${entryWord(2)}, ${
    spec.operands.map((_, k) => entryWord(3 + k)).join(", ")
  });
}
${[...operands, ...shared].join("\n")}
`;
}

function alignDown(bytes: number, alignment: number): number {
  return Math.floor(bytes / alignment) * alignment;
}
