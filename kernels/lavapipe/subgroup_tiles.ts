import { LARGE_PRODUCT, multiplyAdds, type Part, SMALL_PRODUCT } from "../matmul/parts.ts";
import type { CheckedSpec, Width } from "../matmul/product.ts";
import type { ProductTile } from "../matmul/tile.ts";
import { subgroupMatmulCode, type SubgroupTile } from "./matmul_buffers.ts";

/** The tile as a product takes it. */
export function subgroupTile(tile: SubgroupTile): ProductTile {
  const { lanes, rows, columnVectors } = tile;
  const columns = 4 * lanes * columnVectors;
  return {
    name: `subgroup ${rows}×${columns}`,
    numbers: tile,
    rows,
    columns,
    step: 4,
    split: 1,
    codeLanes: lanes,
    halvesAsWords: false,
    stepsSingly: true,
    leavesOutTriangles: false,
    widest: (spec, role, { codes }) => {
      if (role !== "a" && role !== "b") return 4;
      const width = widestLoad(spec, role, tile);
      return codes ? width : Math.min(width, 4) as Width;
    },
    readsPadding: () => false,
    workgroupBytes: () => 0,
    code: (form) => subgroupMatmulCode(form, tile),
  };
}

/** A load of a vec4 per lane costs about as much as this many multiply-adds of one; measured, 75 to 250. */
const LOAD_COST = 100;

/** At most four tiles per form, because each costs some 0.3 s of compilation (the largest 1 to 2 s). */
export function chooseSubgroupTile(spec: CheckedSpec, part: Part, lanes: number): SubgroupTile {
  const { m, n, batchCount } = part;
  const unit = rowUnit(spec, lanes);
  const wholeGroups = (rows: number) => Math.ceil(rows / unit) * unit;
  // Sums of A are kept and stored by fours of rows.
  const smallest = { lanes, rows: spec.sums?.of === "a" ? unit : lanes, columnVectors: 1 };
  if ((spec.tileRows ?? m.count) <= lanes || (!spec.tileRows && multiplyAdds(part) <= SMALL_PRODUCT)) {
    return smallest;
  }
  if (spec.tileRows) {
    return { lanes, rows: wholeGroups(spec.tileRows), columnVectors: n.count > 4 * lanes ? 2 : 1 };
  }
  const batches = batchCount.reduce((product, count) => product * count, 1);
  const tiles = largeSubgroupTiles(spec, lanes);
  const middle = tiles[0].rows;
  const count = ({ rows, columnVectors }: SubgroupTile) =>
    Math.ceil(m.count / rows) * Math.ceil(n.count / (4 * lanes * columnVectors)) * batches;
  const cost = (tile: SubgroupTile) => {
    const { rows, columnVectors } = tile;
    return count(tile) * ((rows / lanes + 4 * columnVectors) * LOAD_COST + 4 * rows * columnVectors);
  };
  // With few tiles the last ones leave cores idle; a small product does not repay the compilation.
  const worthwhile = tiles.filter((tile) =>
    tile.rows === middle || (multiplyAdds(part) >= LARGE_PRODUCT && count(tile) >= 16)
  );
  return worthwhile.reduce((best, tile) => cost(tile) < cost(best) ? tile : best);
}

/**
 * What the rows of all but the smallest tile are a multiple of: where A is stored
 * [k, m], a lane loads four of them at once.
 */
function rowUnit(spec: CheckedSpec, lanes: number): number {
  return spec.a.transposed ? 4 * lanes : lanes;
}

/** Tiles for products of more rows than a subgroup has lanes, smallest first. */
export function largeSubgroupTiles(spec: CheckedSpec, lanes: number): SubgroupTile[] {
  const unit = rowUnit(spec, lanes);
  const wholeGroups = (rows: number) => Math.ceil(rows / unit) * unit;
  const [middle, tall] = [wholeGroups(Math.min(32, 4 * lanes)), wholeGroups(Math.min(64, 8 * lanes))];
  return [
    { lanes, rows: middle, columnVectors: 1 },
    { lanes, rows: middle, columnVectors: 2 },
    { lanes, rows: tall, columnVectors: 2 },
  ];
}

/**
 * Elements one load may take: of A stored [k, m] four where a lane has four rows,
 * of codes eight where it has eight columns.
 */
function widestLoad(
  spec: CheckedSpec,
  role: "a" | "b",
  { lanes, rows, columnVectors }: SubgroupTile,
): Width {
  if (role === "a") return !spec.a.transposed || rows % (4 * lanes) === 0 ? 4 : 1;
  // Along rows of codes k runs, and a word of them feeds two steps.
  if (spec.b.transposed) return spec.b.quantized ? 8 : 4;
  return columnVectors % 2 === 0 ? 8 : 4;
}
