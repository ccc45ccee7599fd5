import type { Shape } from "../engine/graph/types.ts";
import { rowVectorWidth } from "./rows/reduction.ts";

/**
 * Rows whose column sums are added up together. A property of the matrix alone, because it fixes the order of
 * summation: about a thirty-second of the rows, a power of two.
 */
export function rowsPerSlab(rows: number): number {
  let perSlab = 32;
  while (perSlab < 256 && perSlab * 32 < rows) perSlab *= 2;
  return perSlab;
}

/** Where a matrix has its scratch, in vectors of four from the first of its batch on; see adafactor.wgsl. */
export interface Scratch {
  slots: number;
  partials: number;
  roots: number;
  scalars: number;
  /** After the last. */
  end: number;
}

export function scratchOf([rows, columns]: Shape, first: number): Scratch {
  const vectors = columns / rowVectorWidth(columns);
  const partials = first + rows;
  const roots = partials + Math.ceil(rows / rowsPerSlab(rows)) * vectors;
  const scalars = roots + vectors;
  return { slots: first, partials, roots, scalars, end: scalars + 1 };
}

/**
 * Scratch memory that matrices updated together take, as a share of the weights and at least: an optimizer
 * that saves memory must not ask for much.
 */
const SCRATCH_SHARE = 1 / 100;
const LEAST_SCRATCH_VECTORS = 2 ** 16;

/** Vectors of scratch that a batch of these matrices may take, if it has more than one. */
export function scratchBudget(matrices: readonly Shape[]): number {
  const elements = matrices.reduce((sum, [rows, columns]) => sum + rows * columns, 0);
  return Math.max(LEAST_SCRATCH_VECTORS, Math.floor(elements * SCRATCH_SHARE / 4));
}

/** Vectors of scratch for all batches, which have it one after the other. */
export function scratchVectors(matrices: readonly Shape[]): number {
  const each = matrices.map((shape) => scratchOf(shape, 0).end);
  const all = each.reduce((sum, vectors) => sum + vectors, 0);
  return Math.max(1, Math.min(all, Math.max(scratchBudget(matrices), ...each)));
}
