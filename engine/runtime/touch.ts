import { openGpu } from "./device.ts";

/** Opens a device, runs nothing but a readback, and closes it: what an empty device costs. */
export async function touchDevice(): Promise<void> {
  const gpu = await openGpu();
  const buffer = gpu.device.createBuffer({
    size: 256,
    usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.STORAGE,
  });
  gpu.device.queue.writeBuffer(buffer, 0, new Uint8Array(256));
  await gpu.device.queue.onSubmittedWorkDone();
  buffer.destroy();
  gpu.device.destroy();
}
