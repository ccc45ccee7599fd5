/**
 * Rows whose parameter gradients one invocation sums: about √N, so that both stages have as many terms. A
 * power of two that divides every window of rows, so that no chunk crosses from one window to the next.
 */
export function rowsPerChunk(rows: number): number {
  return Math.min(Math.max(2 ** Math.floor(Math.log2(Math.sqrt(rows))), 8), 256);
}

/** Chunks of so many rows. */
export function chunkCount(rows: number): number {
  return Math.ceil(rows / rowsPerChunk(rows));
}
