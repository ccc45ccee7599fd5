import { type Static, Type } from "typebox";
import { cellId, mapOf, orNull } from "./schema_parts.ts";
import { RunConfig } from "./settings.ts";

/**
 * What a benchmark run leaves behind: one `CellRecord` a cell and one `RunRecord` a run, as JSON. This is the
 * contract between the runner, the report and anyone who reads published results. Records hold raw samples
 * and the whole configuration; medians, ratios and verdicts are derived when they are read. Bytes are bytes,
 * times milliseconds.
 *
 * Types, the check of what is read (`check.ts`) and `record.schema.json` (`deno task schema`) come from the
 * declarations here, those of a run's settings from `settings.ts`. Fields that a record has beside them are
 * left as they are: a version may add some that older readers do without.
 */

export { RunConfig };

/**
 * Version of the format; `migrate.ts` brings records of earlier ones up to it, readers refuse versions they
 * do not know.
 */
export const RECORD_VERSION = 2;

/**
 * How a cell ended. All but `ok` and `killed` are results too. `not-run` cells were skipped by a stated rule,
 * named in `reason`. The process of a `killed` cell was ended from outside, which says nothing of the cell:
 * it is still to be run.
 */
export const STATUSES = [
  "ok",
  "oom",
  "diverged",
  "timeout",
  "device-lost",
  "killed",
  "error",
  "not-run",
] as const;
export type Status = typeof STATUSES[number];

/** What a cell is: a training run, or a configuration that only the planner looked at. */
export const CELL_KINDS = ["trained", "planned"] as const;
export type CellKind = typeof CELL_KINDS[number];

/** What a phase of a suite is for: see docs/suites.md. */
export const PHASE_KINDS = ["batch-sweep", "matrix", "rate-sweep", "plan", "equal-memory"] as const;
export type PhaseKind = typeof PHASE_KINDS[number];

/**
 * How often configurations of a phase run. `fixed`: as `repeats` says. `adaptive`: in two processes, and in
 * three more, once, where two do not tell whether throughput is held: docs/decisions/0027.
 */
export const ROUNDS = ["fixed", "adaptive"] as const;

/**
 * What a cell of an `equal-memory` phase is for. `search`: one process of a candidate, whose time picks the
 * finalist of a budget and is never used again. `judged`: the baseline or a finalist, in processes and with
 * seeds of their own. `grown`: a finalist with the batch that its budget has room for, for throughput alone.
 */
export const CELL_ROLES = ["search", "judged", "grown"] as const;
export type CellRole = typeof CELL_ROLES[number];

/** What the report draws and judges from a phase: see docs/suites.md. */
export const PHASE_SHOWS = [
  "single-methods",
  "quality",
  "method-ladder",
  "method-combinations",
  "batch-size-effects",
  "overflow-recovery",
  "attention-lengths",
  "optimizer-convergence",
  "guide-table",
  "three-billion-plan",
  "llama-7b-plan",
  "mixed-precision-plan",
  "growth-with-parameters",
  "growth-with-sequence",
  "growth-with-batch",
] as const;
export type PhaseShows = typeof PHASE_SHOWS[number];

const text = (description?: string) => Type.String({ description });
const flag = (description?: string) => Type.Boolean({ description });
const number = (description?: string) => Type.Number({ description });
/** Bytes, times, counts: never below 0. */
const amount = (description?: string) => Type.Number({ minimum: 0, description });
/** From 0 to 1. */
const share = (description?: string) => Type.Number({ minimum: 0, maximum: 1, description });
const gitHash = (description?: string) =>
  Type.String({ pattern: "^[0-9a-f]{40}$", title: "forty hex digits", description });
const version = () => Type.Literal(RECORD_VERSION, { description: "Version of the format." });
const numerics = () =>
  Type.Integer({
    minimum: 1,
    description:
      "Number of the engine's numerics (`engine/numerics.ts`): where two differ, the same configuration may " +
      "have other losses. 1 is all that came before there was a number.",
  });

export const BytesByRole = Type.Object({
  weights: amount(),
  masterWeights: amount(),
  gradients: amount(),
  optimizer: amount(),
  activations: amount(),
  workspace: amount(),
  inputs: amount(),
}, { description: "Bytes by what they are for." });
export type BytesByRole = Static<typeof BytesByRole>;
export type Role = keyof BytesByRole;

/** What cannot be given back first, so that the top of a stack of bars is what the methods attack. */
export const ROLES = Object.keys(BytesByRole.properties) as Role[];

