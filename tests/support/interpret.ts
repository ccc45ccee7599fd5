import type { Graph, Node } from "../../engine/graph/graph.ts";
import { elementCount, storageOf, type Value } from "../../engine/graph/types.ts";

/** f64 contents by the value that owns the storage. */
export type Memory = Map<number, Float64Array>;

/**
 * Runs a graph by its ops' f64 references. Persistent values must be in `memory`; outputs, mutations and
 * in-place results are written back to it.
 */
export function interpret(graph: Pick<Graph, "nodes">, memory: Memory): void {
  for (const node of graph.nodes) interpretNode(node, memory);
}

function interpretNode(node: Node, memory: Memory): void {
  const inputs = node.inputs.map((value) => contents(memory, value));
  const mutated = new Set(node.op.mutates?.(node.inputs, node.attrs) ?? []);
  const given = inputs.map((array, i) => (mutated.has(i) ? array : array.slice()));
  const outputs = node.op.reference(given, node.attrs, { inputs: node.inputs, outputs: node.outputs });
  node.outputs.forEach((value, i) => memory.set(storageOf(value).id, outputs[i]));
}

export function contents(memory: Memory, value: Value): Float64Array {
  const array = memory.get(storageOf(value).id);
  if (!array) throw new Error(`${value.name} has no contents`);
  if (array.length !== elementCount(value)) {
    throw new Error(`${value.name} has ${array.length} elements, its type ${elementCount(value)}`);
  }
  return array;
}
