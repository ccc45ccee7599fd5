import type { Target } from "../engine/graph/target.ts";
import { gpuKernels } from "./gpu.ts";
import type { KernelKind, KernelSet } from "./kernel_set.ts";
import { lavapipeKernels } from "./lavapipe/lavapipe.ts";
import { MESA_SCRATCH_BYTES } from "./lavapipe/scratch.ts";

export { MESA_SCRATCH_BYTES };

/**
 * The set for a device. The one place that knows which sets there are.
 *
 * @param scratchBytes Most bytes that a dispatch of a software adapter may copy
 * into the scratch texture; default:
 *   what pays on Mesa's.
 */
export function kernelsFor(
  kind: KernelKind,
  target: Target,
  scratchBytes: number = MESA_SCRATCH_BYTES,
): KernelSet {
  switch (kind) {
    case "gpu":
      return gpuKernels(target);
    case "software":
      return lavapipeKernels(target, scratchBytes);
    default:
      throw new TypeError(`Unknown kind of device ${kind satisfies never}`);
  }
}

/** The same set under other limits. */
export function kernelsUnder({ kind, target, scratch }: KernelSet, limits: Partial<Target>): KernelSet {
  return kernelsFor(kind, { ...target, ...limits }, scratch?.bytes ?? 0);
}
