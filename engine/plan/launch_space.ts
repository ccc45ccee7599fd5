import {
  type Binding,
  type Command,
  type Located,
  SCRATCH_ROW_BYTES,
  type ScratchCopy,
} from "../graph/launch.ts";
import type { Graph, Node } from "../graph/graph.ts";
import type { Value } from "../graph/types.ts";
import { type Lowered, paramsSize } from "./lower.ts";
import type { KernelSet } from "../../kernels/kernel_set.ts";
import { kernelsUnder } from "../../kernels/kernel_sets.ts";
import { launchesAlike, REFERENCE_KERNELS } from "./reference_kernels.ts";

/** What launches need beside the values. */
export interface LaunchSpace {
  /** Bytes of `params` blocks. */
  paramsBytes: number;
  /** Rows of the scratch texture. */
  scratchRows: number;
}

/** A graph and its commands on the adapter that a plan is for. */
type LoweredGraph = Lowered & { graph: Graph };

/**
 * The space that the launches of some graphs need on any adapter: of each node the most over
 * `REFERENCE_KERNELS`. A function of graphs and places alone, so that what a plan books does not depend on
 * the adapter.
 *
 * Nodes of the same op, attributes and types are lowered once for a reference, in all plans of a process: a
 * large model has many layers and few kinds of them, and a search plans it a hundred times. Where the
 * adapter's launches are as many as a reference's, its own commands are counted.
 */
export function launchSpace(
  programs: readonly LoweredGraph[],
  locate: (value: Value) => Binding,
  kernels: KernelSet,
): { reserved: LaunchSpace; used: LaunchSpace } {
  const references = REFERENCE_KERNELS.filter((reference) => !launchesAlike(kernels, reference));
  const counted = references.length < REFERENCE_KERNELS.length;
  const reserved: LaunchSpace = { paramsBytes: 0, scratchRows: 0 };
  const used: LaunchSpace = { paramsBytes: 0, scratchRows: 0 };
  for (const { graph, commands, nodeOf } of programs) {
    const own = graph.nodes.map((): LaunchSpace => ({ paramsBytes: 0, scratchRows: 0 }));
    for (let i = 0; i < commands.length; i++) count(own[nodeOf[i]], commands[i]);
    graph.nodes.forEach((node, index) => {
      const places = [...node.inputs, ...node.outputs].map(locate);
      const key = keyOf(node, places);
      const most = mostOf(references.map((reference) => {
        const known = KNOWN.get(reference) ?? new Map<string, LaunchSpace>();
        KNOWN.set(reference, known);
        const space = known.get(key) ?? spaceOf(loweredFor(node, places, reference));
        known.set(key, space);
        return space;
      }));
      add(reserved, counted ? mostOf([most, own[index]]) : most);
      add(used, own[index]);
    });
  }
  return { reserved, used };
}

/** What nodes need on a reference, by what that depends on. */
const KNOWN = new WeakMap<KernelSet, Map<string, LaunchSpace>>();

/** Adds what other launches need that run one after another. */
function add(space: LaunchSpace, { paramsBytes, scratchRows }: LaunchSpace): void {
  space.paramsBytes += paramsBytes;
  space.scratchRows = Math.max(space.scratchRows, scratchRows);
}

/** Adds what a command needs. */
function count(space: LaunchSpace, command: Command): void {
  if ("clear" in command) return;
  space.paramsBytes += paramsSize(command);
  for (const { row, source } of command.copies ?? NONE) {
    space.scratchRows = Math.max(space.scratchRows, row + Math.ceil(source.byteLength / SCRATCH_ROW_BYTES));
  }
}
const NONE: readonly ScratchCopy[] = [];

/** Space of some commands. */
export function spaceOf(commands: readonly Command[]): LaunchSpace {
  const space: LaunchSpace = { paramsBytes: 0, scratchRows: 0 };
  for (const command of commands) count(space, command);
  return space;
}

function mostOf(spaces: readonly LaunchSpace[]): LaunchSpace {
  return {
    paramsBytes: Math.max(...spaces.map(({ paramsBytes }) => paramsBytes)),
    scratchRows: Math.max(...spaces.map(({ scratchRows }) => scratchRows)),
  };
}

/**
 * A node's commands on a reference, or where that binds not even a row of it at once, on one that binds all;
 * else none.
 */
function loweredFor(
  { op, inputs, outputs, attrs }: Node,
  places: readonly Binding[],
  reference: KernelSet,
): Command[] {
  const located = [...inputs, ...outputs].map(({ shape, dtype, name }, i): Located => ({
    shape,
    dtype,
    name,
    ...places[i],
  }));
  const context = { inputs: located.slice(0, inputs.length), outputs: located.slice(inputs.length), attrs };
  for (const kernels of [reference, kernelsUnder(reference, { maxStorageBufferBindingSize: 2 ** 32 - 4 })]) {
    try {
      return op.lower({ ...context, kernels });
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
  }
  return [];
}

/**
 * All that the space of a node depends on, as text: which values share buffers or storage, beside op,
 * attributes and types.
 */
function keyOf({ op, inputs, outputs, attrs }: Node, places: readonly Binding[]): string {
  const first = new Map<number, number>();
  const values = [...inputs, ...outputs].map(({ dtype, shape }, i) => {
    const { buffer, byteOffset } = places[i];
    const same = first.get(buffer) ?? i;
    first.set(buffer, same);
    return `${dtype}[${shape}] ${same} ${byteOffset === places[same].byteOffset ? "" : "apart"}`;
  });
  return `${op.name} ${JSON.stringify(attrs)} ${values.join(" ")}`;
}
