import type { BytesByRole } from "../graph/types.ts";
import type { KernelChoices } from "../runtime/autotune.ts";
import type { AdapterDescription } from "../runtime/device.ts";
import type { KernelTime, StepProfile } from "../runtime/timing.ts";

/** Everything a training run depends on. `results/record.ts` stores the same fields; the runner maps one to the other. */
export interface TrainOptions {
  /** A preset, or a folder with config.json. */
  model: string;
  /** `classify` gives a BERT that was trained for something else a new classifier; default: what the model is for. */
  task?: "own" | "classify";
  /** Named corpus, text file, token file or file of examples. */
  data: string;
  /** Fields of examples that hold the text and the label, where they are not called `text` and `label`. */
  textField?: string;
  labelField?: string;
  /** What becomes of texts longer than a sequence: an error, their first tokens alone, or several pieces. Default: refuse. */
  overlong?: "refuse" | "truncate" | "split";
  /** Whether short documents share a sequence; each then sees itself alone. */
  packing?: boolean;
  /** `bytes`, `gpt2`, `bpe<size>`, or `model` for the tokenizer in the model's folder. Unused for token files. */
  tokenizer: string;
  heldOutFraction: number;
  sequenceLength: number;
  microBatchSize: number;
  gradientAccumulationSteps: number;
  methods: readonly string[];
  methodOptions: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  optimizer: string;
  optimizerOptions: Readonly<Record<string, number | boolean | null>>;
  learningRate: number;
  schedule: "constant" | "cosine";
  warmupSteps: number;
  clip: number;
  dropout: number;
  steps: number;
  evaluateEvery: number;
  heldOutWindows: number;
  seed: number;
  shuffle: boolean;
}

/** What one optimizer step did. */
export interface StepReport {
  /** From 0. */
  step: number;
  /** Mean over the step's unmasked targets, before the update. */
  loss: number;
  /** Tokens of the step, padding not counted. */
  tokens: number;
  /** Unmasked targets of the step. */
  targets: number;
  ms: number;
  gradientNorm: number;
  learningRate: number;
  lossScale: number;
  skipped: boolean;
  /** Bytes the ledger holds. */
  bytes: number;
}

/** What a whole run did. */
export interface TrainResult {
  parameters: number;
  trainableParameters: number;
  plannedPeakBytes: number;
  plannedByRole: BytesByRole;
  bookedPeakBytes: number;
  bookedByRole: BytesByRole;
  timeline: { dispatch: number; bytes: BytesByRole }[];
  dispatchesPerStep: number;
  modelFlopsPerStep: number;
  heldOut: { step: number; tokens: number; loss: number }[];
  /** One entry for each other data that was evaluated on. */
  heldOutElsewhere: { data: string; points: { step: number; tokens: number; loss: number }[] }[];
  dataHash: string;
  profile: KernelTime[] | null;
  /** Kernels that were chosen by the clock, by what they were chosen for; empty where the rules chose all. */
  kernelChoices: KernelChoices;
  /** How the profile was taken; absent without one. */
  profiling?: Omit<StepProfile, "kernels">;
}

/** What a run tells while it goes on. Losses are read back late, so `onStep` may come after the next step began. */
export interface TrainListener {
  onStep?(report: StepReport): void;
  onHeldOut?(point: { step: number; tokens: number; loss: number }): void;
  onHeldOutElsewhere?(data: string, point: { step: number; tokens: number; loss: number }): void;
  /** Called once the device is open and still empty; awaited. */
  onDevice?(adapter: AdapterDescription): void | Promise<void>;
  /** One line on what is going on now, for progress displays: "compiling 42 pipelines". */
  onPhase?(text: string): void;
  /** Asked between steps; true ends the run early and cleanly. */
  shouldStop?(): boolean;
}
