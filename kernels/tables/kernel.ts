import type { Located, ParamWord } from "../../engine/graph/launch.ts";

/**
 * How the elements of an operand are reached: as a `vec_t` of f32, as words of 32 bits (codes, four to a
 * word), or as single f32.
 */
export type TableAccess = "vector" | "word" | "scalar";

/** What every piece of a table has a range of. */
export interface TableOperand {
  /** `load_<name>` and `store_<name>` access it. */
  name: string;
  access: TableAccess;
}

/**
 * A value bound beside the operands and accessed in groups of four f32:
 * `load_<name>(i) -> vec4<f32>`, `store_<name>`.
 */
export interface TableShared {
  name: string;
  value: Located;
  /** Whether loads are many: they are then from a copy, where the set has copies. */
  often?: boolean;
}

/** A kernel that runs over many pieces of tensors at once, wherever they lie. */
export interface TableKernel {
  /** Name for profiles and of the entry point. */
  name: string;
  /** WGSL that works on blocks; see `tableWgsl` of text.ts for what it can use. */
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
 * Words of an entry: its first block and own fields, each operand's place, and,
 * where they are copied, its copy's.
 */
export function wordsPerEntry({ fields, operands }: TableKernel, copied: boolean): number {
  return Math.ceil((1 + fields.length + operands.length * (copied ? 2 : 1)) / 4) * 4;
}
