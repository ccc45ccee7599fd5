import { type Binding, BINDING_ALIGNMENT, type Command, type Dispatch, overlap } from "../graph/launch.ts";
import type { Target } from "../graph/target.ts";
import type { Graph } from "../graph/graph.ts";
import type { Value } from "../graph/types.ts";
import type { KernelSet } from "../../kernels/kernel_set.ts";
import { alignUp } from "./arena.ts";

/** Commands of a graph in order, and the node each belongs to. */
export interface Lowered {
  commands: Command[];
  nodeOf: number[];
}

/**
 * Turns every node into commands over located values.
 *
 * @throws {RangeError} naming the op when a dispatch would pass a limit of the
 * target, or binds overlapping ranges.
 */
export function lowerGraph(graph: Graph, locate: (value: Value) => Binding, kernels: KernelSet): Lowered {
  const commands: Command[] = [];
  const nodeOf: number[] = [];
  graph.nodes.forEach((node, index) => {
    const located = (value: Value) => ({
      shape: value.shape,
      dtype: value.dtype,
      name: value.name,
      ...locate(value),
    });
    const lowered = node.op.lower({
      inputs: node.inputs.map(located),
      outputs: node.outputs.map(located),
      attrs: node.attrs,
      kernels,
    });
    const where = `${node.op.name} (${node.scope})`;
    for (const command of lowered) {
      if (!("clear" in command)) checkDispatch(command, kernels.target, where);
      commands.push(command);
      nodeOf.push(index);
    }
  });
  return { commands, nodeOf };
}

/** Bytes a command's `params` block takes in the uniform buffer. */
export function paramsSize(command: Command): number {
  return "clear" in command ? 0 : alignUp(command.params.length * 4, BINDING_ALIGNMENT);
}

/** Bytes of the largest uniform block that every adapter binds. */
const MOST_PARAMS_BYTES = 64 * 1024;

/**
 * Checks a dispatch against the limits of a target: WebGPU would refuse most of these later and less clearly;
 * overlapping writable ranges some adapters accept silently.
 *
 * @param where Node that it belongs to, for the message.
 * @throws {RangeError} naming kernel, node, value and limit.
 */
export function checkDispatch(
  { kernel, bindings, params, workgroups }: Dispatch,
  target: Target,
  where: string,
): void {
  const refuse = (does: string, limit: string) => {
    throw new RangeError(`Cannot launch ${kernel.name} of ${where}: it ${does}, ${limit}`);
  };
  const { workgroupBytes = 0, writes } = kernel;
  if (bindings.length > target.maxStorageBuffersPerShaderStage) {
    refuse(
      `binds ${bindings.length} storage buffers`,
      `the limit is ${target.maxStorageBuffersPerShaderStage}`,
    );
  }
  if (4 * params.length > MOST_PARAMS_BYTES) {
    refuse(`has ${4 * params.length} bytes of parameters`, `the limit is ${MOST_PARAMS_BYTES}`);
  }
  if (workgroupBytes > target.maxComputeWorkgroupStorageSize) {
    refuse(
      `takes ${workgroupBytes} bytes of workgroup memory`,
      `the limit is ${target.maxComputeWorkgroupStorageSize}`,
    );
  }
  if (writes.length === 0 || !writes.every((slot) => slot in bindings)) {
    refuse(
      `says that it writes bindings ${writes.join(", ")}`,
      `it has ${bindings.length} and must write one`,
    );
  }
  bindings.forEach((binding, i) => {
    if (binding.byteLength > target.maxStorageBufferBindingSize) {
      throw new RangeError(
        `Cannot bind ${binding.byteLength} bytes to ${kernel.name} of ${where}: the limit is ${target.maxStorageBufferBindingSize}`,
      );
    }
    if (binding.byteOffset % BINDING_ALIGNMENT !== 0 || binding.byteLength <= 0) {
      throw new RangeError(
        `Cannot bind ${binding.byteLength} bytes at ${binding.byteOffset} to ${kernel.name} of ${where}: offsets are multiples of ${BINDING_ALIGNMENT}`,
      );
    }
    for (let j = 0; j < i; j++) {
      if (overlap(binding, bindings[j])) {
        throw new RangeError(
          `Cannot bind overlapping ranges to ${kernel.name} of ${where}: bindings ${j} and ${i} share bytes of buffer ${binding.buffer}`,
        );
      }
    }
  });
  for (const count of workgroups) {
    if (!(Number.isInteger(count) && count >= 1 && count <= target.maxComputeWorkgroupsPerDimension)) {
      throw new RangeError(
        `Cannot launch ${
          workgroups.join(" × ")
        } workgroups of ${kernel.name} of ${where}: 1 to ${target.maxComputeWorkgroupsPerDimension} per dimension`,
      );
    }
  }
}
