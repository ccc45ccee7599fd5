/** What a process asked of WebGPU. */
export interface GpuCounts {
  /** Bytes of all buffers alive at once, at most, since the process began. */
  peakBytes: number;
  /** Of the step alone. */
  dispatches: number;
  submits: number;
}

/** Counts what a process asks of WebGPU, whichever library asks. */
export interface GpuCounter {
  /** Starts counting dispatches and submits of a step. */
  restart(): void;
  counts(): GpuCounts;
}

/**
 * Wraps the methods of WebGPU that create and destroy buffers, dispatch and submit.
 *
 * A buffer counts from `createBuffer` to `destroy`: one that is merely dropped stays until the collector finds it, which
 * no program can rely on.
 */
export function countGpu(): GpuCounter {
  let [bytes, peakBytes, dispatches, submits] = [0, 0, 0, 0];
  const alive = new WeakSet<GPUBuffer>();
  wrap(GPUDevice.prototype, "createBuffer", (buffer: GPUBuffer) => {
    alive.add(buffer);
    bytes += buffer.size;
    peakBytes = Math.max(peakBytes, bytes);
  });
  wrap(GPUBuffer.prototype, "destroy", (_: void, buffer: GPUBuffer) => {
    // Destroying twice is allowed and frees once.
    if (alive.delete(buffer)) bytes -= buffer.size;
  });
  wrap(GPUComputePassEncoder.prototype, "dispatchWorkgroups", () => dispatches++);
  wrap(GPUComputePassEncoder.prototype, "dispatchWorkgroupsIndirect", () => dispatches++);
  wrap(GPUQueue.prototype, "submit", () => submits++);
  return {
    restart: () => dispatches = submits = 0,
    counts: () => ({ peakBytes, dispatches, submits }),
  };
}

/** Calls `after` with a method's result and its object, every time. */
function wrap<Result, Target>(
  prototype: Target,
  method: keyof Target,
  after: (result: Result, target: Target) => void,
): void {
  const original = prototype[method] as (...args: unknown[]) => Result;
  prototype[method] = function (this: Target, ...args: unknown[]): Result {
    const result = original.apply(this, args);
    after(result, this);
    return result;
  } as Target[keyof Target];
}
