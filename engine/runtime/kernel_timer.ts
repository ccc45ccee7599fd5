import type { Dispatch } from "../graph/op.ts";
import { STEP_BLOCK_BYTES } from "../../kernels/step_block.ts";
import type { Gpu } from "./device.ts";
import type { PipelineCache } from "./pipelines.ts";
import { idleAt } from "./readback.ts";
import { writeParams } from "./replay.ts";

/** Work of one sample, ms: enough that a clock's steps and the cost of a submit are small against it. */
const SAMPLE_MS = 4;
const ROUNDS = 5;
const MOST_REPEATS = 64;

/** One kernel of those being timed. */
interface Contender {
  name: string;
  dispatch: Dispatch;
  pipeline: GPUComputePipeline;
  uniforms: GPUBindGroup;
  samples: number[];
}

/**
 * Times kernels that do one launch, on buffers of zeros of its sizes, which are freed before it returns.
 *
 * Every kernel is compiled and run once. Then all take turns, so that a change of the clock rate meets all of them.
 *
 * @param launches By name; they bind the same ranges.
 * @param mayGoOn Asked before each kernel is compiled, from the second on.
 * @returns Milliseconds of a launch by name, medians, of those there was time for; empty where the device has no room.
 * @throws {Error} where a kernel does not compile, or what the device reported.
 */
export async function timeKernels(
  gpu: Gpu,
  launches: readonly (readonly [string, Dispatch])[],
  pipelines: PipelineCache,
  mayGoOn: () => boolean,
): Promise<Map<string, number>> {
  const { device } = gpu;
  const buffers: GPUBuffer[] = [];
  const create = (size: number, usage: number) => {
    const buffer = device.createBuffer({ label: "timed kernels", size, usage });
    buffers.push(buffer);
    return buffer;
  };
  try {
    const [, { bindings }] = launches[0];
    device.pushErrorScope("out-of-memory");
    const uniform = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
    const step = create(STEP_BLOCK_BYTES, uniform);
    const ranges = bindings.map(({ byteLength }) => create(byteLength, GPUBufferUsage.STORAGE));
    if (await device.popErrorScope()) return new Map();
    const group = device.createBindGroup({
      layout: pipelines.layout(bindings.length).bindings,
      entries: ranges.map((buffer, binding) => ({ binding, resource: { buffer } })),
    });
    const run = async ({ dispatch, pipeline, uniforms }: Contender, repeats: number) => {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.setBindGroup(1, uniforms, [0]);
      for (let i = 0; i < repeats; i++) pass.dispatchWorkgroups(...dispatch.workgroups);
      pass.end();
      const commands = encoder.finish();
      const started = performance.now();
      device.queue.submit([commands]);
      return (await idleAt(gpu) - started) / repeats;
    };

    const contenders: Contender[] = [];
    for (const [name, dispatch] of launches) {
      if (contenders.length > 0 && !mayGoOn()) break;
      const words = new DataView(new ArrayBuffer(Math.max(256, Math.ceil(dispatch.params.length / 4) * 16)));
      writeParams(words, 0, dispatch);
      const params = create(words.byteLength, uniform);
      device.queue.writeBuffer(params, 0, words.buffer);
      const contender: Contender = {
        name,
        dispatch,
        pipeline: await pipelines.get(dispatch.kernel, bindings.length),
        uniforms: device.createBindGroup({
          layout: pipelines.uniformLayout,
          entries: [params, step].map((buffer, binding) => ({ binding, resource: { buffer } })),
        }),
        samples: [],
      };
      await run(contender, 1); // the driver compiles at the first use, and memory is touched
      contenders.push(contender);
    }
    if (contenders.length < 2) return new Map();
    const slowest = Math.max(...await inTurn(contenders, (contender) => run(contender, 1)));
    const repeats = Math.max(1, Math.min(MOST_REPEATS, Math.ceil(SAMPLE_MS / slowest)));
    for (let round = 0; round < ROUNDS; round++) {
      for (const contender of contenders) contender.samples.push(await run(contender, repeats));
    }
    return new Map(contenders.map(({ name, samples }) => [name, median(samples)]));
  } finally {
    buffers.forEach((buffer) => buffer.destroy());
  }
}

async function inTurn<T, R>(items: readonly T[], each: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (const item of items) results.push(await each(item));
  return results;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}
