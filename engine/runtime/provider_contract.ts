/** Implementations of WebGPU to choose from: wgpu, which is Deno's own, and Dawn, which is Chromium's. */
export const GPU_PROVIDERS = ["wgpu", "dawn"] as const;
/** One of `GPU_PROVIDERS`. */
export type GpuProviderId = typeof GPU_PROVIDERS[number];

/** The feature that brings `subgroup_matrix` types to WGSL. */
export const SUBGROUP_MATRIX = "chromium-experimental-subgroup-matrix";

/** Where WebGPU comes from, and all in which one implementation differs from the other for the engine. */
export interface GpuProvider {
  /** In a page there is no choice: it has what its browser has. */
  readonly id: GpuProviderId | "browser";
  /** The implementation and its version: `"wgpu of Deno 2.9.6"`. */
  readonly version: string;
  /** The entry point; undefined where the runtime has none. */
  readonly gpu: Pick<GPU, "requestAdapter"> | undefined;
  /** What to install where it finds no adapter. */
  readonly adapterAdvice: string;
  /** Name of the adapter and version of its driver: each implementation tells them in a way of its own. */
  identify(info: GPUAdapterInfo): { name: string; driver: string | null };
  /** Features the engine can use here. All are asked for by name and used where they are granted. */
  readonly wantedFeatures: readonly string[];
  /** Whether `adapter.features` lists every feature it grants; otherwise each has to be tried on a device. */
  readonly listsFeatures: boolean;
  /** WGSL in front of kernels that use subgroups: one compiler demands it, the other refuses it. */
  readonly subgroupsDirective: string;
  /** WGSL in front of kernels that use subgroup matrices, where the implementation has them. */
  readonly subgroupMatrixDirective: string;
  /**
   * Whether the calls of `mapAsync` and `onSubmittedWorkDone` return only when the queue is idle, so that a
   * buffer that has been mapped before can be read without awaiting the promise.
   */
  readonly callsWaitForQueue: boolean;
  /** Whether `createComputePipelineAsync` compiles on other threads. */
  readonly compilesInParallel: boolean;
}
