import { lossOf } from "./errors.ts";
import type { Gpu } from "./gpu.ts";
import type { Upkeep } from "./upkeep.ts";

/**
 * How long a failed call waits to hear that the device is lost, ms. Nothing is lost by it but the time of a
 * run that has failed.
 */
const LOSS_MS = 250;

/**
 * Does something on a device and says what is the matter where it fails, or where the device has reported an
 * error since.
 *
 * A loss is told by a promise of its own, which may come after all the errors that it causes, and not before
 * the event loop turns: a buffer that is not mapped is what a loop of steps sees of it.
 *
 * @throws {DeviceLostError} where the device is gone; else what it reported, else what `work` threw.
 */
export async function onDevice<T>({ device, failure }: Gpu, work: () => T | Promise<T>): Promise<T> {
  let thrown: unknown;
  try {
    const result = await work();
    if (!failure.error) return result;
  } catch (error) {
    thrown = error;
  }
  const { promise: late, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(() => resolve(null), LOSS_MS);
  const loss = await Promise.race([device.lost, late]);
  clearTimeout(timer);
  throw loss ? lossOf(loss) : failure.error ?? thrown;
}

/** Waits until the queue is idle. The await costs at least 10 ms in Deno: not for hot loops; see `idleAt`. */
export async function waitForQueue(gpu: Gpu): Promise<void> {
  await onDevice(gpu, () => gpu.device.queue.onSubmittedWorkDone());
}

/**
 * Waits until the queue is idle and says when that was, by `performance.now()`.
 * @throws what the device reported.
 */
export function idleAt(gpu: Gpu): Promise<number> {
  return onDevice(gpu, async () => {
    const idle = gpu.device.queue.onSubmittedWorkDone();
    // Where the call has waited, the promise only sleeps.
    if (gpu.provider.callsWaitForQueue) idle.catch(() => {});
    else await idle;
    return performance.now();
  });
}

/** Reads `byteLength` bytes from a buffer with `COPY_SRC`, through a staging buffer of its own. */
export async function readBuffer(
  gpu: Gpu,
  buffer: GPUBuffer,
  byteOffset: number,
  byteLength: number,
): Promise<ArrayBuffer> {
  const { device } = gpu;
  const size = Math.ceil(byteLength / 4) * 4;
  const staging = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  try {
    await onDevice(gpu, async () => {
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer, byteOffset, staging, 0, size);
      device.queue.submit([encoder.finish()]);
      await staging.mapAsync(GPUMapMode.READ);
    });
    return staging.getMappedRange().slice(0, byteLength);
  } finally {
    staging.destroy();
  }
}

/**
 * Reads the same few bytes every step without the 10 ms that Deno sleeps in every awaited `mapAsync`.
 *
 * In Deno the *call* of `mapAsync` polls the device until the queue is idle, so the range can be read as soon
 * as it returns, provided the buffer has been mapped once before; on an unprimed buffer that would abort the
 * process, hence `prime`. Elsewhere the promise is awaited.
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
    return await onDevice(this.#gpu, async () => {
      const mapped = this.#staging.mapAsync(GPUMapMode.READ);
      if (this.#gpu.provider.callsWaitForQueue) mapped.catch(() => {});
      else await mapped;
      const bytes = this.#staging.getMappedRange(0, byteLength).slice(0);
      this.#staging.unmap();
      return bytes;
    });
  }
}
