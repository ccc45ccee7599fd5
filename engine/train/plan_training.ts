import type { BytesByRole } from "../graph/types.ts";
import { parameterCount } from "../model/parameters.ts";
import { printPlan } from "../plan/print.ts";
import { likelyAdapter, type PlannedAdapter, plannedKernels } from "../runtime/planned_kernels.ts";
import { requireImplemented } from "./methods.ts";
import type { TrainOptions, TrainResult } from "./options.ts";
import { type Prepared, prepareModel } from "./prepare.ts";
import { planStep, stepSettings, stepTimeline, type Trainer } from "./trainer.ts";

/** What the planner knows of a run. */
export interface TrainingPlan {
  /** Elements of all weights. */
  parameters: number;
  /** Elements of the weights that are trained. */
  trainableParameters: number;
  /** What the planner predicts for the peak. */
  plannedPeakBytes: number;
  /** The same by role. */
  plannedByRole: BytesByRole;
  /** Bytes held between steps. */
  steadyBytes: number;
  /** Live bytes by role over the step's dispatches. */
  timeline: TrainResult["timeline"];
  /** Kernel launches in an optimizer step. */
  dispatchesPerStep: number;
  /** FLOPs of the model's matrix products in an optimizer step, recomputation not counted. */
  modelFlopsPerStep: number;
}

/**
 * Plans a training run without a GPU and, but for the vocabulary of a token file, without its data.
 *
 * @param adapter The kind it will run on; default: what this machine most likely has.
 * @throws {InputError}
 */
export async function planTraining(
  options: TrainOptions,
  adapter: PlannedAdapter = likelyAdapter(),
): Promise<TrainingPlan> {
  requireImplemented(options);
  const model = await prepareModel(options);
  const { graphs, plan } = planStep(stepSettings(model, options), plannedKernels(adapter));
  const { micro, update } = graphs.programs;
  const dispatches = (program: number) => plan.programs[program].commands.length;
  return {
    ...countParameters(graphs.parameters),
    plannedPeakBytes: plan.peakBytes,
    plannedByRole: plan.bytesByRole,
    steadyBytes: plan.steadyBytes,
    timeline: stepTimeline(plan, graphs.programs),
    dispatchesPerStep: options.gradientAccumulationSteps * dispatches(micro) +
      (update === null ? 0 : dispatches(update)),
    modelFlopsPerStep: modelFlops(model, options),
  };
}

/**
 * What `printTraining` shows: the graphs after every pass, the plan node by node,
 * or the text of every kernel.
 */
export const PRINTOUTS = ["graph", "plan", "wgsl"] as const;
/** One of `PRINTOUTS`. */
export type Printout = typeof PRINTOUTS[number];

/** A training step as text, without a GPU: one decision a line. @throws {InputError} */
export async function printTraining(
  options: TrainOptions,
  what: Printout,
  adapter: PlannedAdapter = likelyAdapter(),
): Promise<string> {
  requireImplemented(options);
  const model = await prepareModel(options);
  const graphs: string[] = [];
  const trace = (pass: string, text: string) => graphs.push(`# after ${pass}\n${text}`);
  const { plan } = planStep({ ...stepSettings(model, options), trace }, plannedKernels(adapter));
  switch (what) {
    case "graph":
      return graphs.join("\n");
    case "plan":
      return printPlan(plan);
    case "wgsl": {
      const kernels = plan.programs.flatMap(({ commands }) => commands)
        .flatMap((command) => ("clear" in command ? [] : [command.kernel]));
      const byCode = new Map(kernels.map((kernel) => [kernel.code, kernel]));
      return [...byCode.values()].map(({ name, code }) => `// ==== ${name}\n${code}`).join("\n");
    }
    default:
      throw new TypeError(`Unknown printout ${what satisfies never}`);
  }
}

/** Elements of all weights, and of those that are trained. */
export function countParameters(parameters: Trainer["graphs"]["parameters"]) {
  return {
    parameters: parameterCount(parameters.map(({ spec }) => spec)),
    trainableParameters: parameterCount(
      parameters.filter(({ trainable }) => trainable).map(({ spec }) => spec),
    ),
  };
}

/** Matrix products of forward and backward pass (twice the forward's), over all tokens of a step. */
export function modelFlops(
  model: Prepared["model"],
  options: Pick<TrainOptions, "sequenceLength" | "microBatchSize" | "gradientAccumulationSteps">,
): number {
  const { sequenceLength, microBatchSize, gradientAccumulationSteps } = options;
  const tokens = sequenceLength * microBatchSize * gradientAccumulationSteps;
  return 3 * model.forwardFlopsPerToken(sequenceLength) * tokens;
}
