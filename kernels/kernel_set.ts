import type { Dispatch } from "../engine/graph/launch.ts";
import type { Target } from "../engine/graph/target.ts";
import type { TileForm } from "./flash/tile.ts";
import type { Part } from "./matmul/parts.ts";
import type { CheckedSpec } from "./matmul/product.ts";
import type { ProductTile } from "./matmul/tile.ts";
import type { RowForm } from "./rows/reduction.ts";
import type { RowTeams } from "./rows/teams.ts";
import type { Scratch } from "./scratch.ts";

/** Kinds of devices that there are kernels for, each with forms of its own: `kernel_sets.ts` has the sets. */
export const KERNEL_KINDS = ["gpu", "software"] as const;
/** One of `KERNEL_KINDS`. */
export type KernelKind = typeof KERNEL_KINDS[number];

/**
 * What lowering knows of the machine: the limits of a device, and the forms of
 * kernels that suit it. An op asks for a product, for rows or for a tile; none
 * asks what it runs on. Chosen once, where the device is opened.
 */
export interface KernelSet {
  readonly kind: KernelKind;
  readonly target: Target;
  /** Copies that kernels read; null where they read everything where it lies. */
  readonly scratch: Scratch | null;
  /** Invocations of workgroups by what they do. */
  readonly workgroups: Workgroups;
  /** Whether a workgroup copies what all of its invocations look up to memory of its own. */
  readonly copiesLookups: boolean;
  /** Whether vectors of f16 are read as words, which are taken apart in registers. */
  readonly readsHalvesAsWords: boolean;
  /** How rows of so many vectors are spread over invocations. */
  rowForm(vectors: number): RowForm;
  /**
   * How invocations share out rows that they add up, column by column.
   *
   * @param alone Lanes of a workgroup that has one team.
   */
  rowTeams(alone: number): RowTeams;
  /**
   * Rows of so many vectors that a block of a table has: more than one where
   * finding it takes as long as a row.
   */
  rowsPerBlock(vectors: number): number;
  readonly products: ProductForms;
  /** Tiles of flash attention for a kernel with so many sums, the best first. */
  flashTiles(headSize: number, sums: number): readonly TileForm[];
}

/** See `KernelSet.workgroups`. */
export interface Workgroups {
  /** Of kernels whose invocations have nothing to do with each other. */
  elementwise: number;
  /** Of rows that are looked up by number; eight at least. */
  gather: number;
  /** Of blocks of tensors that an optimizer updates. */
  block: number;
}

/** How a set multiplies matrices. */
export interface ProductForms {
  /** The dispatches of a whole product, where the set does not do it by parts and tiles. */
  whole(spec: CheckedSpec, part: Part): Dispatch[] | undefined;
  /** The tile that the rules choose for a part. */
  chosen(spec: CheckedSpec, part: Part): ProductTile;
  /**
   * The tiles that can do a part and sum in the same order, from which the clock may choose; in any order.
   */
  tiles(spec: CheckedSpec, part: Part): readonly ProductTile[];
  /** Whether shares of the terms are multiplied side by side where a product has few tiles. */
  readonly splitsTerms: boolean;
}
