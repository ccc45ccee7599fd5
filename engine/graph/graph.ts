import type { OpDefinition } from "./op.ts";
import type { Value } from "./types.ts";

/** One op applied to values. `attrs` is plain data. */
export interface Node {
  readonly op: OpDefinition;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  // deno-lint-ignore no-explicit-any -- each op knows the type of its own attributes
  readonly attrs: any;
  /** Where in the model the node was made, as `"layers.3.attention"`. */
  readonly scope: string;
  /** Which half of the step it belongs to; passes that drop and recompute activations need to know. */
  readonly phase: Phase;
}

/** Part of a step that a node belongs to. */
export type Phase = "forward" | "recompute" | "backward" | "update";

/** Nodes in execution order. */
export interface Graph {
  readonly name: string;
  readonly nodes: readonly Node[];
  /** Transient values that must survive to the end of the graph. */
  readonly outputs: readonly Value[];
}
