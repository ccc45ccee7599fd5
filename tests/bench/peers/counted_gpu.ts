/** What a process asked of WebGPU. */
export interface GpuCounts {
  /** Bytes of all buffers and textures alive at once, at most, since the process began. */
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

/** Bytes of a texel in the formats that compute shaders read and write. */
const TEXEL_BYTES: Readonly<Record<string, number>> = {
  r32float: 4,
  r32uint: 4,
  r32sint: 4,
  rgba8unorm: 4,
  rg32float: 8,
  rg32uint: 8,
  rgba16float: 8,
  rgba16uint: 8,
  rgba32float: 16,
  rgba32uint: 16,
  rgba32sint: 16,
};

/** Bytes of a texture without mip levels. @throws {RangeError} for a format whose texels it does not know. */
export function textureBytes(
  { width, height, depthOrArrayLayers, format }: Pick<
    GPUTexture,
    "width" | "height" | "depthOrArrayLayers" | "format"
  >,
): number {
  const texel = TEXEL_BYTES[format];
  if (texel === undefined) throw new RangeError(`Cannot count a texture of format ${format}`);
  return width * height * depthOrArrayLayers * texel;
}

/**
 * Wraps the methods of WebGPU that create and destroy buffers and textures, dispatch and submit.
 *
 * Memory counts from its creation to `destroy`: what is merely dropped stays until the collector finds it,
 * which no program can rely on.
 */
export function countGpu(): GpuCounter {
  let [bytes, peakBytes, dispatches, submits] = [0, 0, 0, 0];
  const alive = new WeakMap<GPUBuffer | GPUTexture, number>();
  const created = (memory: GPUBuffer | GPUTexture, size: number) => {
    alive.set(memory, size);
    bytes += size;
    peakBytes = Math.max(peakBytes, bytes);
  };
  const destroyed = (_: void, memory: GPUBuffer | GPUTexture) => {
    // Destroying twice is allowed and frees once.
    bytes -= alive.get(memory) ?? 0;
    alive.delete(memory);
  };
  wrap(GPUDevice.prototype, "createBuffer", (buffer: GPUBuffer) => created(buffer, buffer.size));
  wrap(
    GPUDevice.prototype,
    "createTexture",
    (texture: GPUTexture) => created(texture, textureBytes(texture)),
  );
  wrap(GPUBuffer.prototype, "destroy", destroyed);
  wrap(GPUTexture.prototype, "destroy", destroyed);
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
