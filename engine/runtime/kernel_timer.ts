import type { Dispatch } from "../graph/launch.ts";
import { STEP_BLOCK_BYTES } from "../../kernels/step_block.ts";
import type { Gpu } from "./gpu.ts";
import type { PipelineCache } from "./pipelines.ts";
import { idleAt } from "./readback.ts";
import { writeParams } from "./replay.ts";

/** Work of one sample, ms: enough that a clock's steps and the cost of a submit are small against it. */
const SAMPLE_MS = 4;
const ROUNDS = 5;
const MOST_REPEATS = 64;

/** What timing some kernels came to. */
export interface KernelTimes {
  /** Milliseconds of a launch by name, medians, of those there was time for. */
  ms: Map<string, number>;
  /** Those that the compiler refused, with what it said. */
  refused: Map<string, string>;
  /** Whether each was timed or refused: false where there was not the time, or not the memory. */
  complete: boolean;
}

/** Bytes of noise that are written over and over. */
const NOISE_BYTES = 2 ** 20;

/**
 * Numbers of no pattern, to multiply: GPUs do so with zeros at less power, and so faster, than with others,
 * by a different amount in each kernel. Each half of a word is an f16 of ±0.5 to ±1, and the whole an f32
 * below 0.01: neither has a NaN, infinity or subnormal.
 */
export function noiseWords(count: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(count);
  let state = 0x9e3779b9;
  for (let i = 0; i < count; i++) {
    // xorshift32, Marsaglia 2003.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = (state & 0x83ff83ff) | 0x38003800;
  }
  return words;
}

/** One kernel of those being timed. */
interface Contender {
  name: string;
  dispatch: Dispatch;
  pipeline: GPUComputePipeline;
  uniforms: GPUBindGroup;
  samples: number[];
}

/**
 * Times kernels that do one launch, on buffers of noise of its sizes, which are freed before it returns.
 *
 * Every kernel is compiled and run once. Then all take turns, so that a change of
 * the clock rate meets all of them.
 *
 * @param launches By name; they bind the same ranges.
 * @param mayGoOn Asked before each kernel is compiled, from the second on.
 * @returns No times where the device has no room for the buffers.
 * @throws {Error} what the device reported.
 */
export async function timeKernels(
  gpu: Gpu,
  launches: readonly (readonly [string, Dispatch])[],
  pipelines: PipelineCache,
  mayGoOn: () => boolean,
): Promise<KernelTimes> {
  const { device } = gpu;
  const times: KernelTimes = { ms: new Map(), refused: new Map(), complete: false };
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
    const ranges = bindings.map(({ byteLength }) =>
      create(byteLength, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST)
    );
    const noise = create(NOISE_BYTES, GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST);
    if (await device.popErrorScope()) return times;
    fillWithNoise(device, noise, ranges);
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
      let pipeline: GPUComputePipeline;
      try {
        pipeline = await pipelines.get(dispatch.kernel, bindings.length);
      } catch (error) {
        times.refused.set(name, (error as Error).message);
        continue;
      }
      const words = new DataView(new ArrayBuffer(Math.max(256, Math.ceil(dispatch.params.length / 4) * 16)));
      writeParams(words, 0, dispatch);
      const params = create(words.byteLength, uniform);
      device.queue.writeBuffer(params, 0, words.buffer);
      const contender: Contender = {
        name,
        dispatch,
        pipeline,
        uniforms: device.createBindGroup({
          layout: pipelines.uniformLayout,
          entries: [params, step].map((buffer, binding) => ({ binding, resource: { buffer } })),
        }),
        samples: [],
      };
      await run(contender, 1); // the driver compiles at the first use, and memory is touched
      contenders.push(contender);
    }
    times.complete = contenders.length + times.refused.size === launches.length;
    // One alone is compared with nothing, unless there are no others.
    if (contenders.length === 0 || contenders.length === 1 && !times.complete) return times;
    const slowest = Math.max(...await inTurn(contenders, (contender) => run(contender, 1)));
    const repeats = Math.max(1, Math.min(MOST_REPEATS, Math.ceil(SAMPLE_MS / slowest)));
    for (let round = 0; round < ROUNDS; round++) {
      for (const contender of contenders) contender.samples.push(await run(contender, repeats));
    }
    for (const { name, samples } of contenders) times.ms.set(name, median(samples));
    return times;
  } finally {
    buffers.forEach((buffer) => buffer.destroy());
  }
}

/** Fills buffers from one of noise, which is written first. */
function fillWithNoise(device: GPUDevice, noise: GPUBuffer, ranges: readonly GPUBuffer[]): void {
  device.queue.writeBuffer(noise, 0, noiseWords(NOISE_BYTES / 4));
  const encoder = device.createCommandEncoder();
  for (const range of ranges) {
    for (let at = 0; at < range.size; at += NOISE_BYTES) {
      encoder.copyBufferToBuffer(noise, 0, range, at, Math.min(NOISE_BYTES, range.size - at));
    }
  }
  device.queue.submit([encoder.finish()]);
}

async function inTurn<T, R>(items: readonly T[], each: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (const item of items) results.push(await each(item));
  return results;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}
