import type { BytesByRole } from "../graph/types.ts";
import type { DropoutRates } from "../model/dropout.ts";
import type { KernelChoices } from "../runtime/autotune.ts";
import type { AdapterDescription } from "../runtime/gpu.ts";
import type { KernelTime, StepProfile } from "../runtime/timing.ts";
import type { ClassScores } from "./class_scores.ts";

/**
 * Everything a training run depends on. `results/record.ts` stores the same
 * fields; the runner maps one to the other.
 */
export interface TrainOptions {
  /** A preset, or a folder with config.json. */
  model: string;
  /**
   * `classify` gives a BERT that was trained for something else a new classifier;
   * default: what the model is for.
   */
  task?: "own" | "classify";
  /** Named corpus, text file, token file or file of examples. */
  data: string;
  /** Fields of examples that hold the text and the label, where they are not called `text` and `label`. */
  textField?: string;
  /** Field of examples that holds the label. */
  labelField?: string;
  /**
   * What becomes of texts longer than a sequence: an error, their first tokens
   * alone, or several pieces. Default: refuse.
   */
  overlong?: "refuse" | "truncate" | "split";
  /** Whether short documents share a sequence; each then sees itself alone. */
  packing?: boolean;
  /**
   * `bytes`, `gpt2`, `bpe<size>`, or `model` for the tokenizer in the model's folder. Unused for token files.
   */
  tokenizer: string;
  /** Share of the data, at its end, kept for evaluation; 0 is none. */
  heldOutFraction: number;
  /** Tokens in a sequence. */
  sequenceLength: number;
  /** Sequences in one forward and backward pass. */
  microBatchSize: number;
  /** Micro-steps in an optimizer step. */
  gradientAccumulationSteps: number;
  /** Memory methods switched on, of `IMPLEMENTED_METHODS`. */
  methods: readonly string[];
  /** Settings of those methods, by method. */
  methodOptions: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** One of `IMPLEMENTED_OPTIMIZERS`. */
  optimizer: string;
  /** Settings of the optimizer (`beta1`, `eps`, `weightDecay` …). */
  optimizerOptions: Readonly<Record<string, number | boolean | null>>;
  /** Learning rate after warm-up; of a step, the rate it used. */
  learningRate: number;
  /** Course of the learning rate after warm-up. */
  schedule: "constant" | "cosine";
  /** Steps in which the rate rises from 0. */
  warmupSteps: number;
  /** Steps of the whole schedule, of which this run may be a part; default: those of the run. */
  scheduleSteps?: number;
  /** Largest global gradient norm; 0 is off. */
  clip: number;
  /**
   * Probability everywhere, by place, or `model`: as the model's configuration
   * has it, which presets have at 0.
   */
  dropout: number | Readonly<DropoutRates> | "model";
  /** Optimizer steps, of a continued run the further ones. */
  steps: number;
  /** Steps between held-out losses; 0 is at the end alone. */
  evaluateEvery: number;
  /** Held-out sequences in an evaluation; 0 is all. */
  heldOutWindows: number;
  /** Seed of weights, order and dropout. */
  seed: number;
  /** Whether the order of sequences is shuffled by the seed. */
  shuffle: boolean;
}

/** What one optimizer step did. */
export interface StepReport {
  /** Counts updates from 0. */
  step: number;
  /** Mean over the step's unmasked targets, before the update. */
  loss: number;
  /** Tokens of the step, padding not counted. */
  tokens: number;
  /** Unmasked targets of the step. */
  targets: number;
  /** Wall time, milliseconds. */
  ms: number;
  /** Global norm of the gradients before clipping. */
  gradientNorm: number;
  /** Learning rate after warm-up; of a step, the rate it used. */
  learningRate: number;
  /** Factor of the loss in the backward pass; 1 without mixed precision. */
  lossScale: number;
  /** Whether the update was skipped because a gradient overflowed. */
  skipped: boolean;
  /** Bytes the ledger holds. */
  bytes: number;
}

/** What one evaluation on held-out data found; scores only of a model that predicts a label per sequence. */
export interface HeldOutReport extends Partial<ClassScores> {
  /** Updates before it. */
  step: number;
  /** Tokens trained on before it. */
  tokens: number;
  /** Mean over targets, in nats. */
  loss: number;
  /** Wall time of its forward passes; a process's first evaluation is slower than others. */
  ms: number;
}

/** What a whole run did. */
export interface TrainResult {
  /** Elements of all weights. */
  parameters: number;
  /** Elements of the weights that are trained. */
  trainableParameters: number;
  /** What the planner predicts for the peak. */
  plannedPeakBytes: number;
  /** The same by role. */
  plannedByRole: BytesByRole;
  /** What the ledger booked at the peak. */
  bookedPeakBytes: number;
  /** The same by role. */
  bookedByRole: BytesByRole;
  /** Live bytes by role over the step's dispatches. */
  timeline: { dispatch: number; bytes: BytesByRole }[];
  /** Kernel launches in an optimizer step. */
  dispatchesPerStep: number;
  /** FLOPs of the model's matrix products in an optimizer step, recomputation not counted. */
  modelFlopsPerStep: number;
  /** Losses on the held-out data. */
  heldOut: HeldOutReport[];
  /**
   * Mean loss of a histogram of the training targets on the held-out ones (`unigramLoss`), nats; null where
   * nothing is held out.
   */
  unigramLoss: number | null;
  /** One entry for each other data that was evaluated on. */
  heldOutElsewhere: { data: string; points: HeldOutReport[] }[];
  /** sha256 of the data as read. */
  dataHash: string;
  /** Time by kernel over one more step; null where it was not asked for. */
  profile: KernelTime[] | null;
  /** Kernels that were chosen by the clock, by what they were chosen for; empty where the rules chose all. */
  kernelChoices: KernelChoices;
  /** Kernels that the driver's compiler refuses, in words. */
  kernelNotes: readonly string[];
  /** How the profile was taken; absent without one. */
  profiling?: Omit<StepProfile, "kernels">;
}

/**
 * What a run tells while it goes on. Losses are read back late, so `onStep` may
 * come after the next step began.
 */
export interface TrainListener {
  /** Called after every optimizer step. */
  onStep?(report: StepReport): void;
  /** Called after every evaluation. */
  onHeldOut?(point: HeldOutReport): void;
  /** Called after every evaluation on other data. */
  onHeldOutElsewhere?(data: string, point: HeldOutReport): void;
  /** Called once the device is open and still empty; awaited. */
  onDevice?(adapter: AdapterDescription): void | Promise<void>;
  /** Called once all kernels are compiled, before the device has memory of the plan; awaited. */
  onCompiled?(): void | Promise<void>;
  /** Steps that the run will do, from 0 and counted over continued runs: `first … last − 1`. */
  onSteps?(range: { first: number; last: number }): void;
  /** One line that the user should know whatever else is shown: what a continued run follows, for one. */
  onNote?(text: string): void;
  /** One line on what is going on now, for progress displays: "compiling 42 pipelines". */
  onPhase?(text: string): void;
  /** Asked between steps; true ends the run early and cleanly. */
  shouldStop?(): boolean;
}