export const HeldOutPoint = Type.Object({
  step: amount(),
  tokens: amount(),
  loss: number(),
  ms: Type.Optional(
    amount("Wall time of the evaluation's forward passes; a process's first one is slower. Absent from earlier records."),
  ),
  accuracy: Type.Optional(share("Share of held-out examples whose label was predicted.")),
  macroF1: Type.Optional(share("Mean of the F1 of each label that is there or was predicted.")),
  majorityShare: Type.Optional(
    share("Share of the most frequent label: the accuracy of answering it always."),
  ),
}, {
  description:
    "One point of held-out loss: mean over unmasked targets after `step` updates and `tokens` trained tokens. Scores " +
    "where the model predicts a label per sequence; absent from records of earlier versions.",
});
export type HeldOutPoint = Static<typeof HeldOutPoint>;

/** Memory of one cell, in bytes. */
export const MemoryRecord = Type.Object({
  plannedPeakBytes: amount("What the planner predicts, before anything runs."),
  plannedByRole: BytesByRole,
  bookedPeakBytes: orNull(
    amount(),
    "What the ledger booked; equal to the plan to the byte, or the run is an error. Null where nothing ran to its end.",
  ),
  bookedByRole: orNull(BytesByRole),
  observedPeakBytes: orNull(
    amount(),
    "What the driver or the operating system saw, less the empty-device baseline; null where it cannot be had.",
  ),
  observedBaselineBytes: orNull(amount(), "The baseline that was subtracted, where there is one."),
  observedKernelBytes: Type.Optional(orNull(
    amount(),
    "What was in use once all kernels were compiled and no buffer existed, less the same baseline; absent from records of " +
      "earlier versions.",
  )),
  observedHow: text("How it was observed (`process peak RSS up to step 20`, `nvidia-smi`, …), or why not."),
  timeline: Type.Array(Type.Object({ dispatch: amount(), bytes: BytesByRole }), {
    description: "Live bytes by role over the step's dispatches, at most 256 points.",
  }),
}, { description: "Memory of one cell, in bytes." });
export type MemoryRecord = Static<typeof MemoryRecord>;

export const KernelProfile = Type.Object({
  kernel: text(),
  dispatches: amount(),
  ms: amount(),
  flops: amount(),
  bytes: amount(
    "Bytes of what its dispatches bind, each binding counted once a dispatch: what it reads and writes, without re-reads.",
  ),
}, { description: "Time of one kernel over a profiled step." });
export type KernelProfile = Static<typeof KernelProfile>;

export const StepSamples = Type.Object({
  loss: Type.Array(orNull(number())),
  ms: Type.Array(amount()),
  tokens: Type.Array(amount()),
  gradientNorm: Type.Array(orNull(number())),
  learningRate: Type.Array(number()),
  lossScale: Type.Optional(Type.Array(number(), { description: "Only with mixed precision." })),
  skipped: Type.Optional(
    Type.Array(amount(), { description: "Steps whose update was skipped because of an overflow." }),
  ),
}, { description: "Raw samples of the training steps; arrays are indexed by step." });
export type StepSamples = Static<typeof StepSamples>;

export const Card = Type.Object({
  pciAddress: orNull(text(), "`00000000:65:00.0`, as its driver writes it."),
  uuid: orNull(text(), "As its driver tells it."),
}, { description: "Which of several cards of the same name it is; null where nothing told." });
export type Card = Static<typeof Card>;

/** The machine a cell ran on. */
export const Environment = Type.Object({
  adapter: text(),
  vendor: text(),
  architecture: text(),
  driver: orNull(text()),
  software: flag("The adapter is a program on the processor."),
  features: Type.Array(text()),
  limits: mapOf(number()),
  subgroupSize: amount(),
  gpuProvider: Type.Enum(["wgpu", "dawn"], {
    description: "Implementation of WebGPU that spoke to the adapter.",
  }),
  gpuProviderVersion: text("That implementation and its version."),
  threads: orNull(
    amount(),
    "Threads that a software adapter was told to compute with; null where it was left to its driver, and on GPUs.",
  ),
  vectorWidth: orNull(
    amount(),
    "Bits of a software adapter's vectors; null where it does not tell, and on GPUs.",
  ),
  card: orNull(Card, "The card; null on software adapters."),
  key: text(
    "What times and bits depend on besides code and configuration, in one line: adapter (of a software adapter the " +
      "processor too), driver, implementation of WebGPU, threads, vector width. Cells with equal keys may be compared.",
  ),
  operatingSystem: text(),
  cpu: orNull(text()),
  cpuCount: amount(),
  memoryBytes: amount(),
  deno: text(),
  v8: text(),
  typescript: text(),
  threefold: text(),
  commit: orNull(
    text(),
    "Commit of the working tree, with `+` when it has changes; null outside a repository.",
  ),
  tree: orNull(
    gitHash(),
    "Hash of the work tree as `git write-tree` would give it after `git add -A`, the run's own folder left out: equal to " +
      "a commit's tree where the code is that commit's, whatever HEAD says. Null outside a repository or without git.",
  ),
}, { description: "The machine, the versions and the code that a cell ran on." });
export type Environment = Static<typeof Environment>;

