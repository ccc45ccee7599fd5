import type { Value } from "../graph/types.ts";
import { appendBackward } from "./autodiff.ts";
import type { Pass, StepDraft } from "./step.ts";

/**
 * Appends the backward graph. With accumulation each gradient is a persistent f32 value that every micro-step adds to;
 * without it gradients are transient and share the arena with activations.
 */
export function backward({ accumulate }: { accumulate: boolean }): Pass {
  return {
    name: "autodiff",
    run(draft: StepDraft) {
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
        // The update reads an accumulator under its persistent name: the last alias belongs to the micro-step's graph.
        if (gradient) draft.gradients.set(parameter, accumulators.get(parameter.value) ?? gradient);
        else draft.persistents.remove(`${parameter.value.name}.grad`);
      }
    },
  };
}
