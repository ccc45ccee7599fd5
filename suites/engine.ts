import {
  type AdapterDescription,
  CORPUS_NAMES,
  describeAdapter,
  evaluate,
  type EvaluateOptions,
  type Evaluation,
  generate,
  type GenerateOptions,
  type Generation,
  type HeldOutReport,
  IMPLEMENTED_METHODS,
  IMPLEMENTED_OPTIMIZERS,
  likelyAdapter,
  measureRoofline,
  type ModelFile,
  modelFiles,
  pinModel,
  type PinOptions,
  PLANNED_ADAPTERS,
  type PlannedAdapter,
  planTraining,
  PRESET_NAMES,
  type Printout,
  PRINTOUTS,
  printTraining,
  type ProviderSurvey,
  type Roofline,
  type StepReport,
  surveyProviders,
  touchDevice,
  train,
  type TrainExtras,
  type TrainingPlan,
  type TrainListener,
  type TrainOptions,
  type TrainResult,
} from "../mod.ts";

export { PLANNED_ADAPTERS, type PlannedAdapter, type Printout, PRINTOUTS };
export type {
  AdapterDescription,
  EvaluateOptions,
  Evaluation,
  HeldOutReport,
  ProviderSurvey,
  StepReport,
  TrainExtras,
  TrainingPlan,
  TrainListener,
  TrainOptions,
  TrainResult,
};

/**
 * What commands and benchmark runs ask of the training engine, in one place. They get it as an argument, so
 * that tests can run them against a trainer of their own.
 */
export interface Engine {
  /** Memory methods and optimizers that train today; suites and flags that name others are refused. */
  readonly implementedMethods: readonly string[];
  readonly implementedOptimizers: readonly string[];
  /** Names that `model` and `data` take besides paths. */
  readonly presets: readonly string[];
  readonly corpora: readonly string[];
  train(options: TrainOptions, listener: TrainListener, extras?: TrainExtras): Promise<TrainResult>;
  /** Plans a training step without a GPU. */
  planTraining(options: TrainOptions, adapter?: PlannedAdapter): Promise<TrainingPlan>;
  /** The kind of adapter that plans are for where none is named. */
  likelyAdapter?(): PlannedAdapter;
  /**
   * Downloads a model of the hub and says at which commit it is; other models are
   * called what they are called.
   */
  pinModel?(model: string, options: PinOptions): Promise<string>;
  /** Files of a model with their checksums. */
  modelFiles?(model: string): Promise<ModelFile[]>;
  /** A training step as text. */
  printTraining?(options: TrainOptions, what: Printout, adapter?: PlannedAdapter): Promise<string>;
  /** Loss of a model over a whole text. */
  evaluate(options: EvaluateOptions): Promise<Evaluation>;
  /** Continues a text; `onText` is told about it as it grows. */
  generate?(options: GenerateOptions, onText?: (text: string) => void): Promise<Generation>;
  /** Says what the adapter is, without opening a device. */
  describeAdapter(): Promise<AdapterDescription>;
  /** What every implementation of WebGPU offers on this machine. */
  surveyProviders(): Promise<ProviderSurvey[]>;
  /** Opens a device, touches it and closes it: what an empty device costs. */
  touchDevice(): Promise<void>;
  /** What the device can do at best. */
  measureRoofline?(): Promise<Roofline>;
}

/** The engine of this version. */
export const engine: Engine = {
  implementedMethods: IMPLEMENTED_METHODS,
  implementedOptimizers: IMPLEMENTED_OPTIMIZERS,
  presets: PRESET_NAMES,
  corpora: CORPUS_NAMES,
  train,
  planTraining,
  pinModel,
  modelFiles,
  printTraining,
  likelyAdapter,
  evaluate: (options) => evaluate(options),
  generate,
  describeAdapter: () => describeAdapter(),
  surveyProviders,
  touchDevice,
  measureRoofline,
};
