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

/**
 * How a cell ended. All but `ok` and `killed` are results too. `not-run` cells were skipped by a stated rule, named in
 * `reason`. The process of a `killed` cell was ended from outside, which says nothing of the cell: it is still to be run.
 */
export const STATUSES = [
  "ok",
  "oom",
  "diverged",
  "timeout",
  "killed",
  "device-lost",
  "error",
  "not-run",
] as const;
export type Status = typeof STATUSES[number];

/** Everything a training run depends on, nothing left to defaults. Its hash is the cell's identity. */
export interface RunConfig {
  /** A preset, or a folder. */
  model: string;
  /** Id of the cell of the same run whose saved weights this one starts from; null: `model` as it is. */
  startFrom: string | null;
  /** Named corpus or file. */
  data: string;
  /** What the model is to be trained for, where it is not its own task. */
  task?: "own" | "classify";
  /** Field of a file of examples that has the text; absent: `text`, or a conversation. */
  textField?: string;
  /** Field that has the label; absent: `label`. */
  labelField?: string;
  /** Whether documents share sequences; absent: each has its own, padded. */
  packing?: boolean;
  /** What becomes of documents longer than a sequence; absent: they are refused. */
  overlong?: "refuse" | "truncate" | "split";
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
  /** Other data whose held-out loss is taken at the same points as that of `data`, to see what is forgotten. */
  alsoEvaluate: string[];
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
  /** What the ledger booked; equal to the plan to the byte, or the run is an error. Null where nothing ran to its end. */
  bookedPeakBytes: number | null;
  bookedByRole: BytesByRole | null;
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
  /** Bytes of what its dispatches bind, each binding counted once a dispatch: what it reads and writes, without re-reads. */
  bytes: number;
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
  /** Implementation of WebGPU that spoke to the adapter, and its version; records from before there were two lack both. */
  gpuProvider?: "wgpu" | "dawn";
  gpuProviderVersion?: string;
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

/** What a cell is: a training run, or a configuration that only the planner looked at. */
export const CELL_KINDS = ["trained", "planned"] as const;
export type CellKind = typeof CELL_KINDS[number];

/** One cell of a matrix. */
export interface CellRecord {
  recordVersion: number;
  /** Hash of suite phase, repeat and configuration: twelve hex digits. */
  id: string;
  /** Planned cells have no samples and no held-out loss; their memory is planned, nothing is booked. */
  kind: CellKind;
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
  /** One entry for each of `alsoEvaluate`. */
  heldOutElsewhere: { data: string; points: HeldOutPoint[] }[];
  /** Size on disk of the `adapter_model.safetensors` that the cell saved; null where it saved none. */
  adapterBytes: number | null;
  /**
   * Id of the cell of an earlier phase with the same configuration. That cell's run is this one's too: what was measured is
   * repeated here so that every phase is complete, and counts once. Null where this cell ran itself.
   */
  sameRunAs: string | null;
  memory: MemoryRecord | null;
  profile: KernelProfile[] | null;
  /** Kernels that were chosen by the clock, by what they were chosen for; absent where the rules chose all. */
  kernelChoices?: Record<string, string>;
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

/** What a phase of a suite is for: see docs/suites.md. */
export const PHASE_KINDS = ["batch-sweep", "matrix", "rate-sweep", "plan"] as const;
export type PhaseKind = typeof PHASE_KINDS[number];

/** What the device can do at best, measured: the roof over every kernel. */
export interface Roofline {
  /** Of matrix products; f16 is null where the device has no such products. */
  matmulFlopsPerSecond: { f32: number; f16: number | null };
  /** Bytes read and written by a copy. */
  copyBytesPerSecond: number;
  /** How it was measured, in words. */
  how: string;
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
  /** The phases of the suite on this tier, in order. */
  phases: { name: string; kind: PhaseKind; description: string }[];
  /** Every cell of the run, in order; some may have no record yet. */
  cells: { id: string; phase: string; label: string }[];
  /** `effectiveBatchSize` of a batch sweep, `learningRate/<optimizer>` of a rate sweep. */
  decisions: Decision[];
  /** Null where it was not measured. */
  roofline: Roofline | null;
  environment: Environment;
}