/** One cell of a matrix. */
export const CellRecord = Type.Object({
  recordVersion: version(),
  id: cellId("Hash of suite phase, repeat, numerics and configuration: twelve hex digits."),
  kind: Type.Enum(CELL_KINDS, {
    description:
      "Planned cells have no samples and no held-out loss; their memory is planned, nothing is booked.",
  }),
  numerics: numerics(),
  phase: text("The phase of the suite it belongs to (`batch-size`, `single`, `ladder`, `factorial`, …)."),
  label: text("What the cell is called in charts (`batch 4`, `+ checkpointing`)."),
  role: Type.Optional(
    Type.Enum(CELL_ROLES, {
      description:
        "Of a cell of an `equal-memory` phase: `search` picked a finalist, and its time counts for nothing else; " +
        "`judged` is the baseline or a finalist; `grown` a finalist with the batch that its budget has room for, for " +
        "throughput alone. Absent from cells of other phases.",
    }),
  ),
  repeat: amount("Repeats of the same configuration, for timing; 0 is the first."),
  round: Type.Integer({
    minimum: 0,
    description:
      "Round in which it was measured: cells of a phase with the same round and seed ran one after another, each " +
      "configuration once (A B B A). A repeat is a round.",
  }),
  process: orNull(
    Type.String({ minLength: 1, title: "a string that is not empty" }),
    "The process that measured it, by a random id: cells that share one are not independent. Null where nothing ran.",
  ),
  concurrency: Type.Optional(orNull(
    Type.Integer({ minimum: 1 }),
    "How many cells ran at once while it ran, itself included, at most. Above 1 its times and its observed bytes are no " +
      "measurements, and no verdict uses them. Null where nothing ran; absent from records of earlier versions, whose cells " +
      "ran alone.",
  )),
  status: Type.Enum(STATUSES, {
    description:
      "How it ended. All but `ok` are results too; `not-run` cells were skipped by a rule named in `reason`.",
  }),
  reason: orNull(text(), "Why, where the status is not `ok`."),
  config: RunConfig,
  command: text("Command that runs this cell alone."),
  startedAt: text(),
  wallMs: amount(),
  parameters: orNull(amount()),
  trainableParameters: orNull(amount()),
  dispatchesPerStep: orNull(amount()),
  modelFlopsPerStep: orNull(
    amount(),
    "FLOPs of the model's matrix products in one optimizer step, recomputation not counted.",
  ),
  warmupSteps: amount(
    "Steps at the start that timing statistics leave out: where the cell ran, as many as the warm-up took by the rule of " +
      "docs/suites.md, in records of earlier versions as many as the suite gave.",
  ),
  samples: orNull(StepSamples),
  heldOut: Type.Array(HeldOutPoint),
  heldOutElsewhere: Type.Array(Type.Object({ data: text(), points: Type.Array(HeldOutPoint) }), {
    description: "One entry for each of `alsoEvaluate`.",
  }),
  unigramLoss: Type.Optional(
    amount(
      "Mean loss in nats that a histogram of the training part's targets, each counted once more than it occurs, has on " +
        "the held-out targets: what is above it has learned no more than how often tokens, or labels, occur. Absent where " +
        "nothing is held out, and from records of earlier versions.",
    ),
  ),
  adapterBytes: orNull(
    amount(),
    "Size on disk of the `adapter_model.safetensors` that the cell saved; null where it saved none.",
  ),
  sameRunAs: orNull(
    cellId(),
    "Id of the cell of an earlier phase with the same configuration. That cell's run is this one's too: what was " +
      "measured is repeated here so that every phase is complete, and counts once. Null where this cell ran itself.",
  ),
  memory: orNull(MemoryRecord),
  profile: orNull(Type.Array(KernelProfile)),
  kernelChoices: Type.Optional(
    mapOf(
      text(),
      "Kernels that were chosen by the clock, by what they were chosen for; absent where the rules chose all.",
    ),
  ),
  kernelNotes: Type.Optional(
    Type.Array(text(), {
      description:
        "Kernels that the driver's compiler refuses, and what ran in their place, in words; absent where there are none.",
    }),
  ),
  environment: Environment,
  dataHash: orNull(text(), "sha256 of the corpus as read."),
}, { description: "`cells/<id>.json`: one cell of a matrix." });
export type CellRecord = Static<typeof CellRecord>;

/** What a reader of a decided figure must know: see `DecisionWarning`. */
export const WARNING_KINDS = ["edge", "floor", "updates"] as const;

export const DecisionWarning = Type.Object({
  kind: Type.Enum(WARNING_KINDS, {
    description: "edge: the best is the lowest or highest value tried, and a better one may lie beyond. floor: a floor of the suite " +
      "chose, not the rule. updates: the largest batch size had few updates.",
  }),
  text: text(),
});
export type DecisionWarning = Static<typeof DecisionWarning>;

