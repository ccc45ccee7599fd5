import type { Graph } from "../graph/graph.ts";
import { byteLength, type Role, storageOf, type Value } from "../graph/types.ts";

/**
 * When a transient value's bytes must survive: from the node that writes it to
 * its last reader, both included.
 */
export interface LiveRange {
  value: Value;
  role: Role;
  first: number;
  last: number;
  bytes: number;
}

/** Live ranges of the storage of a graph's transient values; values that share storage share one range. */
export function liveRanges(graph: Graph): LiveRange[] {
  const ranges = new Map<number, LiveRange>();
  const touch = (value: Value, index: number) => {
    const owner = storageOf(value);
    if (owner.persistent) return;
    const range = ranges.get(owner.id);
    if (range) range.last = Math.max(range.last, index);
    else {ranges.set(owner.id, {
        value: owner,
        role: owner.role,
        first: index,
        last: index,
        bytes: byteLength(owner),
      });}
  };
  graph.nodes.forEach((node, index) => {
    node.inputs.forEach((value) => touch(value, index));
    node.outputs.forEach((value) => touch(value, index));
  });
  graph.outputs.forEach((value) => touch(value, graph.nodes.length));
  return [...ranges.values()];
}
