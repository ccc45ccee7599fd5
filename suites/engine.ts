import type { TrainListener, TrainOptions, TrainResult } from "../engine/train/options.ts";
import type { BytesByRole } from "../results/record.ts";

/**
 * What a benchmark run asks of the training engine, in one place. Commands and the measuring process get it as an
 * argument, so tests run them against a trainer of their own.
 */
export interface Engine {
  /** Memory methods and optimizers that train today; suites and flags that name others are refused. */
  readonly implementedMethods: readonly string[];
  readonly implementedOptimizers: readonly string[];
  /** Names that `model` and `data` take besides paths. */
  readonly presets: readonly string[];
  readonly corpora: readonly string[];
  train(options: TrainOptions, listener: TrainListener): Promise<TrainResult>;
  /** Plans a training step without a GPU. */
  planTraining(options: TrainOptions): Promise<TrainingPlan>;
  /** Opens the adapter's description, not the device. */
  describeAdapter(): Promise<AdapterDescription>;
  /** Opens the device, runs one trivial dispatch and reads it back: what an empty device costs. */
  touchDevice(): Promise<void>;
  /** Loss over a whole text. */
  evaluate?(options: EvaluateOptions): Promise<Evaluation>;
  /** Writes what a training run ended with as a model folder, or an adapter folder where adapters were trained. */
  saveModel?(result: TrainResult, folder: string): Promise<void>;
}

/** What the planner knows of a step before anything runs. */
export interface TrainingPlan {
  parameters: number;
  trainableParameters: number;
  plannedPeakBytes: number;
  plannedByRole: BytesByRole;
  /** Bytes held between steps. */
  steadyBytes: number;
  dispatchesPerStep: number;
  /** FLOPs of the model's matrix products in one optimizer step, recomputation not counted. */
  modelFlopsPerStep: number;
}

/** What an adapter says of itself. */
export interface AdapterDescription {
  name: string;
  vendor: string;
  architecture: string;
  driver: string | null;
  software: boolean;
  features: string[];
  limits: Record<string, number>;
  subgroupSize: number;
}

export interface EvaluateOptions {
  model: string;
  data: string;
  tokenizer: string;
  sequenceLength: number;
  microBatchSize: number;
  /** Folder of a trained adapter to apply first. */
  adapter: string | null;
  /** Windows to evaluate; 0 is all. */
  heldOutWindows: number;
}

export interface Evaluation {
  /** Mean over unmasked targets, in nats. */
  loss: number;
  tokens: number;
}
