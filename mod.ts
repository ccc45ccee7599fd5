/**
 * The training engine's public interface.
 *
 * @module
 */
export type { Environment } from "./engine/host.ts";
export { InputError } from "./engine/input_error.ts";
export { NUMERICS } from "./engine/numerics.ts";
export type { DropoutRates } from "./engine/model/dropout.ts";
export { PRESET_NAMES } from "./engine/model/presets.ts";
export { CORPUS_NAMES } from "./engine/train/corpus.ts";
export { generate, type GenerateOptions, type Generation } from "./engine/train/generate.ts";
export { evaluate, type EvaluateOptions, type Evaluation } from "./engine/train/evaluate.ts";
export type {
  HeldOutReport,
  StepReport,
  TrainListener,
  TrainOptions,
  TrainResult,
} from "./engine/train/options.ts";
export type { ClassScores } from "./engine/train/class_scores.ts";
export { IMPLEMENTED_METHODS } from "./engine/train/methods.ts";
export {
  type DownloadProgress,
  type HubName,
  hubNameKind,
  type ModelFile,
  modelFiles,
  pinModel,
  type PinOptions,
} from "./engine/train/model_source.ts";
export { defaultTokenizer } from "./engine/train/prepare.ts";
export { IMPLEMENTED_OPTIMIZERS } from "./engine/train/methods.ts";
export {
  planTraining,
  type Printout,
  PRINTOUTS,
  printTraining,
  type TrainingPlan,
} from "./engine/train/plan_training.ts";
export { DivergedError, train, type TrainExtras } from "./engine/train/train.ts";
export { requireWritableFolder } from "./engine/train/model_folder.ts";
export { describeAdapter } from "./engine/runtime/device.ts";
export {
  DeviceLimitError,
  DeviceLostError,
  NoAdapterError,
  OutOfMemoryError,
} from "./engine/runtime/errors.ts";
export type { AdapterDescription } from "./engine/runtime/gpu.ts";
export type { KernelChoices } from "./engine/runtime/autotune.ts";
export {
  AUTOTUNE_MODES,
  type AutotuneMode,
  autotuneModeNamed,
  defaultAutotuneMode,
} from "./engine/runtime/autotune_mode.ts";
export { defaultProvider, providerNamed } from "./engine/runtime/provider.ts";
export { GPU_PROVIDERS, type GpuProviderId } from "./engine/runtime/provider_contract.ts";
export { likelyAdapter, PLANNED_ADAPTERS, type PlannedAdapter } from "./engine/runtime/planned_kernels.ts";
export { tuneLavapipe } from "./engine/runtime/lavapipe/environment.ts";
export { measureRoofline, type Roofline, type RooflineOptions } from "./engine/runtime/roofline.ts";
export type { Steadiness } from "./engine/runtime/steady.ts";
export { type ProviderSurvey, surveyProviders } from "./engine/runtime/survey.ts";
export { touchDevice } from "./engine/runtime/touch.ts";
export { type BytesByRole, type Role, ROLES } from "./engine/graph/types.ts";
export type { Sampling } from "./engine/train/sampling.ts";
export {
  type KernelTime,
  PROFILE_METHODS,
  type ProfileMethod,
  type StepProfile,
} from "./engine/runtime/timing.ts";
