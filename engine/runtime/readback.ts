import type { Gpu } from "./device.ts";
import type { Upkeep } from "./upkeep.ts";

/** Waits until the queue is idle. The await costs at least 10 ms in Deno: not for hot loops; see `idleAt`. */
export async function waitForQueue({ device, failure }: Gpu): Promise<void> {
  await device.queue.onSubmittedWorkDone();
  if (failure.error) throw failure.error;
}

/** Waits until the queue is idle and says when that was, by `performance.now()`. @throws what the device reported. */
export async function idleAt({ device, provider, failure }: Gpu): Promise<number> {
  const idle = device.queue.onSubmittedWorkDone();
  // Where the call has waited, the promise only sleeps.
  if (provider.callsWaitForQueue) idle.catch(() => {});
  else await idle;
  if (failure.error) throw failure.error;
  return performance.now();
}

/** Reads `byteLength` bytes from a buffer with `COPY_SRC`, through a staging buffer of its own. */
export async function readBuffer(
  gpu: Gpu,
  buffer: GPUBuffer,
  byteOffset: number,
  byteLength: number,
): Promise<ArrayBuffer> {
  const { device, failure } = gpu;
  const size = Math.ceil(byteLength / 4) * 4;
  const staging = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  try {
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, byteOffset, staging, 0, size);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    if (failure.error) throw failure.error;
    return staging.getMappedRange().slice(0, byteLength);
  } finally {
    staging.destroy();
  }
}

/**
 * Reads the same few bytes every step without the 10 ms that Deno sleeps in every awaited `mapAsync`.
 *
 * In Deno the *call* of `mapAsync` polls the device until the queue is idle, so the range can be read as soon as it
 * returns, provided the buffer has been mapped once before; on an unprimed buffer that would abort the process, hence
 * `prime`. Elsewhere the promise is awaited.
 */
export class FastReadback {
  readonly #gpu: Gpu;
  readonly #staging: GPUBuffer;
  readonly #upkeep: Upkeep;
  #primed = false;

  /**
   * @param staging A buffer with `MAP_READ` and `COPY_DST`, from the plan.
   * @param upkeep Run in every read, while the device is busy.
   */
  constructor(gpu: Gpu, staging: GPUBuffer, upkeep: Upkeep) {
    this.#gpu = gpu;
    this.#staging = staging;
    this.#upkeep = upkeep;
  }

  async prime(): Promise<void> {
    await this.#staging.mapAsync(GPUMapMode.READ);
    this.#staging.unmap();
    this.#primed = true;
  }

  /** Encodes a copy to byte `at` of what `read` returns; the values are those of this point of the queue. */
  encodeCopy(
    encoder: GPUCommandEncoder,
    source: GPUBuffer,
    { byteOffset, byteLength, at }: { byteOffset: number; byteLength: number; at: number },
  ): void {
    encoder.copyBufferToBuffer(source, byteOffset, this.#staging, at, byteLength);
  }

  /** Waits for the queue and returns the copied bytes. @throws what the device reported meanwhile. */
  async read(byteLength: number): Promise<ArrayBuffer> {
    if (!this.#primed) throw new Error("FastReadback.read() before prime()");
    await this.#upkeep.run();
    const mapped = this.#staging.mapAsync(GPUMapMode.READ);
    if (this.#gpu.provider.callsWaitForQueue) mapped.catch(() => {});
    else await mapped;
    if (this.#gpu.failure.error) throw this.#gpu.failure.error;
    const bytes = this.#staging.getMappedRange(0, byteLength).slice(0);
    this.#staging.unmap();
    return bytes;
  }
}
