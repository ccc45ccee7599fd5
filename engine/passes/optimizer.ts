import { GraphBuilder } from "../graph/builder.ts";
import { globalNorm } from "../../kernels/global_norm.ts";
import { zero } from "../../kernels/step_start.ts";
import { adafactorOptimizer } from "./optimizers/adafactor.ts";
import { adamwOptimizer } from "./optimizers/adamw.ts";
import { adamw8bitOptimizer } from "./optimizers/adamw_8bit.ts";
import type { Optimizer, OptimizerOptions, Update } from "./optimizers/contract.ts";
import { sgdOptimizer } from "./optimizers/sgd.ts";
import type { Pass, StepDraft } from "./step.ts";

/** Optimizers by the name the command line gives them. */
export const OPTIMIZERS: Readonly<Record<string, Optimizer>> = {
  adamw: adamwOptimizer,
  adafactor: adafactorOptimizer,
  adamw8bit: adamw8bitOptimizer,
  sgd: sgdOptimizer,
};

/**
 * Appends clipping and the optimizer's update: to the step itself, so that gradients can share memory with
 * activations, or with accumulation to an update graph of its own, which zeroes the accumulators at its end.
 */
export function appendOptimizer(
  { optimizer, options, clip, accumulate }: {
    optimizer: string;
    options: OptimizerOptions;
    clip: number;
    accumulate: boolean;
  },
): Pass {
  return {
    name: `optimizer ${optimizer}`,
    step(draft: StepDraft) {
      const builder = accumulate ? draft.update = new GraphBuilder(draft.persistents) : draft.builder;
      builder.phase = "update";
      const updates = [...draft.gradients].map(([parameter, gradient]): Update => ({ parameter, gradient }));
      builder.scope("update", () => {
        [draft.clip] = builder.call(globalNorm, updates.map(({ gradient }) => gradient), { maxNorm: clip });
        OPTIMIZERS[optimizer].append(builder, updates, draft.clip, options);
        if (accumulate) builder.call(zero, updates.map(({ gradient }) => gradient), {});
      });
    },
  };
}
