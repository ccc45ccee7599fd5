import type { GraphBuilder, PersistentValues } from "../graph/builder.ts";
import type { Graph } from "../graph/graph.ts";
import type { Value } from "../graph/types.ts";
import { verifyGraph } from "../graph/verify.ts";
import { printGraph } from "../graph/print.ts";
import type { BatchInputs } from "../model/inputs.ts";
import type { ParameterSpec } from "../model/parameters.ts";
import type { QuantizedWeightAttrs } from "../../kernels/quantized_linear.ts";

/** A parameter on the device. */
export interface Parameter {
  spec: ParameterSpec;
  /** What the forward pass reads. */
  value: Value;
  /** What the optimizer updates: the value itself, or its f32 master copy under mixed precision. */
  master: Value;
  trainable: boolean;
  /** Added by a pass: not in the base model's checkpoint. */
  added?: boolean;
  /** Where its codes lie, if it is quantized: `value` is then a name without storage. */
  quantized?: QuantizedStorage;
}

/** Where a quantized weight lies: codes, absmax, nested absmax, decoding tables. */
export interface QuantizedStorage {
  attrs: QuantizedWeightAttrs;
  codes: Value;
  absmax: Value;
  nested: Value;
  tables: Value;
}

/** A training step while passes work on it. */
export interface StepDraft {
  persistents: PersistentValues;
  parameters: Parameter[];
  inputs: BatchInputs;
  /** Forward, then backward, then (without accumulation) update nodes. */
  builder: GraphBuilder;
  /** What the forward graph computes: the summed loss, or the logits of a graph without one. */
  loss: Value;
  /** Evaluation has no dropout and no update. */
  training: boolean;
  /** Gradients by parameter, once autodiff has run. */
  gradients: Map<Parameter, Value>;
  /** Norm of all gradients, scale to apply, overflow flag: f32 [4]; once the optimizer has been appended. */
  clip?: Value;
  /** With accumulation, the update has a graph of its own. */
  update?: GraphBuilder;
}

/** What the graphs of a step share. */
export type SharedDraft = Pick<StepDraft, "persistents" | "parameters" | "inputs">;

/**
 * One memory method, or one part of the step that every run needs. Never looks at the GPU. It acts in up to
 * four stages; a stage is done by all passes, in their order, before the next one begins.
 */
export interface Pass {
  name: string;
  /** Changes which parameters there are and how they are stored, before any graph is built. */
  declare?(shared: SharedDraft): void;
  /** Rewrites the forward graph, that of evaluation as well. */
  forward?(draft: StepDraft): void;
  /** Makes a training step of the forward graph: gradients, recomputation, the update. */
  step?(draft: StepDraft): void;
  /** Works on graphs that are whole, that of evaluation as well; what it makes need not have a VJP. */
  finish?(draft: StepDraft): void;
}

/** Graphs after a pass, as text; what `--print graph` shows. */
export type PassTrace = (pass: string, text: string) => void;

/** Applies one stage of all passes, in order; after each, every graph of the draft must verify. */
export function runPasses(
  draft: StepDraft,
  passes: readonly Pass[],
  stage: "forward" | "step" | "finish",
  trace?: PassTrace,
): void {
  for (const pass of passes) {
    if (!pass[stage]) continue;
    pass[stage](draft);
    for (const graph of draftGraphs(draft)) {
      verifyGraph(graph, pass.name);
      trace?.(pass.name, printGraph(graph));
    }
  }
}

/** The graphs of a draft: the micro-step (or whole step), then the update where it is apart. */
export function draftGraphs(draft: StepDraft): Graph[] {
  const clip = draft.clip ? [draft.clip] : [];
  if (!draft.update) return [draft.builder.finish("step", clip)];
  return [draft.builder.finish("micro_step", []), draft.update.finish("update", clip)];
}
