import type { Command, Located, Target } from "../engine/graph/op.ts";

/** One operand of a batched, strided product: element (i, j) of batch z lies at offset + z·strides + i·ld + j. */
export interface MatmulOperand {
  value: Located;
  /** Elements from the start of the value to the first one. */
  offset?: number;
  /** Elements between rows as stored. */
  ld: number;
  /** Whether the operand is stored transposed: A as [k, m], B as [n, k]. */
  transposed?: boolean;
  /** Elements between batches, one per batch dimension; 0 repeats the operand. */
  strides?: readonly number[];
}

/** C[m, n] = alpha · A[m, k] · B[k, n] (+ bias[n]) (+ residual[m, n]) (+ C where `accumulate`), for every batch. */
export interface MatmulSpec {
  /** Name for profiles. */
  name: string;
  m: number;
  n: number;
  k: number;
  /** Up to three batch extents, outermost first; default none. */
  batch?: readonly number[];
  a: MatmulOperand;
  b: MatmulOperand;
  c: MatmulOperand;
  alpha?: number;
  bias?: Located;
  /** Same layout as C. */
  residual?: Located;
  accumulate?: boolean;
}

/** Dispatches of one product, split where an operand passes the binding limit. */
export declare function matmulCommands(spec: MatmulSpec, target: Target): Command[];
