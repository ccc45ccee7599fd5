import { gelu, geluGrad } from "../../kernels/elementwise.ts";
import { linear, linearInputGrad } from "../../kernels/linear.ts";
import { linearGelu, linearInputGradGelu } from "../../kernels/linear_gelu.ts";
import { GraphBuilder } from "../graph/builder.ts";
import type { Node } from "../graph/graph.ts";
import type { Value } from "../graph/types.ts";
import type { Pass } from "./step.ts";

/** Node by the node that takes it in. */
interface Fusions {
  /** GELU by the `linear` that makes its input. */
  forward: Map<Node, Node>;
  /** The gradient of GELU by the product that makes the gradient it gets. */
  backward: Map<Node, Node>;
}

/**
 * GELU at the end of the product right before it, and its derivative at the end of the product that makes the
 * gradient: two dispatches and three passes over [N, 4·C] less for each block and step. Every bit stays what
 * it was, and so do the bytes of a step whose backward pass reads the product's input. Where nothing else
 * does, it lives until GELU has been made.
 *
 * In the last stage, as the fused ops have no VJP. Products of codes, and those added to a gradient (LoRA on
 * both sides of GELU), stay apart.
 */
export function geluFusion(): Pass {
  return {
    name: "GELU fusion",
    finish(draft) {
      const { builder, current } = fuseGelu(draft.builder);
      draft.builder = builder;
      draft.loss = current(draft.loss);
      if (draft.clip) draft.clip = current(draft.clip);
      for (const [parameter, gradient] of draft.gradients) draft.gradients.set(parameter, current(gradient));
    },
  };
}

/** A graph anew with its fusions; `current` finds what a value of the old one has become. */
export function fuseGelu(from: GraphBuilder): { builder: GraphBuilder; current: (value: Value) => Value } {
  const { forward, backward } = findFusions(from.nodes);
  const taken = new Set([...forward.values(), ...backward.values()]);
  const builder = new GraphBuilder(from.persistents);
  const renamed = new Map<number, Value>();
  const current = (value: Value) => renamed.get(value.id) ?? value;
  for (const node of from.nodes) {
    if (taken.has(node)) continue;
    builder.phase = node.phase;
    const [activation, slope] = [forward.get(node), backward.get(node)];
    const inputs = node.inputs.map(current);
    const outputs = builder.atScope(node.scope, () => {
      if (activation) return builder.call(linearGelu, inputs, { ...node.attrs, ...activation.attrs });
      if (!slope) return builder.call(node.op, inputs, node.attrs);
      const [h] = slope.inputs.map(current);
      return builder.call(linearInputGradGelu, [...inputs, h], { ...node.attrs, ...slope.attrs });
    });
    const fused = (activation ?? slope)?.outputs;
    // Nothing reads the workspace that a product may have; a fused node has one of its own.
    const made = fused ? [node.outputs[0], ...fused] : node.outputs;
    // Where the gradient of GELU was in place both names are of one value.
    made.forEach((value, i) => renamed.set(value.id, outputs[slope ? 0 : i]));
  }
  return { builder, current };
}

function findFusions(nodes: readonly Node[]): Fusions {
  const fusions: Fusions = { forward: new Map(), backward: new Map() };
  const madeBy = new Map<number, { node: Node; at: number }>();
  const readers = new Map<number, number>();
  nodes.forEach((node, at) => {
    for (const { id } of node.inputs) readers.set(id, (readers.get(id) ?? 0) + 1);
    for (const { id } of node.outputs) madeBy.set(id, { node, at });
  });
  nodes.forEach((node, at) => {
    const producer = (input: number) => madeBy.get(node.inputs[input].id);
    if (node.op === gelu) {
      const made = producer(0);
      // Right behind it: GELU made earlier than before would take memory meanwhile.
      if (made?.node.op === linear && made.at === at - 1) fusions.forward.set(made.node, node);
    }
    if (node.op === geluGrad) {
      const made = producer(1);
      const h = producer(0);
      const alone = made?.node.op === linearInputGrad && made.node.inputs.length === 2 &&
        readers.get(node.inputs[1].id) === 1;
      if (alone && h && h.at < made.at) fusions.backward.set(made.node, node);
    }
  });
  return fusions;
}
