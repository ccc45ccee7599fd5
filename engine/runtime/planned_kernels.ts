import { disk, environmentVariable, OPERATING_SYSTEM } from "../host.ts";
import type { KernelKind, KernelSet } from "../../kernels/kernel_set.ts";
import { kernelsFor } from "../../kernels/kernel_sets.ts";
import { DEFAULT_TARGET, SOFTWARE_TARGET } from "../plan/reference_kernels.ts";
import { lavapipeLanes } from "./lavapipe/environment.ts";

/**
 * What a step can be planned for without asking an adapter: the kinds there are. Memory is the same on all
 * adapters of a kind, and on both but for the scratch texture of software ones (`KernelSet.scratch`).
 */
export const PLANNED_ADAPTERS = ["gpu", "software"] as const satisfies readonly KernelKind[];
/** One of `PLANNED_ADAPTERS`. */
export type PlannedAdapter = typeof PLANNED_ADAPTERS[number];

/** The kernels that a plan for `adapter` is lowered to. */
export function plannedKernels(adapter: PlannedAdapter): KernelSet {
  return adapter === "software"
    ? kernelsFor("software", { ...SOFTWARE_TARGET, subgroupSize: lavapipeLanes() })
    : kernelsFor("gpu", DEFAULT_TARGET);
}

/** Files that a Linux machine has where a GPU has a driver: DRM, NVIDIA's own, AMD's compute, WSL's. */
const GPU_FILES = [
  "/dev/nvidiactl",
  "/dev/kfd",
  "/dev/dxg",
  ...[0, 1, 2, 3].map((i) => `/dev/dri/renderD${128 + i}`),
];

/**
 * The kind of adapter that this machine most likely offers, told by its device files alone: opening an
 * adapter takes a second, and a plan must not need one. Systems other than Linux come with a GPU's driver.
 *
 * @param exists Whether a path is there.
 */
export function likelyAdapter(
  {
    os = OPERATING_SYSTEM,
    exists = isThere,
    icd = environmentVariable("VK_DRIVER_FILES") ?? environmentVariable("VK_ICD_FILENAMES"),
  }: {
    os?: string;
    exists?: (path: string) => boolean;
    icd?: string;
  } = {},
): PlannedAdapter {
  if (icd !== undefined && /lvp_icd/.test(icd)) return "software";
  return os !== "linux" || GPU_FILES.some(exists) ? "gpu" : "software";
}

function isThere(path: string): boolean {
  try {
    disk.statSync(path);
    return true;
  } catch {
    return false;
  }
}
