/**
 * What a benchmark run leaves behind: one `CellRecord` a cell and one `RunRecord` a run, as JSON. This is the contract
 * between the runner, the report and anyone who reads published results. Records hold raw samples and the whole
 * configuration; medians, ratios and verdicts are derived when they are read. Bytes are bytes, times milliseconds.
 */

/** Version of the format; readers refuse versions they do not know. */
export const RECORD_VERSION = 1;

export type BytesByRole = {
  weights: number;
  masterWeights: number;
  gradients: number;
  optimizer: number;
  activations: number;
  workspace: number;
  inputs: number;
};

/** How a cell ended. All but `ok` are results too. `not-run` cells were skipped by a stated rule, named in `reason`. */
export const STATUSES = ["ok", "oom", "diverged", "timeout", "device-lost", "error", "not-run"] as const;
export type Status = typeof STATUSES[number];

/** Everything a training run depends on, nothing left to defaults. Its hash is the cell's identity. */
export interface RunConfig {
  /** A preset, or a folder. */
  model: string;
  /** Named corpus or file. */
  data: string;
  /** `bytes`, `gpt2`, `bpe512` …, or `model` (the folder's own). */
  tokenizer: string;
  /** Share of the corpus, at its end, held out for evaluation; 0 is none. */
  heldOutFraction: number;
  sequenceLength: number;
  microBatchSize: number;
  gradientAccumulationSteps: number;
  /** Memory methods switched on, sorted. */
  methods: string[];
  /** Settings of those methods (`{ lora: { rank: 8, … } }`). */
  methodOptions: Record<string, Record<string, unknown>>;
  optimizer: string;
  /** Settings of the optimizer (`beta1`, `beta2`, `eps`, `weightDecay`, …). */
  optimizerOptions: Record<string, number | boolean | null>;
  learningRate: number;
  schedule: "constant" | "cosine";
  warmupSteps: number;
  /** Largest global gradient norm; 0 is off. */
  clip: number;
  dropout: number;
  steps: number;
  /** Held-out loss is taken before step 0, then every so many steps, and at the end; 0 is at the end alone. */
  evaluateEvery: number;
  /** Held-out windows used for each evaluation; 0 is all. */
  heldOutWindows: number;
  seed: number;
  shuffle: boolean;
}

/** One point of held-out loss: mean over unmasked targets after `step` updates and `tokens` trained tokens. */
export interface HeldOutPoint {
  step: number;
  tokens: number;
  loss: number;
}

/** Memory of one cell, in bytes. */
export interface MemoryRecord {
  /** What the planner predicts, before anything runs. */
  plannedPeakBytes: number;
  plannedByRole: BytesByRole;
  /** What the ledger booked; equal to the plan to the byte, or the run is an error. */
  bookedPeakBytes: number;
  bookedByRole: BytesByRole;
  /** What the driver or the operating system saw, less the empty-device baseline; null where it cannot be had. */
  observedPeakBytes: number | null;
  /** The baseline that was subtracted, where there is one. */
  observedBaselineBytes: number | null;
  /** How it was observed (`process peak RSS`, `nvidia-smi`, …), or why not. */
  observedHow: string;
  /** Live bytes by role over the step's dispatches, at most 256 points. */
  timeline: { dispatch: number; bytes: BytesByRole }[];
}

/** Time of one kernel over a profiled step. */
export interface KernelProfile {
  kernel: string;
  dispatches: number;
  ms: number;
  flops: number;
}

/** One training step's raw samples; arrays are indexed by step. */
export interface StepSamples {
  loss: (number | null)[];
  ms: number[];
  tokens: number[];
  gradientNorm: (number | null)[];
  learningRate: number[];
  /** Only with mixed precision. */
  lossScale?: number[];
  /** Steps whose update was skipped because of an overflow. */
  skipped?: number[];
}

/** The machine a cell ran on. */
export interface Environment {
  adapter: string;
  vendor: string;
  architecture: string;
  driver: string | null;
  software: boolean;
  features: string[];
  limits: Record<string, number>;
  subgroupSize: number;
  operatingSystem: string;
  cpu: string | null;
  cpuCount: number;
  memoryBytes: number;
  deno: string;
  v8: string;
  typescript: string;
  threefold: string;
  /** Commit of the working tree, with `+` when it has changes; null outside a repository. */
  commit: string | null;
}

/** One cell of a matrix. */
export interface CellRecord {
  recordVersion: number;
  /** Hash of suite phase, repeat and configuration: twelve hex digits. */
  id: string;
  /** The phase of the suite it belongs to (`batch-size`, `single`, `ladder`, `factorial`, …). */
  phase: string;
  /** What the cell is called in charts (`batch 4`, `+ checkpointing`). */
  label: string;
  /** Repeats of the same configuration, for timing; 0 is the first. */
  repeat: number;
  status: Status;
  /** Why, where the status is not `ok`. */
  reason: string | null;
  config: RunConfig;
  /** Command that runs this cell alone. */
  command: string;
  startedAt: string;
  wallMs: number;
  parameters: number | null;
  trainableParameters: number | null;
  dispatchesPerStep: number | null;
  /** FLOPs of the model's matrix products in one optimizer step, recomputation not counted. */
  modelFlopsPerStep: number | null;
  /** Steps at the start that timing statistics leave out. */
  warmupSteps: number;
  samples: StepSamples | null;
  heldOut: HeldOutPoint[];
  memory: MemoryRecord | null;
  profile: KernelProfile[] | null;
  environment: Environment;
  /** sha256 of the corpus as read. */
  dataHash: string | null;
}

/** A choice that a rule made from cells, with the rule in words and what it looked at. */
export interface Decision {
  name: string;
  rule: string;
  /** Ids of the cells it looked at. */
  inputs: string[];
  /** Figures the rule compared, by label. */
  figures: Record<string, Record<string, number | null>>;
  chosen: string;
  value: number | string;
  reason: string;
}

/** `run.json`: what was run and what was decided. The cells lie beside it in `cells/<id>.json`. */
export interface RunRecord {
  recordVersion: number;
  suite: string;
  title: string;
  /** sha256 of the suite file. */
  suiteHash: string;
  tier: string;
  tierReason: string;
  quick: boolean;
  command: string;
  startedAt: string;
  /** Null while the run goes on, or when it was interrupted. */
  finishedAt: string | null;
  /** Every cell of the run, in order; some may have no record yet. */
  cells: { id: string; phase: string; label: string }[];
  decisions: Decision[];
  environment: Environment;
}
