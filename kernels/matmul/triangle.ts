import { range } from "./text.ts";
import type { Part } from "./parts.ts";
import type { MatmulSpec } from "./product.ts";

/** The square operand or result of which only the lower triangle matters, if any. */
export type Triangle = MatmulSpec["triangle"];

/**
 * Tiles of C down and across, and the share of the product that they compute. Of a triangle of C the tiles
 * that reach the diagonal or lie below it, in one column.
 */
export function tilesOf(
  { m, n }: Pick<Part, "m" | "n">,
  { rows, columns }: { rows: number; columns: number },
  triangle: Triangle,
): { tilesM: number; tilesN: number; share: number } {
  const tilesM = Math.ceil(m.count / rows);
  const tilesN = Math.ceil(n.count / columns);
  const sumOverRows = (of: (row: number) => number) => range(tilesM).reduce((sum, row) => sum + of(row), 0);
  switch (triangle) {
    case undefined:
      return { tilesM, tilesN, share: 1 };
    case "a": {
      const terms = sumOverRows((row) => Math.min((row + 1) * rows, m.count));
      return { tilesM, tilesN, share: terms / (tilesM * m.count) };
    }
    case "c": {
      const tiles = sumOverRows((row) => Math.floor(row * rows / columns) + 1);
      return { tilesM: tiles, tilesN: 1, share: tiles / (tilesM * tilesN) };
    }
    default:
      throw new TypeError(`Unknown triangle ${triangle satisfies never}`);
  }
}
