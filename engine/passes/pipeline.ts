import { GraphBuilder, PersistentValues } from "../graph/builder.ts";
import type { Graph } from "../graph/graph.ts";
import type { Value } from "../graph/types.ts";
import { printGraph } from "../graph/print.ts";
import { verifyGraph } from "../graph/verify.ts";
import type { Model } from "../model/config.ts";
import type { DropoutRates } from "../model/dropout.ts";
import { type BatchInputs, declareInputs } from "../model/inputs.ts";
import { LayerContext } from "../model/layers.ts";
import { linearCrossEntropy } from "../../kernels/cross_entropy.ts";
import { resetAtStepStart } from "../../kernels/step_start.ts";
import { backward } from "./autodiff.ts";
import { appendOptimizer } from "./optimizer.ts";
import type { OptimizerOptions } from "./optimizers/contract.ts";
import { checkpointing, type CheckpointSettings } from "./checkpointing.ts";
import { fuseAttention } from "./flash_attention.ts";
import { geluFusion } from "./gelu_fusion.ts";
import { injectLora, type LoraSettings } from "./lora.ts";
import { optimizerInBackward } from "./optimizer_in_backward.ts";
import { quantizeBase, type QuantizeSettings } from "./quantize_base.ts";
import { wholeLogits } from "./whole_logits.ts";
import { mixedPrecision } from "./mixed_precision.ts";
import {
  draftGraphs,
  type Parameter,
  type Pass,
  type PassTrace,
  runPasses,
  type SharedDraft,
  type StepDraft,
} from "./step.ts";

/** Memory methods that are on, with their settings. */
export interface StepMethods {
  checkpoint?: CheckpointSettings;
  flash?: boolean;
  fp16?: boolean;
  lora?: LoraSettings;
  /** Needs LoRA: a quantized base cannot be trained. */
  quantize?: QuantizeSettings;
  wholeLogits?: boolean;
  optimizerInBackward?: boolean;
}

/** What a training step is made from. */
export interface StepSettings {
  model: Model;
  microBatchSize: number;
  gradientAccumulationSteps: number;
  sequenceLength: number;
  methods: StepMethods;
  optimizer: string;
  optimizerOptions: OptimizerOptions;
  /** Largest global gradient norm; 0 is off. */
  clip: number;
  /** Probability everywhere, or by where it acts. */
  dropout: number | Readonly<DropoutRates>;
  /** Whether documents share sequences: attention then needs to know which tokens belong together. */
  packed?: boolean;
  /** Whether held-out loss will be evaluated: that is one more program over the same memory. */
  evaluate: boolean;
  trace?: PassTrace;
}

/** A complete step: graphs that share persistent values and run one after another. */
export interface StepGraphs {
  graphs: Graph[];
  /** Indices into `graphs`; `update` is null where the step needs no second program. */
  programs: { micro: number; update: number | null; evaluate: number | null };
  persistents: Value[];
  parameters: Parameter[];
  inputs: BatchInputs;
  /** Norm, scale and overflow flag of the gradients, f32 [4]. */
  clip: Value;
}

/** The passes of any graph of a model, in order: those of evaluation are these alone. */
function modelPasses({ lora, quantize, flash, fp16, wholeLogits: whole }: StepMethods): Pass[] {
  return [
    ...whole ? [wholeLogits()] : [],
    ...lora ? [injectLora(lora)] : [],
    ...quantize ? [quantizeBase(quantize)] : [],
    ...flash ? [fuseAttention()] : [],
    // Its working copies are of every parameter there is.
    ...fp16 ? [mixedPrecision()] : [],
    geluFusion(),
  ];
}

/** The passes of one training step, in order. */
function passesFor(
  { methods, optimizer, optimizerOptions, clip, gradientAccumulationSteps }: StepSettings,
): Pass[] {
  const accumulate = gradientAccumulationSteps > 1;
  return [
    ...modelPasses(methods),
    backward({ accumulate }),
    ...methods.checkpoint ? [checkpointing(methods.checkpoint)] : [],
    methods.optimizerInBackward
      ? optimizerInBackward({ optimizer, options: optimizerOptions })
      : appendOptimizer({ optimizer, options: optimizerOptions, clip, accumulate }),
  ];
}

