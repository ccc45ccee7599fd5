import type { GraphBuilder } from "../../graph/builder.ts";
import type { Value } from "../../graph/types.ts";
import type { Parameter } from "../step.ts";

/** A parameter with the gradient its update uses. */
export interface Update {
  parameter: Parameter;
  gradient: Value;
}

/** Settings of an optimizer; every one knows which it reads. */
export type OptimizerOptions = Readonly<Record<string, number | boolean | null>>;

/** Declares the state of an optimizer and appends its nodes. */
export type AppendOptimizer = (
  builder: GraphBuilder,
  updates: readonly Update[],
  clip: Value,
  options: OptimizerOptions,
) => void;
