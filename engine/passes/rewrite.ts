import { GraphBuilder } from "../graph/builder.ts";
import type { Node } from "../graph/graph.ts";
import type { Value } from "../graph/types.ts";
import type { StepDraft } from "./step.ts";

/** Outputs of what replaces a node, in the order of the node's own; undefined copies the node. */
export type RewriteNode = (
  node: Node,
  inputs: readonly Value[],
  builder: GraphBuilder,
) => Value[] | undefined;

/** Replays the forward graph of a draft node by node, letting `rewrite` replace some. */
export function rewriteForward(draft: StepDraft, rewrite: RewriteNode): void {
  const builder = new GraphBuilder(draft.persistents);
  const renamed = new Map<number, Value>();
  const current = (value: Value) => renamed.get(value.id) ?? value;
  for (const node of draft.builder.nodes) {
    const inputs = node.inputs.map(current);
    const outputs = builder.atScope(
      node.scope,
      () => rewrite(node, inputs, builder) ?? builder.call(node.op, inputs, node.attrs),
    );
    node.outputs.forEach((value, i) => renamed.set(value.id, outputs[i]));
  }
  draft.builder = builder;
  draft.loss = current(draft.loss);
}
