import type { CheckedSpec, MatmulForm, MatmulRole, Width } from "./product.ts";
import type { Triangle } from "./triangle.ts";

/**
 * How kernels of one kind compute an output tile of a product: all that the rest of a product asks of them.
 */
export interface ProductTile {
  /** Says what it is, for choices that are kept: kind, rows × columns, and what else tells it from others. */
  readonly name: string;
  /** All that the text of its kernels depends on, but for form and triangle: texts are kept by it. */
  readonly numbers: unknown;
  /** Extents of the output tile. */
  readonly rows: number;
  readonly columns: number;
  /** Terms that one step of the main loop takes. */
  readonly step: number;
  /** Teams that share out the terms, which decides the order of sums. */
  readonly split: number;
  /** Lanes of a subgroup that hold the values of NF4 between them; 0 reads them from the tables. */
  readonly codeLanes: number;
  /** Whether operands of halves are bound as words of 32 bits. */
  readonly halvesAsWords: boolean;
  /** Whether its loop may step by single terms, which compiles in a fourth of the time. */
  readonly stepsSingly: boolean;
  /** Whether it leaves out the triangle of a matrix that does not matter. */
  readonly leavesOutTriangles: boolean;
  /**
   * Elements that one load may take of a role.
   *
   * @param binding Whether the role's binding holds codes of B, or operands alone.
   */
  widest(spec: CheckedSpec, role: MatmulRole, binding: { codes: boolean; operandsOnly: boolean }): Width;
  /** Whether it can do with whole vectors of a role's padded rows. */
  readsPadding(role: MatmulRole): boolean;
  /** Workgroup memory that a product of this form takes, bytes. */
  workgroupBytes(form: MatmulForm): number;
  /** The kernel, whose entry point is `matmul`. */
  code(form: MatmulForm, triangle: Triangle): string;
}

/** What a product asks of a tile before it knows where operands are bound. */
export type TileLoads = Pick<
  ProductTile,
  "step" | "codeLanes" | "halvesAsWords" | "stepsSingly" | "widest" | "readsPadding"
>;
