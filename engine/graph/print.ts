import type { Graph, Node } from "./graph.ts";
import { typeText, type Value } from "./types.ts";

/**
 * A graph as text, one node a line:
 * `%12 f32[512, 128] = linear(%9, transformer.h.0.mlp.c_fc.weight) {…}  # layers.0.mlp`.
 *
 * Transient values are numbered in order of appearance, so the text does not depend on ids.
 */
export function printGraph(graph: Graph): string {
  const numbers = new Map<number, number>();
  const ref = (value: Value): string => {
    if (value.persistent && !value.aliasOf) return value.name;
    if (!numbers.has(value.id)) numbers.set(value.id, numbers.size);
    return `%${numbers.get(value.id)}`;
  };
  const line = (node: Node): string => {
    const inputs = node.inputs.map(ref).join(", ");
    const outputs = node.outputs.map((value) => {
      const alias = value.aliasOf ? ` in ${ref(value.aliasOf)}` : "";
      return `${ref(value)} ${typeText(value)}${alias}`;
    });
    const attrs = JSON.stringify(node.attrs);
    const head = outputs.length ? `${outputs.join(", ")} = ` : "";
    return `${head}${node.op.name}(${inputs})${
      attrs === "{}" ? "" : ` ${attrs}`
    }  # ${node.phase} ${node.scope}`;
  };
  const outputs = () => graph.outputs.map(ref).join(", ");
  return [`graph ${graph.name}`, ...graph.nodes.map((node) => `  ${line(node)}`), `  return ${outputs()}`]
    .join("\n") + "\n";
}
