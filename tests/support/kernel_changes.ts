import type { Target } from "../../engine/graph/target.ts";
import type { KernelKind, KernelSet } from "../../kernels/kernel_set.ts";
import { kernelsFor } from "../../kernels/kernel_sets.ts";

/**
 * What a test changes of a device's kernels: limits, the kind of device, what may
 * be copied to the scratch texture.
 */
export interface KernelChanges extends Partial<Target> {
  kind?: KernelKind;
  scratchBytes?: number;
}

/** The set with changes: a tiny binding limit, the forms of the other kind, … */
export function changed(
  kernels: KernelSet,
  { kind = kernels.kind, scratchBytes = kernels.scratch?.bytes ?? 0, ...limits }: KernelChanges = {},
): KernelSet {
  return kernelsFor(kind, { ...kernels.target, ...limits }, scratchBytes);
}
