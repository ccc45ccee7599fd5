import {
  type Binding,
  type Command,
  type Dispatch,
  SCRATCH_BINDING,
  SCRATCH_ROW_BYTES,
  SCRATCH_ROW_VECTORS,
  type ScratchCopy,
} from "../graph/launch.ts";
import type { Plan } from "../plan/plan.ts";
import { paramsSize } from "../plan/lower.ts";
import type { DeviceBuffers } from "./buffers.ts";
import type { Gpu } from "./gpu.ts";
import type { PipelineCache } from "./pipelines.ts";
import { STEP_BLOCK_BYTES } from "../../kernels/step_block.ts";

interface RecordedDispatch {
  pipeline: GPUComputePipeline;
  bindings: GPUBindGroup;
  uniforms: GPUBindGroup;
  /**
   * One number, in an array of its own type: any other is read through an iterator, which leaves garbage
   * behind.
   */
  paramsOffset: Uint32Array<ArrayBuffer>;
  workgroups: readonly [number, number, number];
  /** What goes into the scratch texture before it. */
  copies: readonly TextureCopy[];
  dispatch: Dispatch;
}
/** Arguments of `copyBufferToTexture`. */
type TextureCopy = Parameters<GPUCommandEncoder["copyBufferToTexture"]>;
type Recorded = RecordedDispatch | { clear: Binding };

/**
 * A program ready to be replayed: pipelines, bind groups and uniform blocks
 * exist; encoding allocates nothing else.
 */
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
  { buffers, scratch }: DeviceBuffers,
  pipelines: PipelineCache,
  onProgress?: (done: number, of: number) => void,
): Promise<Recording[]> {
  const { device } = gpu;
  await pipelines.compile(
    plan.programs.flatMap(({ commands }) => commands).flatMap((command) =>
      "clear" in command ? [] : [{
        kernel: command.kernel,
        bindingCount: command.bindings.length,
        copies: command.copies !== undefined,
      }]
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
  const view = scratch?.createView();
  const record = async (command: Command): Promise<Recorded> => {
    if ("clear" in command) return command;
    const { kernel, bindings } = command;
    const copies = command.copies !== undefined;
    const entries: GPUBindGroupEntry[] = bindings.map(({ buffer, byteOffset, byteLength }, binding) => ({
      binding,
      resource: { buffer: buffers[buffer], offset: byteOffset, size: byteLength },
    }));
    if (copies) entries.push({ binding: SCRATCH_BINDING, resource: view! });
    const paramsOffset = offset;
    writeParams(params, offset, command);
    // A dispatch without params still binds a block: the layout has one.
    const bytes = Math.max(paramsSize(command), 256);
    offset += paramsSize(command);
    return {
      pipeline: await pipelines.get(kernel, bindings.length, copies),
      bindings: device.createBindGroup({
        label: kernel.name,
        layout: pipelines.layout(bindings.length, copies).bindings,
        entries,
      }),
      uniforms: uniformGroup(bytes),
      paramsOffset: Uint32Array.of(command.params.length ? paramsOffset : 0),
      workgroups: command.workgroups,
      copies: (command.copies ?? []).flatMap((copy) => textureCopies(copy, buffers, scratch!)),
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

/** A range as whole rows of the texture, and the vectors left over as a part of one more. */
function textureCopies(
  { source: { buffer, byteOffset, byteLength }, row }: ScratchCopy,
  buffers: readonly GPUBuffer[],
  texture: GPUTexture,
): TextureCopy[] {
  const rows = Math.floor(byteLength / SCRATCH_ROW_BYTES);
  // The last vector may be one in part: buffers are padded to whole ones.
  const rest = Math.ceil((byteLength % SCRATCH_ROW_BYTES) / 16);
  const copy = (first: number, width: number, height: number): TextureCopy => [
    {
      buffer: buffers[buffer],
      offset: byteOffset + first * SCRATCH_ROW_BYTES,
      bytesPerRow: SCRATCH_ROW_BYTES,
    },
    { texture, origin: [0, row + first] },
    [width, height],
  ];
  return [
    ...rows > 0 ? [copy(0, SCRATCH_ROW_VECTORS, rows)] : [],
    ...rest > 0 ? [copy(rows, rest, 1)] : [],
  ];
}

/** Encodes what a dispatch finds in the scratch texture; between passes. */
export function encodeCopies(encoder: GPUCommandEncoder, { copies }: RecordedDispatch): void {
  for (const [source, destination, size] of copies) encoder.copyBufferToTexture(source, destination, size);
}

/**
 * Encodes a recording: one compute pass between clears and copies, since a pass costs as much as four
 * dispatches.
 *
 * @returns How many passes it took.
 */
export function encodeRecording(
  encoder: GPUCommandEncoder,
  recording: Recording,
  buffers: readonly GPUBuffer[],
): number {
  let passes = 0;
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
    if (command.copies.length > 0) {
      pass?.end();
      pass = null;
      encodeCopies(encoder, command);
    }
    if (!pass) {
      pass = encoder.beginComputePass();
      passes++;
      pipeline = null;
    }
    encodeDispatch(pass, command, pipeline);
    pipeline = command.pipeline;
  }
  pass?.end();
  return passes;
}

/** @param current The pipeline the pass has set, to save a call. */
export function encodeDispatch(
  pass: GPUComputePassEncoder,
  { pipeline, bindings, uniforms, paramsOffset, workgroups }: RecordedDispatch,
  current: GPUComputePipeline | null = null,
): void {
  if (pipeline !== current) pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindings);
  pass.setBindGroup(1, uniforms, paramsOffset, 0, 1);
  pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
}
