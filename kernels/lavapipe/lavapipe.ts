import type { Target } from "../../engine/graph/target.ts";
import { workgroupShapes, workgroupTile } from "../flash/workgroup.ts";
import type { KernelSet, ProductForms } from "../kernel_set.ts";
import { chosenWorkgroupTile, workgroupTiles } from "../matmul/tiles.ts";
import { rowTeams } from "../rows/teams.ts";
import { flashSubgroupTile } from "./flash_tile.ts";
import { loweredOnce, type LoweredProducts } from "./matmul_places.ts";
import { texelProduct } from "./matmul_texels.ts";
import { lavapipeRowForm } from "./rows.ts";
import { scratchOf } from "./scratch.ts";
import { chooseSubgroupTile, largeSubgroupTiles, subgroupTile } from "./subgroup_tiles.ts";

/** Vectors that a block of a table has, where finding a block takes as long as some hundred. */
const BLOCK_VECTORS = 512;

/**
 * Forms for Mesa's software adapter, and for others that compute on the CPU: no
 * workgroup memory and no barriers where subgroups of four lanes or more can hand
 * numbers round; a load costs as much as many multiply-adds.
 *
 * @param scratchBytes Most bytes that a dispatch copies into the scratch texture:
 * measured on Mesa's adapter alone,
 *   0 on others.
 */
export function lavapipeKernels(target: Target, scratchBytes: number): KernelSet {
  const lanes = target.subgroupSize;
  return {
    kind: "software",
    target,
    scratch: scratchBytes > 0 ? scratchOf(scratchBytes) : null,
    // Larger workgroups only cost balance; those of rows and blocks are one vector register's worth of lanes.
    workgroups: { elementwise: 64, gather: 8, block: lanes || 8 },
    copiesLookups: false,
    readsHalvesAsWords: false,
    rowForm: () => lavapipeRowForm(lanes),
    // One team, which waits for nothing.
    rowTeams: (alone) => rowTeams(alone, 1),
    rowsPerBlock: (vectors) => Math.max(1, Math.floor(BLOCK_VECTORS / vectors)),
    products: products(target, scratchBytes),
    flashTiles: (headSize, sums) => [
      ...lanes >= 4 && lanes <= 32 ? [flashSubgroupTile(lanes, headSize)] : [],
      ...workgroupShapes(headSize, sums).map((shape) => workgroupTile(headSize, shape)),
    ],
  };
}

function products(target: Target, scratchBytes: number): ProductForms {
  const lanes = target.subgroupSize;
  const lowered: LoweredProducts = new Map();
  const adapter = { target, scratchBytes };
  return {
    whole: (spec, part) =>
      scratchBytes > 0 && lanes >= 4
        ? loweredOnce(spec, lowered, () => texelProduct(spec, part, adapter))
        : undefined,
    chosen: (spec, part) =>
      lanes >= 4
        ? subgroupTile(chooseSubgroupTile(spec, part, lanes))
        : chosenWorkgroupTile(spec, part, target),
    tiles: (spec, part) =>
      lanes >= 4 ? largeSubgroupTiles(spec, lanes).map(subgroupTile) : workgroupTiles(spec, part, target),
    // There are enough tiles for the cores of a CPU.
    splitsTerms: false,
  };
}
