import type { Target } from "../../engine/graph/target.ts";
import { matrixTile, matrixTiles } from "./matrix_units.ts";
import type { Part } from "./parts.ts";
import type { CheckedSpec } from "./product.ts";
import type { ProductTile } from "./tile.ts";
import { invocations, workgroupBytes, type WorkgroupTile, workgroupTile } from "./workgroup.ts";

/** The tile that a GPU takes for a part of a product. */
export function gpuTile(spec: CheckedSpec, part: Part, target: Target): ProductTile {
  const [matrix] = matrixTiles(spec, part, target);
  return matrix ? matrixTile(matrix) : chosenWorkgroupTile(spec, part, target);
}

/** The tiles that a GPU may take. */
export function gpuTiles(spec: CheckedSpec, part: Part, target: Target): ProductTile[] {
  const matrices = matrixTiles(spec, part, target);
  return matrices.length > 0 ? matrices.map(matrixTile) : workgroupTiles(spec, part, target);
}

/** Whether a device's limits allow a tile. */
function fits(tile: WorkgroupTile, target: Target): boolean {
  return invocations(tile) <= target.maxComputeInvocationsPerWorkgroup &&
    workgroupBytes(tile) <= target.maxComputeWorkgroupStorageSize;
}

/** Tiles of one team, from which rules and clock choose; the rules take the first that suits. */
const WHOLE_TILES: readonly WorkgroupTile[] = [
  { rows: 128, columns: 128, depth: 32, block: [8, 8] },
  { rows: 64, columns: 128, depth: 16, block: [8, 8] },
  { rows: 128, columns: 64, depth: 16, block: [8, 8] },
  { rows: 64, columns: 64, depth: 16, block: [8, 8] },
  { rows: 64, columns: 32, depth: 32, block: [8, 4] },
  { rows: 32, columns: 32, depth: 16, block: [4, 4] },
];

/** Of several teams. All slices are of 16 terms: then the sums have the same bits in each of them. */
const SPLIT_TILES: readonly WorkgroupTile[] = [
  { rows: 64, columns: 64, depth: 16, block: [8, 8] },
  { rows: 32, columns: 32, depth: 16, block: [4, 4] },
];

/** The tiles of workgroup memory that may do a part of a product. */
export function workgroupTiles(spec: CheckedSpec, part: Part, target: Target): ProductTile[] {
  return shapes(spec, part, target).map(workgroupTile);
}

/** Those that sum in the order of the rules, whose bits are therefore the same: those of as many teams. */
function shapes(spec: CheckedSpec, part: Part, target: Target): readonly WorkgroupTile[] {
  const split = teamsFor(spec, part);
  const splits = SPLIT_TILES.map((tile): WorkgroupTile => ({ ...tile, split })).filter((tile) =>
    fits(tile, target)
  );
  return split > 1 && splits.length === SPLIT_TILES.length
    ? splits
    : WHOLE_TILES.filter((tile) => fits(tile, target));
}

const tileCount = ({ m, n, batchCount }: Part, { rows, columns }: { rows: number; columns: number }) =>
  batchCount.reduce(
    (product, count) => product * count,
    Math.ceil(m.count / rows) * Math.ceil(n.count / columns),
  );

/**
 * Teams that share out the terms, where there are so many of them and so few tiles that waiting for memory
 * would show. Measured on a GPU of 132 cores: four teams for 576 tiles of 4096 terms took 0.73 of one's time,
 * for 768 tiles of 3072 terms 0.9; two for 128 tiles of 1024 terms 0.6, for 768 narrow ones 0.84: a head's
 * values, whose tiles cannot be wider.
 *
 * Terms decide first, so that products of few never have other bits for other extents.
 */
function teamsFor({ tileRows }: CheckedSpec, part: Part): 1 | 2 | 4 {
  if (tileRows || part.k.count < 512) return 1;
  const tiles = tileCount(part, SPLIT_TILES[0]);
  if (part.k.count >= 2048 && tiles <= 640) return 4;
  const narrow = part.n.count <= SPLIT_TILES[0].columns;
  return tiles <= (narrow ? 1024 : 256) ? 2 : 1;
}

/** Cores of the GPU that the rules were measured on, one of the largest. */
const GPU_CORES = 132;
/** Workgroups that keep it busy: the last wave is rarely full. */
const ENOUGH_WORKGROUPS = 128;
/** Workgroups of the largest tile that run at once. */
export const LARGE_WORKGROUPS_AT_ONCE = 2 * GPU_CORES;
/**
 * Whether workgroups of the largest tile leave few cores without work. Measured: 108, 128 and 264 of them
 * beat smaller tiles by a tenth to a third, 144 and 192 lost as much.
 */
const fillCores = (workgroups: number) => workgroups > 0.8 * GPU_CORES * Math.ceil(workgroups / GPU_CORES);

/** What a tile computes in and beyond C, in C's. */
const waste = ({ m, n }: Part, { rows, columns }: WorkgroupTile) =>
  Math.ceil(m.count / rows) * rows * Math.ceil(n.count / columns) * columns / (m.count * n.count);
/** What larger tiles gain is lost beyond this. */
const MOST_WASTE = 1.5;

/**
 * The tile of workgroup memory that the rules choose.
 *
 * @throws {RangeError} if the device's workgroups are too small for any.
 */
export function chosenWorkgroupTile(spec: CheckedSpec, part: Part, target: Target): ProductTile {
  const tiles = shapes(spec, part, target);
  if (tiles.length === 0) {
    throw new RangeError(
      `Cannot multiply with workgroups of ${target.maxComputeInvocationsPerWorkgroup} invocations and ` +
        `${target.maxComputeWorkgroupStorageSize} bytes: the smallest tile needs 64 and 4096`,
    );
  }
  const { tileRows } = spec;
  const suits = (tile: WorkgroupTile) => {
    const { rows, columns, split = 1 } = tile;
    if (tileRows) return rows === tileRows;
    if (waste(part, tile) > MOST_WASTE) return false;
    if (split > 1) return true;
    // Turning slices of B in the largest tile has bank conflicts.
    if (columns === 128 && rows === 128) {
      return !spec.b.transposed && fillCores(tileCount(part, tile));
    }
    return tileCount(part, tile) >= ENOUGH_WORKGROUPS;
  };
  return workgroupTile(tiles.find(suits) ?? tiles.at(-1)!);
}
