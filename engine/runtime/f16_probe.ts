import type { Gpu } from "./gpu.ts";
import { readBuffer } from "./readback.ts";

/**
 * Whether a number too large for f16 becomes an infinity when it is stored as f16, tested on its bits.
 *
 * WGSL leaves that open (gpuweb/gpuweb#1189). Mixed precision needs it: an
 * overflow then spreads to the f32 gradients, where it is found, the update is
 * skipped and the loss scale halved; a clamped number would hide it.
 */
export async function f16OverflowsToInfinity(gpu: Gpu): Promise<boolean> {
  const { device } = gpu;
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const [source, halves] = [0, 1].map(() => device.createBuffer({ size: 4, usage }));
  try {
    // Read from memory, so that no compiler sees a constant.
    device.queue.writeBuffer(source, 0, Float32Array.of(70_000));
    const code = `enable f16;
@group(0) @binding(0) var<storage, read_write> source: array<f32>;
@group(0) @binding(1) var<storage, read_write> halves: array<f16>;
@compute @workgroup_size(1) fn probe() {
  halves[0] = f16(source[0]);
  halves[1] = f16(-source[0]);
}`;
    const pipeline = device.createComputePipeline({
      layout: "auto",
      compute: { module: device.createShaderModule({ code }), entryPoint: "probe" },
    });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(
      0,
      device.createBindGroup({
        layout: pipeline.getBindGroupLayout(0),
        entries: [source, halves].map((buffer, binding) => ({ binding, resource: { buffer } })),
      }),
    );
    pass.dispatchWorkgroups(1);
    pass.end();
    device.queue.submit([encoder.finish()]);
    const [word] = new Uint32Array(await readBuffer(gpu, halves, 0, 4));
    return word === 0xfc007c00;
  } finally {
    source.destroy();
    halves.destroy();
  }
}
