import type { Target } from "../graph/target.ts";
import type { KernelSet } from "../../kernels/kernel_set.ts";
import { kernelsFor } from "../../kernels/kernel_sets.ts";

/**
 * What plans for GPUs assume where no adapter is asked: 128 MiB bindings, the least that WebGPU allows.
 * Memory does not depend on it; how many dispatches a step takes does.
 */
export const DEFAULT_TARGET: Target = {
  maxStorageBufferBindingSize: 2 ** 27,
  maxComputeWorkgroupsPerDimension: 65535,
  maxComputeWorkgroupStorageSize: 32768,
  maxComputeInvocationsPerWorkgroup: 1024,
  maxStorageBuffersPerShaderStage: 8,
  subgroupSize: 32,
  shaderF16: true,
};

/** The same for software adapters, whose vectors have 256 bits by default. */
export const SOFTWARE_TARGET: Target = { ...DEFAULT_TARGET, subgroupSize: 8 };

/**
 * The sets whose launches space is reserved for, of all kinds, with the least that WebGPU lets an adapter
 * bind at once: with more, values fall into fewer launches.
 */
export const REFERENCE_KERNELS: readonly KernelSet[] = [
  kernelsFor("gpu", DEFAULT_TARGET),
  kernelsFor("software", SOFTWARE_TARGET),
];

/**
 * Whether a set takes as many launches as a reference, with as many parameters and copies: what else they
 * have only chooses among kernels.
 */
export function launchesAlike(kernels: KernelSet, reference: KernelSet): boolean {
  return kernels.kind === reference.kind &&
    kernels.target.maxStorageBufferBindingSize === reference.target.maxStorageBufferBindingSize &&
    kernels.scratch?.bytes === reference.scratch?.bytes &&
    (kernels.kind === "gpu" || kernels.target.subgroupSize >= 4);
}
