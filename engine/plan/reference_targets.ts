import type { Target } from "../graph/target.ts";

/** Largest scratch texture on Mesa's software adapter: it holds the logits and the head of a small model. */
export const LAVAPIPE_TEXEL_BYTES = 32 * 2 ** 20;

/**
 * What plans for GPUs assume where no adapter is asked: 128 MiB bindings, the least that WebGPU allows.
 * Memory does not depend on it; how many dispatches a step takes does. `plannedTarget` has the one for Mesa's
 * software adapter.
 */
export const DEFAULT_TARGET: Target = {
  maxStorageBufferBindingSize: 2 ** 27,
  maxComputeWorkgroupsPerDimension: 65535,
  maxComputeWorkgroupStorageSize: 32768,
  maxComputeInvocationsPerWorkgroup: 1024,
  maxStorageBuffersPerShaderStage: 8,
  subgroupSize: 32,
  software: false,
  shaderF16: true,
};

/** The same for Mesa's software adapter, with vectors of 256 bits; see `plannedTarget`. */
export const SOFTWARE_TARGET: Target = {
  ...DEFAULT_TARGET,
  software: true,
  subgroupSize: 8,
  texelBytes: LAVAPIPE_TEXEL_BYTES,
};

/**
 * The adapters whose launches space is reserved for, of both kinds, with the least that WebGPU lets an
 * adapter bind at once: with more, values fall into fewer launches.
 */
export const REFERENCE_TARGETS: readonly Target[] = [DEFAULT_TARGET, SOFTWARE_TARGET];

/**
 * Whether an adapter takes as many launches as a reference, with as many parameters and copies: what else
 * they have only chooses among kernels.
 */
export function launchesAlike(target: Target, reference: Target): boolean {
  return target.software === reference.software &&
    target.maxStorageBufferBindingSize === reference.maxStorageBufferBindingSize &&
    (!target.software || (target.texelBytes === reference.texelBytes && target.subgroupSize >= 4));
}
