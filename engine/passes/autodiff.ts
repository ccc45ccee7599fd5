import type { GraphBuilder } from "../graph/builder.ts";
import type { Node } from "../graph/graph.ts";
import type { Value } from "../graph/types.ts";
import { GraphError } from "../graph/verify.ts";
import { add } from "../../kernels/elementwise.ts";
import type { Pass, StepDraft } from "./step.ts";

/** Settings of `appendBackward`. */
export interface BackwardOptions {
  /** The value whose gradient is one (times `step.gradientScale`, which the loss op applies). */
  loss: Value;
  /** Persistent values to differentiate by. */
  trainable: readonly Value[];
  /** Where gradients are to be added up, by trainable value: what accumulation over micro-steps needs. */
  accumulators?: ReadonlyMap<Value, Value>;
}

/**
 * Appends the backward graph of what `builder` holds, from each op's VJP, last node first.
 *
 * Contributions to the same value are summed in the order in which they arise; ops that can add the sum so
 * far in their own kernel take it over (`takePrior`), otherwise an `add` node is made.
 *
 * @returns Gradients by trainable value; values that nothing differentiable depends on are absent.
 */
export function appendBackward(builder: GraphBuilder, options: BackwardOptions): Map<Value, Value> {
  const forward = [...builder.nodes];
  const differentiable = dependents(forward, options.trainable);
  const gradients = new Map<number, Value>();
  for (const [parameter, accumulator] of options.accumulators ?? []) gradients.set(parameter.id, accumulator);

  builder.phase = "backward";
  const replaced = new Set<Node>();
  for (const node of forward.toReversed()) {
    const isLoss = node.outputs.some((value) => value.id === options.loss.id);
    const outGrads = node.outputs.map((value) => gradients.get(value.id));
    if (!isLoss && outGrads.every((gradient) => gradient === undefined)) continue;
    if (!node.inputs.some((value) => differentiable.has(value.id))) continue;
    if (!node.op.vjp) {
      throw new GraphError(`Cannot differentiate ${node.op.name} (${node.scope}): it has no VJP`);
    }
    const inGrads = builder.atScope(node.scope, () =>
      node.op.vjp!({
        builder,
        inputs: node.inputs,
        outputs: node.outputs,
        attrs: node.attrs,
        outGrads,
        needs: (i) => differentiable.has(node.inputs[i].id),
        takePrior: (i) => {
          const prior = gradients.get(node.inputs[i].id);
          gradients.delete(node.inputs[i].id);
          return prior;
        },
      }));
    inGrads.forEach((gradient, i) => {
      const input = node.inputs[i];
      if (!gradient || !differentiable.has(input.id)) return;
      const prior = gradients.get(input.id);
      const sum = prior
        ? builder.atScope(node.scope, () => builder.call(add, [prior, gradient], {})[0])
        : gradient;
      gradients.set(input.id, sum);
    });
    if (node.op.gradientReplacesForward) replaced.add(node);
  }
  const kept = builder.nodes.filter((node) => !replaced.has(node));
  builder.nodes.splice(0, builder.nodes.length, ...kept);
  builder.phase = "forward";

  const result = new Map<Value, Value>();
  for (const parameter of options.trainable) {
    const gradient = gradients.get(parameter.id);
    const untouched = gradient !== undefined && gradient === options.accumulators?.get(parameter);
    if (gradient && !untouched) result.set(parameter, gradient);
  }
  return result;
}

/** Ids of the values that depend on any of `sources`, these included. */
function dependents(nodes: readonly Node[], sources: readonly Value[]): Set<number> {
  const ids = new Set(sources.map((value) => value.id));
  for (const node of nodes) {
    if (node.inputs.some((value) => ids.has(value.id))) node.outputs.forEach((value) => ids.add(value.id));
  }
  return ids;
}

/**
 * Appends the backward graph. With accumulation each gradient is a persistent f32 value that every micro-step
 * adds to; without it gradients are transient and share the arena with activations.
 */
export function backward({ accumulate }: { accumulate: boolean }): Pass {
  return {
    name: "autodiff",
    step(draft: StepDraft) {
      const trained = draft.parameters.filter(({ trainable }) => trainable);
      const accumulators = new Map<Value, Value>();
      if (accumulate) {
        for (const { value } of trained) {
          const type = { shape: value.shape, dtype: "f32" as const };
          accumulators.set(value, draft.persistents.declare(`${value.name}.grad`, type, "gradients"));
        }
      }
      const gradients = appendBackward(draft.builder, {
        loss: draft.loss,
        trainable: trained.map(({ value }) => value),
        accumulators,
      });
      for (const parameter of trained) {
        const gradient = gradients.get(parameter.value);
        // The update reads an accumulator under its persistent name: the last
        // alias belongs to the micro-step's graph.
        if (gradient) draft.gradients.set(parameter, accumulators.get(parameter.value) ?? gradient);
        else draft.persistents.remove(`${parameter.value.name}.grad`);
      }
    },
  };
}
