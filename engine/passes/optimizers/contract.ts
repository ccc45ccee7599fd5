import type { GraphBuilder } from "../../graph/builder.ts";
import type { Value } from "../../graph/types.ts";
import type { StepBlock } from "../../../kernels/step_block.ts";
import type { Parameter } from "../step.ts";

/** A parameter with the gradient its update uses. */
export interface Update {
  parameter: Parameter;
  gradient: Value;
}

/** Settings of an optimizer; every one knows which it reads. */
export type OptimizerOptions = Readonly<Record<string, number | boolean | null>>;

/** Which update it is, and how large. */
export interface UpdateTime {
  /** Counts applied updates, from 1. */
  t: number;
  /** Learning rate of this update. */
  learningRate: number;
}

/**
 * What an optimizer adds to a step, and what it tells its kernels in every
 * update: all that the engine asks of it.
 */
export interface Optimizer {
  /** Declares its state and appends the nodes of the update. */
  append(builder: GraphBuilder, updates: readonly Update[], clip: Value, options: OptimizerOptions): void;
  /** The fields of the step block that its kernels read. */
  stepFields(time: UpdateTime, options: OptimizerOptions): Partial<StepBlock>;
  /** Whether a parameter may learn at a rate of its own (`ParameterSpec.rateFactor`). */
  hasRateFactors?: boolean;
}
