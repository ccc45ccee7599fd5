import type { Binding, Command, Dispatch } from "../graph/op.ts";
import type { Plan } from "../plan/plan.ts";
import { paramsSize } from "../plan/plan.ts";
import type { DeviceBuffers } from "./buffers.ts";
import type { Gpu } from "./device.ts";
import type { PipelineCache } from "./pipelines.ts";
import { STEP_BLOCK_BYTES } from "../../kernels/step_block.ts";

interface RecordedDispatch {
  pipeline: GPUComputePipeline;
  bindings: GPUBindGroup;
  uniforms: GPUBindGroup;
  paramsOffset: number[];
  workgroups: readonly [number, number, number];
  dispatch: Dispatch;
}
type Recorded = RecordedDispatch | { clear: Binding };

/** A program ready to be replayed: pipelines, bind groups and uniform blocks exist; encoding allocates nothing else. */
export interface Recording {
  name: string;
  commands: Recorded[];
}

/**
 * Records all programs of a plan: compiles pipelines, creates bind groups, uploads every `params` block once.
 *
 * @param onProgress Called before each pipeline that must be compiled, with the number of those before it.
 */
export async function recordPrograms(
  gpu: Gpu,
  plan: Plan,
  { buffers }: DeviceBuffers,
  pipelines: PipelineCache,
  onProgress?: (done: number, of: number) => void,
): Promise<Recording[]> {
  const { device } = gpu;
  await pipelines.compile(
    plan.programs.flatMap(({ commands }) => commands).flatMap((command) =>
      "clear" in command ? [] : [{ kernel: command.kernel, bindingCount: command.bindings.length }]
    ),
    onProgress,
  );
  const params = new DataView(new ArrayBuffer(plan.buffers[plan.paramsBuffer].bytes));
  const uniforms = new Map<number, GPUBindGroup>();
  let offset = 0;

  const uniformGroup = (bytes: number): GPUBindGroup => {
    let group = uniforms.get(bytes);
    if (!group) {
      group = device.createBindGroup({
        layout: pipelines.uniformLayout,
        entries: [
          { binding: 0, resource: { buffer: buffers[plan.paramsBuffer], size: bytes } },
          { binding: 1, resource: { buffer: buffers[plan.stepBuffer], size: STEP_BLOCK_BYTES } },
        ],
      });
      uniforms.set(bytes, group);
    }
    return group;
  };
  const record = async (command: Command): Promise<Recorded> => {
    if ("clear" in command) return command;
    const { kernel, bindings } = command;
    const paramsOffset = offset;
    writeParams(params, offset, command);
    // A dispatch without params still binds a block: the layout has one.
    const bytes = Math.max(paramsSize(command), 256);
    offset += paramsSize(command);
    return {
      pipeline: await pipelines.get(kernel, bindings.length),
      bindings: device.createBindGroup({
        label: kernel.name,
        layout: pipelines.layout(bindings.length).bindings,
        entries: bindings.map(({ buffer, byteOffset, byteLength }, binding) => ({
          binding,
          resource: { buffer: buffers[buffer], offset: byteOffset, size: byteLength },
        })),
      }),
      uniforms: uniformGroup(bytes),
      paramsOffset: [command.params.length ? paramsOffset : 0],
      workgroups: command.workgroups,
      dispatch: command,
    };
  };

  const recordings: Recording[] = [];
  for (const program of plan.programs) {
    const recorded: Recorded[] = [];
    for (const command of program.commands) recorded.push(await record(command));
    recordings.push({ name: program.name, commands: recorded });
  }
  device.queue.writeBuffer(buffers[plan.paramsBuffer], 0, params.buffer);
  return recordings;
}

/** Writes the uniform block of a launch at a byte offset. */
export function writeParams(view: DataView, offset: number, { params }: Dispatch): void {
  params.forEach(({ kind, value }, i) => {
    if (kind === "f32") view.setFloat32(offset + 4 * i, value, true);
    else if (kind === "i32") view.setInt32(offset + 4 * i, value, true);
    else view.setUint32(offset + 4 * i, value, true);
  });
}

/** Encodes a recording: one compute pass between clears, since a pass costs as much as four dispatches. */
export function encodeRecording(
  encoder: GPUCommandEncoder,
  recording: Recording,
  buffers: readonly GPUBuffer[],
): void {
  let pass: GPUComputePassEncoder | null = null;
  let pipeline: GPUComputePipeline | null = null;
  for (const command of recording.commands) {
    if ("clear" in command) {
      pass?.end();
      pass = null;
      const { buffer, byteOffset, byteLength } = command.clear;
      encoder.clearBuffer(buffers[buffer], byteOffset, byteLength);
      continue;
    }
    if (!pass) {
      pass = encoder.beginComputePass();
      pipeline = null;
    }
    encodeDispatch(pass, command, pipeline);
    pipeline = command.pipeline;
  }
  pass?.end();
}

/** @param current The pipeline the pass has set, to save a call. */
export function encodeDispatch(
  pass: GPUComputePassEncoder,
  { pipeline, bindings, uniforms, paramsOffset, workgroups }: RecordedDispatch,
  current: GPUComputePipeline | null = null,
): void {
  if (pipeline !== current) pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindings);
  pass.setBindGroup(1, uniforms, paramsOffset);
  pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
}
