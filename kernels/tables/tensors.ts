import { type Binding, type Dispatch, type Located, type ParamWord, u32 } from "../../engine/graph/launch.ts";
import type { Target } from "../../engine/graph/target.ts";
import { DTYPE_BYTES, elementCount } from "../../engine/graph/types.ts";
import type { KernelSet } from "../kernel_set.ts";
import { tableDispatches, type TablePiece } from "./dispatch.ts";
import type { TableKernel, TableShared } from "./kernel.ts";

/**
 * The operands that belong to one tensor of a model (its weights, gradient, moments), and a word of its own.
 */
export interface TableTensor {
  /** One value per operand name of the spec, all with the same element count. */
  values: readonly Located[];
  word?: ParamWord;
  /** Number of the tensor's first block, for kernels that write something per block. */
  firstSlot?: number;
}

/** A kernel that runs element by element over many tensors at once, wherever they lie. */
export interface TableSpec {
  /** Name for profiles and of the entry point. */
  name: string;
  /** WGSL that works on blocks; see `tableCommands` for what it can use. */
  source: string;
  /** Names of the operands of a tensor; `load_<name>` and `store_<name>` access them. */
  operands: readonly string[];
  tensors: readonly TableTensor[];
  shared: readonly TableShared[];
  /** Names of the operands and shared values that it stores. */
  writes: readonly string[];
  /** Workgroup memory of the source, bytes; default none. */
  workgroupBytes?: number;
  /** Vectors of four elements in a block. */
  vectorsPerBlock: number;
  /** Blocks that one workgroup takes; default 1. */
  blocksPerWorkgroup?: number;
  /** Name and word of further fields of `params`. */
  params?: TableKernel["params"];
}

/**
 * Dispatches of a kernel over tensors: as few as tables, windows and bindings allow, which for a small model
 * is one. Tensors larger than a window are split between blocks. The one to three elements left over where a
 * tensor is no whole number of vectors go to a dispatch of the scalar form of the kernel.
 *
 * Beside what `tableWgsl` of `tables/text.ts` tells, kernels have `first_of(block)` and `end_of(block)`, the
 * block's vectors `first … end − 1` of its piece, and `block.word`, the tensor's own (without one, the slot
 * of the piece's first block).
 */
export function tableCommands(spec: TableSpec, kernels: KernelSet): Dispatch[] {
  const bytes = spec.tensors.reduce(
    (sum, { values }) => values.reduce((sum, { byteLength }) => sum + byteLength, sum),
    0,
  );
  const copyBytes = kernels.scratch?.tableBytes(bytes) ?? 0;
  const kernel = (width: 1 | 4): TableKernel => ({
    ...spec,
    width,
    operands: spec.operands.map((name) => ({ name, access: "vector" })),
    fields: ["vectors", "word"],
    source: `const BLOCK: u32 = ${spec.vectorsPerBlock}u;
fn first_of(block: Block) -> u32 { return block.index * BLOCK; }
fn end_of(block: Block) -> u32 { return min(first_of(block) + BLOCK, block.vectors); }
${spec.source}`,
  });
  if (spec.tensors.length === 0) return [];
  const whole = spec.tensors.flatMap((tensor) => vectorPieces(tensor, spec, copyBytes, kernels.target));
  const tails = spec.tensors.flatMap((tensor) => tailPiece(tensor, spec));
  return [
    ...tableDispatches(kernel(4), whole, copyBytes, kernels),
    // Scalars are few: they are read from where they lie.
    ...tableDispatches(kernel(1), tails, 0, kernels),
  ];
}

/**
 * Blocks that `elements` elements make, the scalar rest included; a property of the tensor, not of its place.
 */
export function blockCount(elements: number, vectorsPerBlock: number): number {
  return Math.ceil(Math.floor(elements / 4) / vectorsPerBlock) + (elements % 4 === 0 ? 0 : 1);
}

function vectorPieces(
  tensor: TableTensor,
  { vectorsPerBlock }: TableSpec,
  copyBytes: number,
  { maxStorageBufferBindingSize }: Target,
): TablePiece[] {
  const elements = Math.floor(elementCount(tensor.values[0]) / 4) * 4;
  const perBlock = vectorsPerBlock * 4;
  const mostBytes = copyBytes > 0
    ? Math.min(maxStorageBufferBindingSize, copyBytes / tensor.values.length)
    : maxStorageBufferBindingSize;
  const perPiece = Math.floor(mostBytes / 4 / perBlock) * perBlock;
  if (perPiece === 0) {
    throw new RangeError(
      `Cannot bind a block of ${
        perBlock * 4
      } bytes: maxStorageBufferBindingSize is ${maxStorageBufferBindingSize}`,
    );
  }
  const pieces = [];
  for (let first = 0; first < elements; first += perPiece) {
    pieces.push(piece(tensor, first, Math.min(perPiece, elements - first), 4, vectorsPerBlock));
  }
  return pieces;
}

function tailPiece(tensor: TableTensor, { vectorsPerBlock }: TableSpec): TablePiece[] {
  const elements = elementCount(tensor.values[0]);
  const rest = elements % 4;
  return rest === 0 ? [] : [piece(tensor, elements - rest, rest, 1, vectorsPerBlock)];
}

/** Elements `first … first + count − 1` of a tensor. */
function piece(
  { values, word, firstSlot = 0 }: TableTensor,
  first: number,
  count: number,
  width: 1 | 4,
  vectorsPerBlock: number,
): TablePiece {
  const slot = firstSlot +
    (width === 4 ? first / 4 / vectorsPerBlock : blockCount(first + count, vectorsPerBlock) - 1);
  return {
    blocks: Math.ceil(count / width / vectorsPerBlock),
    fields: [u32(count / width), word ?? u32(slot)],
    places: values.map(({ buffer, byteOffset, dtype }): Binding => ({
      buffer,
      byteOffset: byteOffset + first * DTYPE_BYTES[dtype],
      byteLength: count * DTYPE_BYTES[dtype],
    })),
  };
}
