import type { CellRecord } from "./record.ts";

/** Held-out loss of a cell after `tokens` tokens, between its two nearest points; null outside them. */
export function heldOutAt(cell: Pick<CellRecord, "heldOut">, tokens: number): number | null {
  const points = [...cell.heldOut].sort((a, b) => a.tokens - b.tokens);
  const after = points.findIndex((point) => point.tokens >= tokens);
  if (after < 0) return null;
  const right = points[after];
  if (right.tokens === tokens || after === 0) return right.tokens === tokens ? right.loss : null;
  const left = points[after - 1];
  return left.loss + (right.loss - left.loss) * (tokens - left.tokens) / (right.tokens - left.tokens);
}
