/** One head of a matrix with a row per token, as WGSL text. */
export interface TokenRows {
  /** Where the head of a token starts; the token is below T. */
  base(token: string): string;
  /** Columns `4·d4 … 4·d4 + 3` as `vec4<f32>`, zero past the head's width. */
  at(base: string, d4: string): string;
}

/**
 * How the invocations of a workgroup hold a tile of `rows × columns` scores.
 *
 * A kernel owns `columns` tokens for good and walks over `rows` tokens at a time; queries
 * are columns where their gradient or output is made, keys are where theirs is. Each
 * invocation holds scores as `vec4`s over four neighbouring columns, so that what belongs to
 * a column (maximum, sum, logsumexp) is a `vec4` of its own, and sums `[D, columns]` as one
 * `vec4` per d. All methods return WGSL statements; names get a number appended per vector.
 */
export interface TileForm {
  /** All that tells its text from other forms': texts are kept by it. */
  name: string;
  invocations: number;
  rows: number;
  columns: number;
  /** Score vectors per invocation. */
  ownRows: number;
  /**
   * Whether tiles are taken so that the longest walks begin first, and scores
   * masked only where some are hidden.
   */
  balanced: boolean;
  /** Bytes of workgroup memory that a kernel with this many sums takes. */
  workgroupBytes(sums: number): number;
  /** Module-scope declarations of a kernel with these sums. */
  declarations(sums: readonly string[]): string;
  /** First of the invocation's columns within the tile. */
  firstColumn: string;
  /** Row within the tile of own row `i`; four rows from a multiple of four on are neighbours. */
  row(i: number): string;
  /** Which four rows of the tile own rows `4·group … 4·group + 3` are. */
  fourRows(group: number): string;
  /** Whether this invocation is the one that stores what all that share its columns know. */
  speaks: string;
  /**
   * `<result>i = Σ_d row[d] · column[d]` for own rows i of the tile that starts at token `first`;
   * `<columns.name>0 … 3` are the bases of the invocation's columns.
   */
  product(
    result: string,
    rows: TokenRows,
    columns: { name: string; source: TokenRows },
  ): string;
  /** Declares sums over rows, zero, where they are not at module scope. */
  declareSums(name: string): string;
  /**
   * `sums[d] = sums[d] · factor + Σ_rows weight · row[d]`, over all rows of the
   * tile, also those of other invocations.
   */
  accumulate(name: string, weight: (i: number) => string, rows: TokenRows, factor?: string): string;
  /** After a product: keeps a value for own score `i` until the next `accumulate`, over further products. */
  hold(name: string, i: number, value: string): string;
  /** What is held, or what the last `accumulate` had as a weight. */
  held(name: string, i: number): string;
  /** Runs `store` for every four d of the invocation: `<value>0 … 3` are the sums, `d4` their index. */
  eachSum(name: string, value: string, store: string): string;
  /** Statements before all others. */
  prologue: string;
  /** Declares a number per row, from an expression of the row's token. */
  rowNumbers(name: string, type: string, of: (token: string) => string): string;
  /** That number of own row `i`. */
  rowNumber(name: string, i: number): string;
  /** Combines a `vec4` over the invocations that share columns: `name = …`. */
  overRows(name: string, partial: string, combine: (a: string, b: string) => string): string;
}

/** The token of a row of the tile at `first`; past the end, the last one. */
export const tokenOf = (row: string) => `min(first + ${row}, params.sequence - 1u)`;
