import type { Target } from "../engine/graph/target.ts";
import { workgroupShapes, workgroupTile } from "./flash/workgroup.ts";
import type { KernelSet } from "./kernel_set.ts";
import { gpuTile, gpuTiles } from "./matmul/tiles.ts";
import { gpuRowForm } from "./rows/reduction.ts";
import { rowTeams } from "./rows/teams.ts";

/** Lanes and teams of a workgroup that adds up rows. */
const TEAM_LANES = 16;
const TEAMS = 16;

/** Forms for GPUs: large workgroups that share what they load in workgroup memory. */
export function gpuKernels(target: Target): KernelSet {
  return {
    kind: "gpu",
    target,
    scratch: null,
    // It takes large ones to fill a multiprocessor.
    workgroups: { elementwise: 256, gather: 128, block: 256 },
    copiesLookups: true,
    readsHalvesAsWords: true,
    rowForm: (vectors) => gpuRowForm(vectors, target),
    rowTeams: () => rowTeams(TEAM_LANES, TEAMS),
    rowsPerBlock: () => 1,
    products: {
      whole: () => undefined,
      chosen: (spec, part) => gpuTile(spec, part, target),
      tiles: (spec, part) => gpuTiles(spec, part, target),
      splitsTerms: true,
    },
    flashTiles: (headSize, sums) =>
      workgroupShapes(headSize, sums).map((shape) => workgroupTile(headSize, shape)),
  };
}
