import type { KernelProfile, Roofline } from "./record.ts";

/** What a kernel reaches, from its time and what it does. */
export interface KernelRates {
  flopsPerSecond: number;
  bytesPerSecond: number;
  /** FLOPs for each byte moved; 0 for a kernel that only moves. */
  intensity: number;
  /**
   * Share of what the device can do at this intensity: the smaller of its products' rate and of intensity ×
   * its copies' rate (Williams et al. 2009, doi:10.1145/1498765.1498785); 1 at most. Null without a roofline,
   * or without a time.
   */
  ceilingShare: number | null;
}

/** Rates of a kernel under the roof of products in `dtype`. */
export function kernelRates(
  { ms, flops, bytes }: KernelProfile,
  roofline: Roofline | null,
  dtype: "f32" | "f16" = "f32",
): KernelRates {
  const seconds = ms / 1000;
  // A differential time may come out as nothing: no rate follows from it.
  const rate = (amount: number) => (seconds > 0 ? amount / seconds : 0);
  return {
    flopsPerSecond: rate(flops),
    bytesPerSecond: rate(bytes),
    intensity: bytes > 0 ? flops / bytes : 0,
    // Only a kernel that `raisedRoofline` takes for too short to be timed goes through a raised roof: it is
    // at it.
    ceilingShare: roofline && seconds > 0
      ? Math.min(1, fastestSeconds({ flops, bytes }, roofline, dtype) / seconds)
      : null,
  };
}

/** The least time a kernel can take: that of its products or that of its bytes, whichever is longer. */
function fastestSeconds(
  { flops, bytes }: Pick<KernelProfile, "flops" | "bytes">,
  roofline: Roofline,
  dtype: "f32" | "f16",
): number {
  return Math.max(flops / productRate(roofline, dtype), bytes / roofline.copyBytesPerSecond);
}

/** A step as one kernel of its model's FLOPs, for `raisedRoofline`: its utilisation is then 1 at most. */
export function stepAsKernel(
  { modelFlopsPerStep, stepMs }: { modelFlopsPerStep: number; stepMs: number },
): KernelProfile {
  return { kernel: "step", dispatches: 1, ms: stepMs, flops: modelFlopsPerStep, bytes: 0 };
}

/** What a raised roof says of itself. */
const RAISED = "; or the fastest kernel of a step, where that was faster";

/**
 * The roof with every ceiling that a kernel of these profiles went through raised to the best one seen: the
 * probe may have run while the machine did something else. Kernels below a hundredth of their step do not
 * count, as clocks are rounded.
 *
 * @param profiles Steps computed in `dtype`.
 */
export function raisedRoofline(
  roofline: Roofline,
  profiles: readonly (readonly KernelProfile[])[],
  dtype: "f32" | "f16" = "f32",
): Roofline {
  let products = productRate(roofline, dtype);
  let { copyBytesPerSecond } = roofline;
  for (const profile of profiles) {
    const stepMs = profile.reduce((sum, { ms }) => sum + ms, 0);
    for (const kernel of profile) {
      if (kernel.ms < stepMs / 100) continue;
      const { flopsPerSecond, bytesPerSecond } = kernelRates(kernel, null);
      products = Math.max(products, flopsPerSecond);
      copyBytesPerSecond = Math.max(copyBytesPerSecond, bytesPerSecond);
    }
  }
  const raised = products > productRate(roofline, dtype) || copyBytesPerSecond > roofline.copyBytesPerSecond;
  return raised
    ? {
      ...roofline,
      matmulFlopsPerSecond: { ...roofline.matmulFlopsPerSecond, [dtype]: products },
      copyBytesPerSecond,
      how: roofline.how.endsWith(RAISED) ? roofline.how : `${roofline.how}${RAISED}`,
    }
    : roofline;
}

/** Rate of products in a dtype; that of f32 where f16 was not measured. */
export function productRate({ matmulFlopsPerSecond }: Roofline, dtype: "f32" | "f16"): number {
  return (dtype === "f16" ? matmulFlopsPerSecond.f16 : null) ?? matmulFlopsPerSecond.f32;
}

/**
 * Model FLOPs utilisation: FLOPs of the model's products in one step, recomputation not counted, over what
 * the device's products could do in the step's time. Source: Chowdhery et al. 2022, arXiv:2204.02311,
 * appendix B.
 */
export function modelFlopsUtilisation(
  { modelFlopsPerStep, stepMs }: { modelFlopsPerStep: number; stepMs: number },
  roofline: Roofline,
  dtype: "f32" | "f16" = "f32",
): number {
  return modelFlopsPerStep / (stepMs / 1000) / productRate(roofline, dtype);
}
