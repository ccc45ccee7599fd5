import { refreshWorkingCopy } from "../../kernels/working_copy.ts";
import type { Pass, SharedDraft, StepDraft } from "./step.ts";

/**
 * Mixed precision (Micikevicius et al. 2018, arXiv:1710.03740): matrices and embeddings
 * are read as f16 working copies of f32 master weights, so activations become f16 by
 * shape inference; products accumulate in f32. Norms and biases, a thousandth of the
 * parameters, stay f32. Frozen matrices need no master: they are f16 alone.
 *
 * Loss scaling is the trainer's: it scales `step.gradientScale` where a step has working copies.
 */
export function mixedPrecision(): Pass {
  return {
    name: "mixed precision",
    declare: declareWorkingCopies,
    finish: refreshWorkingCopies,
  };
}

function declareWorkingCopies({ persistents, parameters }: SharedDraft): void {
  for (const parameter of parameters) {
    const { spec, master, trainable, quantized } = parameter;
    if (spec.shape.length < 2 || master.dtype !== "f32" || quantized) continue;
    persistents.remove(master.name);
    if (trainable) {
      parameter.master = persistents.declare(spec.name, { shape: spec.shape, dtype: "f32" }, "masterWeights");
    }
    const name = trainable ? `${spec.name}.f16` : spec.name;
    parameter.value = persistents.declare(name, { shape: spec.shape, dtype: "f16" }, "weights");
    if (!trainable) parameter.master = parameter.value;
  }
}

/** After the update, working copies are made anew from the masters. */
function refreshWorkingCopies(draft: StepDraft): void {
  if (!draft.training) return;
  const builder = draft.update ?? draft.builder;
  builder.phase = "update";
  builder.scope("working_weights", () => {
    for (const { master, value, trainable } of draft.parameters) {
      if (trainable && value !== master) builder.call(refreshWorkingCopy, [master, value], {});
    }
  });
}
