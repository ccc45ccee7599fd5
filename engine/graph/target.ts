/**
 * What a device reports of itself: limits and features of WebGPU, and nothing else. None of them may change
 * the bytes of a plan: those made without a GPU must equal those made with one.
 */
export interface Target {
  /** Largest range one binding may cover, bytes. */
  maxStorageBufferBindingSize: number;
  /** Largest workgroup count per dimension. */
  maxComputeWorkgroupsPerDimension: number;
  /** Workgroup memory in bytes. */
  maxComputeWorkgroupStorageSize: number;
  /** Invocations per workgroup. */
  maxComputeInvocationsPerWorkgroup: number;
  /** Storage buffers that one kernel may bind. */
  maxStorageBuffersPerShaderStage: number;
  /** Lanes per subgroup where the adapter has subgroups of one fixed size, else 0. */
  subgroupSize: number;
  /** Whether kernels may use `f16`. */
  shaderF16: boolean;
  /**
   * The matrices that a subgroup multiplies at once, f16 with sums in f32, where the adapter has such units,
   * kernels can say so and `subgroupSize` is not 0; absent means they cannot.
   */
  subgroupMatrix?: MatrixShape;
}

/** Extents of one matrix product, m × k by k × n; multiples of 8. */
export interface MatrixShape {
  m: number;
  n: number;
  k: number;
}

/**
 * Workgroup counts for `count` workgroups in a row, folded into y where one dimension would pass the limit.
 */
export function foldGrid(count: number, target: Target): readonly [number, number, number] {
  const limit = target.maxComputeWorkgroupsPerDimension;
  if (count <= limit) return [Math.max(count, 1), 1, 1];
  const y = Math.ceil(count / limit);
  return [Math.ceil(count / y), y, 1];
}
