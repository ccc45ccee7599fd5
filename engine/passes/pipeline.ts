import { GraphBuilder, PersistentValues } from "../graph/builder.ts";
import type { Graph, Value } from "../graph/types.ts";
import { printGraph } from "../graph/print.ts";
import { verifyGraph } from "../graph/verify.ts";
import type { Model } from "../model/config.ts";
import { type BatchInputs, LayerContext } from "../model/layers.ts";
import { resetAtStepStart } from "../../kernels/step_start.ts";
import { backward } from "./backward.ts";
import { appendOptimizer, type OptimizerOptions } from "./optimizer.ts";
import { draftGraphs, type Parameter, type Pass, type PassTrace, runPasses, type StepDraft } from "./step.ts";

/** What a training step is made from. */
export interface StepSettings {
  model: Model;
  microBatchSize: number;
  gradientAccumulationSteps: number;
  sequenceLength: number;
  optimizer: string;
  optimizerOptions: OptimizerOptions;
  /** Largest global gradient norm; 0 is off. */
  clip: number;
  dropout: number;
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

/** The passes of one training step, in order. Rewrites of the forward graph come before `backward`. */
function passesFor(settings: StepSettings): Pass[] {
  const accumulate = settings.gradientAccumulationSteps > 1;
  return [
    backward({ accumulate }),
    appendOptimizer({
      optimizer: settings.optimizer,
      options: settings.optimizerOptions,
      clip: settings.clip,
      accumulate,
    }),
  ];
}

/** Builds every graph of a training step. Needs no GPU and allocates nothing. */
export function buildStep(settings: StepSettings): StepGraphs {
  const shared = declareShared(settings);
  const draft = forwardDraft(settings, shared, settings.dropout);
  runPasses(draft, passesFor(settings), settings.trace);
  const graphs = draftGraphs(draft);
  const evaluate = settings.evaluate ? graphs.push(evaluationGraph(settings, shared)) - 1 : null;
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
  const shared = declareShared(settings);
  const graph = evaluationGraph(settings, shared);
  return { graph, ...shared, persistents: shared.persistents.all() };
}

type ForwardSettings = Pick<StepSettings, "model" | "microBatchSize" | "sequenceLength" | "trace">;
type Shared = Pick<StepDraft, "persistents" | "inputs" | "parameters">;

function declareShared({ model, microBatchSize, sequenceLength }: ForwardSettings): Shared {
  const persistents = new PersistentValues();
  const inputs = declareInputs(persistents, microBatchSize * sequenceLength);
  const parameters = model.parameters.map((spec): Parameter => {
    const value = persistents.declare(spec.name, { shape: spec.shape, dtype: "f32" }, "weights");
    return { spec, value, master: value, trainable: true };
  });
  return { persistents, inputs, parameters };
}

/** What evaluation replays: the forward graph without dropout. */
function evaluationGraph(settings: ForwardSettings, shared: Shared): Graph {
  const draft = forwardDraft(settings, shared, 0);
  const graph = draft.builder.finish("evaluate", []);
  verifyGraph(graph, "evaluation");
  settings.trace?.("evaluation", printGraph(graph));
  return graph;
}

function forwardDraft(settings: ForwardSettings, shared: Shared, dropout: number): StepDraft {
  const builder = new GraphBuilder(shared.persistents);
  builder.scope("start", () => builder.call(resetAtStepStart, [shared.inputs.loss], {}));
  const context = new LayerContext(builder, {
    batch: settings.microBatchSize,
    sequence: settings.sequenceLength,
    inputs: shared.inputs,
    parameters: new Map(shared.parameters.map(({ spec, value }) => [spec.name, value])),
    dropout,
  });
  const loss = settings.model.loss(context);
  return { ...shared, builder, loss, gradients: new Map() };
}

function declareInputs(persistents: PersistentValues, rows: number): BatchInputs {
  const ids = (name: string) => persistents.declare(name, { shape: [rows], dtype: "u32" }, "inputs");
  return {
    tokens: ids("tokens"),
    tokenOrder: ids("token_order"),
    positions: ids("positions"),
    positionOrder: ids("position_order"),
    targets: persistents.declare("targets", { shape: [rows], dtype: "i32" }, "inputs"),
    loss: persistents.declare("loss", { shape: [1], dtype: "f32" }, "workspace"),
  };
}