/** Builds every graph of a training step. Needs no GPU and allocates nothing. */
export function buildStep(settings: StepSettings): StepGraphs {
  const passes = passesFor(settings);
  const shared = declareShared(settings, passes);
  const draft = forwardDraft(settings, shared, {
    training: true,
    dropout: settings.dropout,
    result: "loss",
  });
  for (const stage of ["forward", "step", "finish"] as const) {
    runPasses(draft, passes, stage, settings.trace);
  }
  const graphs = draftGraphs(draft);
  const evaluate = settings.evaluate ? graphs.push(evaluationGraph(settings, shared, passes)) - 1 : null;
  return {
    graphs,
    programs: { micro: 0, update: draft.update ? 1 : null, evaluate },
    persistents: shared.persistents.all(),
    parameters: shared.parameters,
    inputs: shared.inputs,
    clip: draft.clip!,
  };
}

/** The forward graph alone, with the persistent values it needs. */
export function buildEvaluation(
  settings: ForwardSettings,
): { graph: Graph; persistents: Value[]; parameters: Parameter[]; inputs: BatchInputs } {
  const passes = modelPasses(settings.methods);
  const shared = declareShared(settings, passes);
  const graph = evaluationGraph(settings, shared, passes);
  return { graph, ...shared, persistents: shared.persistents.all() };
}

type ForwardSettings = Pick<
  StepSettings,
  "model" | "microBatchSize" | "sequenceLength" | "methods" | "packed" | "trace"
>;

function declareShared(
  { model, microBatchSize, sequenceLength, packed }: ForwardSettings,
  passes: readonly Pass[],
): SharedDraft {
  const persistents = new PersistentValues();
  const inputs = declareInputs(
    persistents,
    model.inputs({ batch: microBatchSize, sequence: sequenceLength, packed }),
  );
  const parameters = model.parameters.map((spec): Parameter => {
    const value = persistents.declare(spec.name, { shape: spec.shape, dtype: "f32" }, "weights");
    return { spec, value, master: value, trainable: true };
  });
  const shared = { persistents, inputs, parameters };
  for (const pass of passes) pass.declare?.(shared);
  return shared;
}

/** The forward graph up to the logits, with the persistent values it needs. */
export function buildLogits(
  settings: ForwardSettings,
): { graph: Graph; persistents: Value[]; parameters: Parameter[]; inputs: BatchInputs; logits: Value } {
  const passes = modelPasses(settings.methods);
  const shared = declareShared(settings, passes);
  const draft = withoutTraining(settings, shared, passes, "logits");
  const graph = draft.builder.finish("logits", [draft.loss]);
  verifyGraph(graph, "logits");
  settings.trace?.("logits", printGraph(graph));
  return { graph, ...shared, persistents: shared.persistents.all(), logits: draft.loss };
}

/**
 * What evaluation replays: the forward graph without dropout. Of a model that predicts a label per sequence,
 * its output are the logits `[B, labels, rounded up to four]`: which label that is says more than the loss.
 */
function evaluationGraph(settings: ForwardSettings, shared: SharedDraft, passes: readonly Pass[]): Graph {
  const { builder } = withoutTraining(settings, shared, passes, "loss");
  const [, logits] = builder.nodes.find(({ op }) => op === linearCrossEntropy)!.outputs;
  const graph = builder.finish("evaluate", settings.model.objective === "sequence-label" ? [logits] : []);
  verifyGraph(graph, "evaluation");
  settings.trace?.("evaluation", printGraph(graph));
  return graph;
}

/** The forward pass alone. */
function withoutTraining(
  settings: ForwardSettings,
  shared: SharedDraft,
  passes: readonly Pass[],
  result: "loss" | "logits",
): StepDraft {
  const draft = forwardDraft(settings, shared, { training: false, dropout: 0, result });
  runPasses(draft, passes, "forward");
  runPasses(draft, passes, "finish");
  return draft;
}

function forwardDraft(
  settings: ForwardSettings,
  shared: SharedDraft,
  { training, dropout, result }: {
    training: boolean;
    dropout: StepSettings["dropout"];
    result: "loss" | "logits";
  },
): StepDraft {
  const builder = new GraphBuilder(shared.persistents);
  if (result === "loss") {
    builder.scope("start", () => builder.call(resetAtStepStart, [shared.inputs.loss], {}));
  }
  const context = new LayerContext(builder, {
    batch: settings.microBatchSize,
    sequence: settings.sequenceLength,
    inputs: shared.inputs,
    parameters: shared.parameters,
    dropout,
  });
  const loss = settings.model[result](context);
  return { ...shared, builder, loss, training, gradients: new Map() };
}
