import { globalNorm } from "../../kernels/global_norm.ts";
import type { Node } from "../graph/graph.ts";
import { OPTIMIZERS } from "./optimizer.ts";
import type { OptimizerOptions } from "./optimizers/contract.ts";
import type { Parameter, Pass, StepDraft } from "./step.ts";

/**
 * The optimizer step inside the backward pass (torchtune's OptimizerInBackward; LOMO, Lv et al. 2023,
 * arXiv:2306.09782): each parameter is updated as soon as its gradient is complete and nothing in the step
 * reads the parameter any more, so gradients live one tensor at a time.
 *
 * There is no norm over all gradients when the first update is due: no global clipping, no skipping of a
 * whole step, no accumulation. A tensor whose own gradient is not finite skips its own update.
 */
export function optimizerInBackward(
  { optimizer, options }: { optimizer: string; options: OptimizerOptions },
): Pass {
  return {
    name: `optimizer ${optimizer} in the backward pass`,
    step(draft) {
      const insertions = [...draft.gradients].map(([parameter, gradient]) => ({
        parameter,
        gradient,
        after: lastUse(draft.builder.nodes, parameter, gradient.id),
      }));
      const nodes = draft.builder.nodes.splice(0);
      draft.builder.phase = "update";
      nodes.forEach((node, index) => {
        draft.builder.push(node);
        for (const { parameter, gradient, after } of insertions) {
          if (after === index) appendUpdate(draft, parameter, gradient, { optimizer, options });
        }
      });
    },
  };
}

/** Index of the last node that makes the gradient or reads the parameter. */
function lastUse(nodes: readonly Node[], { value }: Parameter, gradientId: number): number {
  return nodes.findLastIndex(({ inputs, outputs }) =>
    inputs.some(({ id }) => id === value.id) || outputs.some(({ id }) => id === gradientId)
  );
}

function appendUpdate(
  draft: StepDraft,
  parameter: Parameter,
  gradient: NonNullable<ReturnType<StepDraft["gradients"]["get"]>>,
  { optimizer, options }: { optimizer: string; options: OptimizerOptions },
): void {
  draft.builder.scope(`update.${parameter.spec.name}`, () => {
    const [clip] = draft.builder.call(globalNorm, [gradient], { maxNorm: 0 });
    OPTIMIZERS[optimizer].append(draft.builder, [{ parameter, gradient }], clip, options);
    // The step reports the flags of its last tensor.
    draft.clip = clip;
  });
}