export const Decision = Type.Object({
  name: text(),
  rule: text(),
  inputs: Type.Array(text(), { description: "Ids of the cells it looked at." }),
  figures: mapOf(mapOf(orNull(number())), "Figures the rule compared, by label."),
  chosen: text(),
  value: Type.Union([Type.Number(), Type.String()]),
  reason: text(),
  warnings: Type.Optional(
    Type.Array(DecisionWarning, {
      description: "What limits the choice; absent from records of earlier versions, and where nothing does.",
    }),
  ),
}, { description: "A choice that a rule made from cells, with the rule in words and what it looked at." });
export type Decision = Static<typeof Decision>;

/** How a rate was found to be steady, or not. */
export const Steadiness = Type.Object({
  measurements: amount("Measurements that were made: 3 where the first agree, 12 at most."),
  spread: amount(
    "How far the last three lie apart, as a part of the largest of them; steady is 0.05 and less.",
  ),
}, { description: "How a rate was found to be steady, or not." });
export type Steadiness = Static<typeof Steadiness>;

/** What the device can do at best, measured: the roof over every kernel. */
export const Roofline = Type.Object({
  matmulFlopsPerSecond: Type.Object({ f32: amount(), f16: orNull(amount()) }, {
    description: "Of matrix products; f16 is null where the device has no such products.",
  }),
  copyBytesPerSecond: amount("Bytes read and written by a copy."),
  how: text("How it was measured, in words."),
  steadiness: Type.Optional(
    Type.Object({ f32: Steadiness, f16: orNull(Steadiness), copy: Steadiness }, {
      description:
        "How steady each figure was; absent from records of versions that measured once. f16 is null where there is none.",
    }),
  ),
}, { description: "What the device can do at best, measured: the roof over every kernel." });
export type Roofline = Static<typeof Roofline>;

const HubModel = Type.Object({
  name: text("As the suite has it: owner/name at a branch or a tag."),
  model: orNull(text(), "owner/name@commit, what cells go by; null where it could not be had: phases that need it were left out."),
  files: Type.Array(Type.Object({ file: text(), byteLength: amount(), sha256: text() })),
  because: orNull(text(), "Why it could not be had."),
}, { description: "A model of the hub that the suite names by a branch or a tag, as it was found when the run began." });
export type HubModel = Static<typeof HubModel>;

/** `run.json`: what was run and what was decided. The cells lie beside it in `cells/<id>.json`. */
export const RunRecord = Type.Object({
  recordVersion: version(),
  suite: text(),
  title: text(),
  suiteHash: text("sha256 of the suite file."),
  tier: text(),
  tierReason: text(),
  quick: flag(),
  numerics: numerics(),
  command: text(),
  startedAt: text(),
  finishedAt: orNull(text(), "Null while the run goes on, or when it was interrupted."),
  phases: Type.Array(
    Type.Object({
      name: text(),
      kind: Type.Enum(PHASE_KINDS),
      shows: orNull(
        Type.Enum(PHASE_SHOWS),
        "What the report draws and judges from it; null: nothing of its own.",
      ),
      description: text(),
      rounds: Type.Optional(
        Type.Enum(ROUNDS, {
          description:
            "`adaptive`: configurations ran in two processes, and in three more where those did not tell whether throughput " +
            "is held. Their intervals have half of the error, as they are looked at twice. Absent and `fixed`: the suite says how often.",
        }),
      ),
    }),
    { description: "The phases of the suite on this tier, in order." },
  ),
  orderSeed: Type.Optional(
    amount(
      "What the order of the cells within a round was drawn from (suites/rounds.ts), the same for every run of a suite; " +
        "absent from records of earlier versions, which ran them as listed.",
    ),
  ),
  cells: Type.Array(Type.Object({ id: cellId(), phase: text(), label: text() }), {
    description: "Every cell of the run, in order; some may have no record yet.",
  }),
  decisions: Type.Array(Decision, {
    description: "`effectiveBatchSize` of a batch sweep, `learningRate/<optimizer>` of a rate sweep and `lossMargin/<model>` from its " +
      "baseline's curve, `rounds/<phase>` of an adaptive one, `equalMemory/<times less>` of " +
      "each budget of an equal-memory phase, whose value is the id of the cell of the search that won, or `none`.",
  }),
  hubModels: Type.Optional(
    Type.Array(HubModel, { description: "Absent where the suite names none, and from records of earlier versions." }),
  ),
  roofline: orNull(Roofline, "Null where it was not measured."),
  environment: Environment,
}, {
  description:
    "`run.json`: what was run and what was decided, and where it was last gone on with. The cells lie beside it " +
    "in `cells/<id>.json`; each has its own environment.",
});
export type RunRecord = Static<typeof RunRecord>;
