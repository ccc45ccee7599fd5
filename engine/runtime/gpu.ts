import type { KernelSet } from "../../kernels/kernel_set.ts";
import type { AutotuneMode } from "./autotune_mode.ts";
import type { GpuProvider, GpuProviderId } from "./provider_contract.ts";

/** A WebGPU device with what lowering and records need to know of it. */
export interface Gpu {
  device: GPUDevice;
  provider: GpuProvider;
  /** Whether its kernels are chosen by the clock. */
  autotune: AutotuneMode;
  /** Its limits, and the forms of kernels that suit it. */
  kernels: KernelSet;
  adapter: AdapterDescription;
  /** The first error the device reported outside an error scope, or its loss; fatal at the next readback. */
  readonly failure: { error: Error | null };
}

/** What an adapter says of itself. */
export interface AdapterDescription {
  /** Name of the device, as its driver has it. */
  name: string;
  /** Vendor, as WebGPU has it; may be empty. */
  vendor: string;
  /** Architecture, as WebGPU has it; may be empty. */
  architecture: string;
  /** Driver and its version, where it is told. */
  driver: string | null;
  /** The implementation of WebGPU that speaks to it, and its version. */
  provider: GpuProviderId | "browser";
  /** Version of that implementation. */
  providerVersion: string;
  /** Runs on the CPU. */
  software: boolean;
  /** WebGPU features it offers, sorted. */
  features: string[];
  /** Limits that decide what fits, by their WebGPU names. */
  limits: Record<string, number>;
  /** Lanes per subgroup where all have the same number, else 0. */
  subgroupSize: number;
  /** Threads that a software adapter was told to compute with; null where its driver chooses, and on GPUs. */
  threads: number | null;
  /** Bits of a software adapter's vectors; null where it does not tell, and on GPUs. */
  vectorWidth: number | null;
  /** The matrices of f16 that a subgroup multiplies at once with sums in f32; absent where it has none. */
  subgroupMatrix?: { m: number; n: number; k: number };
}
