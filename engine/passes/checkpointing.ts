import type { GraphBuilder } from "../graph/builder.ts";
import type { Node } from "../graph/graph.ts";
import type { Value } from "../graph/types.ts";
import type { Pass } from "./step.ts";

/** What gradient checkpointing drops. */
export interface CheckpointSettings {
  /** Blocks between kept activations: 1 keeps every block's input, k every k-th. */
  every: number;
  /** Drops the inside of attention alone: its T×T probabilities, not the rest of the block. */
  selective: boolean;
}

/**
 * Gradient checkpointing (Chen et al. 2016, arXiv:1604.06174): activations inside
 * a segment are dropped after the forward pass and computed again, by the same
 * nodes, right before the backward pass first needs one of them.
 *
 * Values that later segments read stay; everything else that only the backward pass reads is recomputed. The
 * kernels and their order are the same, so losses are bit-identical; dropout draws the same masks because its
 * counters are attributes.
 */
export function checkpointing(settings: CheckpointSettings): Pass {
  return {
    name: "checkpointing",
    step({ builder }) {
      for (const segment of segmentsOf(builder.nodes, settings)) recomputeSegment(builder, segment);
    },
  };
}

/** Forward nodes grouped by what is recomputed together, in order. */
function segmentsOf(nodes: readonly Node[], { every, selective }: CheckpointSettings): Node[][] {
  const segments = new Map<string, Node[]>();
  for (const node of nodes) {
    const layer = node.scope.match(/^layers\.(\d+)/)?.[1];
    if (node.phase !== "forward" || layer === undefined) continue;
    if (selective && !/(^|_)attention$/.test(node.op.name)) continue;
    const key = selective ? layer : String(Math.floor(Number(layer) / every));
    segments.set(key, [...segments.get(key) ?? [], node]);
  }
  return [...segments.values()];
}

function recomputeSegment(builder: GraphBuilder, segment: readonly Node[]): void {
  const inside = new Set(segment);
  const produced = new Set(segment.flatMap(({ outputs }) => outputs.map(({ id }) => id)));
  const kept = new Set<number>();
  for (const node of builder.nodes) {
    if (inside.has(node) || node.phase === "backward" || node.phase === "update") continue;
    for (const { id } of node.inputs) if (produced.has(id)) kept.add(id);
  }
  const dropped = (value: Value) => produced.has(value.id) && !kept.has(value.id);
  const isReader = (node: Node) => node.phase === "backward" && node.inputs.some(dropped);
  const first = builder.nodes.findIndex(isReader);
  if (first < 0) return;

  const wanted = new Set(
    builder.nodes.filter(isReader).flatMap(({ inputs }) => inputs.filter(dropped)).map(({ id }) => id),
  );
  const { clones, copyOf } = cloneProducers(builder, segment, wanted, kept);
  const replace = (value: Value) => (dropped(value) ? copyOf.get(value.id) ?? value : value);
  const nodes = builder.nodes.map((node) => isReader(node) ? remapInputs(node, replace) : node);
  nodes.splice(first, 0, ...clones);
  builder.nodes.splice(0, builder.nodes.length, ...nodes);
}

/** Copies of the segment's nodes that `wanted` values depend on; values in `kept` need no copy. */
function cloneProducers(
  builder: GraphBuilder,
  segment: readonly Node[],
  wanted: ReadonlySet<number>,
  kept: ReadonlySet<number>,
): { clones: Node[]; copyOf: Map<number, Value> } {
  const needed = new Set(wanted);
  const chosen = new Set<Node>();
  for (const node of segment.toReversed()) {
    if (!node.outputs.some(({ id }) => needed.has(id))) continue;
    chosen.add(node);
    for (const { id } of node.inputs) if (!kept.has(id)) needed.add(id);
  }
  const copyOf = new Map<number, Value>();
  const start = builder.nodes.length;
  builder.phase = "recompute";
  for (const node of segment) {
    if (!chosen.has(node)) continue;
    const inputs = node.inputs.map((value) => copyOf.get(value.id) ?? value);
    const outputs = builder.atScope(node.scope, () => builder.call(node.op, inputs, node.attrs));
    // A kept output is read under its first name; its copy only serves the nodes recomputed beside it.
    node.outputs.forEach((value, i) => copyOf.set(value.id, outputs[i]));
  }
  builder.phase = "forward";
  return { clones: builder.nodes.splice(start), copyOf };
}

/**
 * The same node over other inputs. Its outputs stay the same values, unless they take over the storage of a
 * replaced input: no backward op works in place on an activation, so that is a bug.
 */
function remapInputs(node: Node, replace: (value: Value) => Value): Node {
  const inputs = node.inputs.map(replace);
  node.outputs.forEach((output) => {
    if (output.aliasOf && !inputs.includes(output.aliasOf)) {
      throw new Error(
        `Cannot recompute ${output.aliasOf.name}: ${node.op.name} (${node.scope}) works in place on it`,
      );
    }
  });
  return { ...node, inputs };
}
