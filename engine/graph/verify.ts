import type { Graph, Node } from "./graph.ts";
import { byteLength, storageOf, typeText, type Value } from "./types.ts";

/** A graph breaks an invariant; a bug in a pass, not in the input. */
export class GraphError extends Error {
  override name = "GraphError";
}

/**
 * Checks what every pass must keep: values are defined before use and once, recorded types are those shape
 * inference gives, storage that an op overwrites is not read later under its old name, and what an op mutates
 * is an input that no other of its values shares, and no weight that the step still computes with.
 *
 * @param after The pass that made the graph, for the message.
 * @throws {GraphError} naming the node.
 */
export function verifyGraph(graph: Graph, after: string): void {
  const defined = new Set<number>();
  /** Names of storage that have been overwritten: reading them is reading something else. */
  const overwritten = new Map<number, string>();
  /** Storage that an update has changed. */
  const updated = new Map<number, string>();
  graph.nodes.forEach((node, index) => {
    const where = `node ${index} ${node.op.name} (${node.scope}) of ${graph.name} after ${after}`;
    const use = (value: Value) => {
      const producedHere = !value.persistent || value.aliasOf !== undefined;
      if (producedHere && !defined.has(value.id)) {
        throw new GraphError(`${where}: reads ${value.name} before it is defined`);
      }
      const by = overwritten.get(value.id);
      if (by) throw new GraphError(`${where}: reads ${value.name}, whose storage ${by} has overwritten`);
      const update = node.phase === "update" ? undefined : updated.get(storageOf(value).id);
      if (update) {
        throw new GraphError(`${where}: computes with ${value.name} after ${update} has updated it`);
      }
    };
    node.inputs.forEach(use);
    const types = node.op.inferTypes(node.inputs, node.attrs);
    if (types.length !== node.outputs.length) {
      throw new GraphError(`${where}: has ${node.outputs.length} outputs, its op gives ${types.length}`);
    }
    types.forEach((type, i) => {
      const value = node.outputs[i];
      if (typeText(type) !== typeText(value)) {
        throw new GraphError(`${where}: output ${i} is ${typeText(value)}, its op gives ${typeText(type)}`);
      }
      if (defined.has(value.id)) throw new GraphError(`${where}: defines ${value.name} twice`);
      defined.add(value.id);
      if (type.aliasOfInput !== undefined) {
        const input = node.inputs[type.aliasOfInput];
        if (value.aliasOf !== input) {
          throw new GraphError(`${where}: output ${i} does not take over input ${type.aliasOfInput}`);
        }
        if (byteLength(value) > byteLength(storageOf(input))) {
          throw new GraphError(`${where}: output ${i} is larger than the storage it takes over`);
        }
        // A persistent value keeps its name: the next step reads it again, from the same place.
        if (!input.persistent) overwritten.set(input.id, `${node.op.name} (${node.scope})`);
      }
    });
    for (const input of mutatedInputs(node, where)) {
      if (!input.persistent) overwritten.set(input.id, `${node.op.name} (${node.scope})`);
      else if (node.phase === "update") updated.set(storageOf(input).id, `${node.op.name} (${node.scope})`);
    }
  });
  for (const value of graph.outputs) {
    if (!defined.has(value.id)) {
      throw new GraphError(`Output ${value.name} of ${graph.name} after ${after} is never defined`);
    }
    const by = overwritten.get(value.id);
    if (by) {
      throw new GraphError(`Output ${value.name} of ${graph.name} after ${after} is overwritten by ${by}`);
    }
  }
}

/**
 * The inputs that a node's op mutates. @throws {GraphError} where one is missing, or shares its storage with
 * another value.
 */
function mutatedInputs({ op, inputs, outputs, attrs }: Node, where: string): Value[] {
  const indices = op.mutates?.(inputs, attrs) ?? [];
  if (indices.length === 0) return [];
  const users = new Map<number, Value[]>();
  for (const value of [...inputs, ...outputs]) {
    const { id } = storageOf(value);
    users.set(id, [...users.get(id) ?? [], value]);
  }
  if (new Set(indices).size < indices.length) {
    throw new GraphError(`${where}: mutates inputs ${indices.join(", ")}, one of them twice`);
  }
  return indices.map((index) => {
    const input = inputs[index];
    if (input === undefined) {
      throw new GraphError(`${where}: mutates input ${index}, it has ${inputs.length}`);
    }
    const sharing = users.get(storageOf(input).id)!;
    if (sharing.length > 1) {
      const names = sharing.map(({ name }) => name).join(" and ");
      throw new GraphError(`${where}: mutates ${input.name}, and ${names} share its storage`);
    }
    return input;
  });
}
