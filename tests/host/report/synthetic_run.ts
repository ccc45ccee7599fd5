/**
 * Run folders made up for tests of the report: deterministic, shaped like what
 * the runner writes, with knobs for everything that can go wrong. The figures
 * follow a plain model of a training step, so that charts look like charts.
 */
import { join } from "node:path";
import type {
  BytesByRole,
  CellRecord,
  Environment,
  HeldOutPoint,
  MemoryRecord,
  RunConfig,
  RunRecord,
  Status,
} from "../../../results/record.ts";
import { environmentKey } from "../../../results/environment.ts";
import { RECORD_VERSION } from "../../../results/record.ts";
import { everyPhase, shareSeeds, SHOWS } from "./synthetic_phases.ts";
import { seededRandom } from "../../../results/stats.ts";

export interface SyntheticRun {
  run: RunRecord;
  cells: CellRecord[];
}

export interface SyntheticOptions {
  batches?: number[];
  seeds?: number[];
  /** How cells of a batch size end, where not `ok`. */
  statuses?: Record<number, Status>;
  /** False: the driver could not be asked. */
  observed?: boolean;
  adapter?: string;
  /** Multiplies step times. */
  slowness?: number;
  /** Adds the phase `ladder`. */
  ladder?: boolean;
  /** Adds the ladder and every other phase of the paper's suite: see synthetic_phases.ts. */
  everything?: boolean;
  /** Put into every free string of the records. */
  hostile?: string;
  /** Tokens each cell trains on. */
  tokens?: number;
  noise?: number;
}

export const PARAMETERS = 1_638_400;
const LAYERS = 4;
const CHANNELS = 128;
export const SEQUENCE = 64;

/** A number in [-1, 1] from three uniform ones, bell-shaped. */
export function wobble(random: () => number): number {
  return (random() + random() + random()) / 1.5 - 1;
}

/** Twelve hex digits of a text (FNV-1a, 2 × 32 bits). */
export function syntheticId(text: string): string {
  let [a, b] = [0x811c9dc5, 0x01000193];
  for (const character of text) {
    a = Math.imul(a ^ character.codePointAt(0)!, 0x01000193) >>> 0;
    b = Math.imul(b ^ a, 0x85ebca6b) >>> 0;
  }
  return (a.toString(16).padStart(8, "0") + b.toString(16).padStart(8, "0")).slice(0, 12);
}

function environmentOf(
  { adapter = "llvmpipe (LLVM 15.0.6, 256 bits)", hostile = "" }: SyntheticOptions,
): Environment {
  const software = /llvmpipe/.test(adapter);
  const environment: Omit<Environment, "key"> = {
    adapter: adapter + hostile,
    vendor: "mesa" + hostile,
    architecture: hostile,
    driver: "Mesa 22.3.6" + hostile,
    software,
    features: ["shader-f16", "timestamp-query" + hostile],
    limits: {
      maxBufferSize: 2147483647,
      maxStorageBufferBindingSize: 134217728,
      ["maxBindGroups" + hostile]: 8,
    },
    subgroupSize: 8,
    gpuProvider: "wgpu",
    gpuProviderVersion: "wgpu of Deno 2.9.6" + hostile,
    threads: software ? 4 : null,
    vectorWidth: software ? 256 : null,
    card: software ? null : { pciAddress: "00000000:65:00.0" + hostile, uuid: null },
    operatingSystem: "Linux 6.1" + hostile,
    cpu: "Example CPU 3.1 GHz" + hostile,
    cpuCount: 2,
    memoryBytes: 24 * 1024 ** 3,
    deno: "2.9.6",
    v8: "15.0.245.2-rusty",
    typescript: "6.0.3",
    threefold: "0.1.0",
    commit: "74ecad0f3b1c5d9e8a7b6c5d4e3f2a1b0c9d8e7f+" + hostile,
    tree: "1a".repeat(20),
  };
  return { ...environment, key: environmentKey(environment) };
}

export function configOf(
  batch: number,
  seed: number,
  { hostile = "", tokens = 32_768 }: SyntheticOptions,
): RunConfig {
  return {
    model: "gpt2-tiny" + hostile,
    startFrom: null,
    data: "moby-dick" + hostile,
    tokenizer: "bpe512",
    heldOutFraction: 0.1,
    sequenceLength: SEQUENCE,
    microBatchSize: batch,
    gradientAccumulationSteps: 1,
    methods: hostile ? [hostile] : [],
    methodOptions: {},
    optimizer: "adamw",
    optimizerOptions: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 },
    learningRate: 1e-3,
    schedule: "constant",
    warmupSteps: 0,
    clip: 1,
    dropout: 0,
    steps: Math.max(6, Math.round(tokens / (batch * SEQUENCE))),
    evaluateEvery: 8,
    heldOutWindows: 16,
    alsoEvaluate: [],
    seed,
    shuffle: true,
  };
}

/** Bytes by role at the peak: what each method does to them, in round figures. */
function peakBytes(config: RunConfig): BytesByRole {
  const half = config.methods.includes("fp16");
  const tokens = config.microBatchSize * config.sequenceLength;
  const perToken = LAYERS * CHANNELS * 408 * (config.methods.includes("checkpoint") ? 0.25 : 1);
  const state = { adamw: 8, adafactor: 4.05, adamw8bit: 2.03, sgd: 0 }[config.optimizer] ?? 8;
  return {
    weights: PARAMETERS * (half ? 2 : 4),
    masterWeights: half ? PARAMETERS * 4 : 0,
    gradients: PARAMETERS * 4,
    optimizer: Math.round(PARAMETERS * state),
    activations: Math.round(tokens * perToken * (half ? 2 : 4) / 4),
    workspace: 524_288 + tokens * 512,
    inputs: tokens * 8,
  };
}

export function sum(bytes: BytesByRole): number {
  return Object.values(bytes).reduce((a, b) => a + b, 0);
}

function timelineOf(peak: BytesByRole, dispatches: number): MemoryRecord["timeline"] {
  const points = 64;
  return Array.from({ length: points }, (_, i) => {
    const at = i / (points - 1);
    const live = at < 0.4 ? at / 0.4 : Math.max(0, 1 - (at - 0.4) / 0.5);
    return {
      dispatch: Math.round(at * (dispatches - 1)),
      bytes: {
        ...peak,
        gradients: Math.round(peak.gradients * Math.min(1, Math.max(0.02, (at - 0.38) / 0.5))),
        activations: Math.round(peak.activations * live),
        workspace: i % 5 === 0 ? peak.workspace : Math.round(peak.workspace / 4),
      },
    };
  });
}

function memoryOf(config: RunConfig, random: () => number, options: SyntheticOptions): MemoryRecord {
  const peak = peakBytes(config);
  const timeline = timelineOf(peak, 900);
  const top = timeline.reduce((a, b) => sum(b.bytes) > sum(a.bytes) ? b : a).bytes;
  const bytes = sum(top);
  const observed = options.observed !== false;
  return {
    plannedPeakBytes: bytes,
    plannedByRole: { ...top },
    bookedPeakBytes: bytes,
    bookedByRole: { ...top },
    observedPeakBytes: observed ? Math.round(bytes * 1.06 + 9e6 + 1.5e6 * wobble(random)) : null,
    observedBaselineBytes: observed ? 210_000_000 : null,
    observedKernelBytes: observed ? 40_000_000 : null,
    observedHow: (observed ? "process peak RSS" : "the adapter does not say") + (options.hostile ?? ""),
    timeline,
  };
}

export function lossAt(tokens: number, batch: number): number {
  const useful = tokens / (1 + batch / 24);
  return 2.9 + 3.34 * Math.exp(-useful / 9000);
}

function trained(config: RunConfig, random: () => number, options: SyntheticOptions) {
  const { slowness = 1, noise = 0.03 } = options;
  const tokensPerStep = config.microBatchSize * config.gradientAccumulationSteps * config.sequenceLength;
  const methodCost = (config.methods.includes("checkpoint") ? 1.22 : 1) *
    (config.methods.includes("fp16") ? 0.8 : 1);
  const baseMs = (9 * config.gradientAccumulationSteps + tokensPerStep * 0.155) * slowness * methodCost;
  const offset = 0.03 * wobble(random);
  const process = 1 + noise * 0.3 * wobble(random);
  const loss: number[] = [];
  const ms: number[] = [];
  const heldOut: HeldOutPoint[] = [];
  for (let step = 0; step < config.steps; step++) {
    const tokens = step * tokensPerStep;
    const exact = lossAt(tokens, config.microBatchSize * config.gradientAccumulationSteps);
    if (step % config.evaluateEvery === 0) heldOut.push({ step, tokens, loss: exact + 0.06 + offset });
    loss.push(exact + offset + 0.3 * wobble(random) / Math.sqrt(tokensPerStep / SEQUENCE));
    const outlier = random() < 0.02 ? 1.6 : 1;
    ms.push(baseMs * process * (1 + noise * wobble(random)) * outlier * (step === 0 ? 4 : 1));
  }
  const end = config.steps * tokensPerStep;
  const batch = config.microBatchSize * config.gradientAccumulationSteps;
  heldOut.push({ step: config.steps, tokens: end, loss: lossAt(end, batch) + 0.06 + offset });
  const samples = {
    loss,
    ms,
    tokens: loss.map(() => tokensPerStep),
    gradientNorm: loss.map(() => 1 + 0.2 * wobble(random)),
    learningRate: loss.map(() => config.learningRate),
  };
  return { samples, heldOut };
}

/** 8-bit AdamW keeps embeddings in f32, Adafactor no first moment, where nothing else is said. */
function withDefaults(config: RunConfig): RunConfig {
  if (config.optimizer === "adafactor") {
    return { ...config, optimizerOptions: { ...config.optimizerOptions, beta1: null } };
  }
  if (config.optimizer !== "adamw8bit") return config;
  return { ...config, optimizerOptions: { quantizeEmbeddings: false, ...config.optimizerOptions } };
}

export function cellOf(
  phase: string,
  label: string,
  config: RunConfig,
  status: Status,
  options: SyntheticOptions,
): CellRecord {
  const { hostile = "" } = options;
  // What chains add to a configuration is left out, so that figures do not hang on it.
  const { startFrom: _, alsoEvaluate: __, ...identifying } = config;
  const identity = `${phase} ${label} ${JSON.stringify(identifying)}`;
  const id = syntheticId(identity);
  const random = seededRandom(parseInt(id.slice(0, 8), 16) ^ (options.slowness === undefined ? 0 : 99));
  const ran = trained(config, random, options);
  const diverged = status === "diverged";
  const reasons: Partial<Record<Status, string>> = {
    oom: "buffer of 3221225472 bytes over the device's limit",
    diverged: "loss is not finite at step 4",
    "not-run": "an earlier batch ran out of memory",
    error: "validation error",
  };
  if (diverged) {
    ran.samples.loss = ran.samples.loss.slice(0, 5);
    for (const key of ["ms", "tokens", "gradientNorm", "learningRate"] as const) {
      ran.samples[key] = ran.samples[key].slice(0, 5);
    }
    (ran.samples.loss as (number | null)[])[4] = null;
  }
  const memory = memoryOf(config, random, options);
  return {
    recordVersion: RECORD_VERSION,
    id,
    kind: "trained",
    numerics: 2,
    phase,
    label: label + hostile,
    repeat: 0,
    round: 0,
    process: status === "not-run" ? null : `process of ${id}${hostile}`,
    status,
    reason: status === "ok" ? null : (reasons[status] ?? status) + hostile,
    config: withDefaults(config),
    command: `deno task bench batch-size --filter id=${id}${hostile}`,
    startedAt: "2025-03-01T10:00:00.000Z",
    wallMs: ran.samples.ms.reduce((a, b) => a + b, 800),
    parameters: PARAMETERS,
    trainableParameters: PARAMETERS,
    dispatchesPerStep: 900,
    modelFlopsPerStep: 6 * PARAMETERS * config.microBatchSize * SEQUENCE,
    warmupSteps: 2,
    samples: status === "ok" || diverged ? ran.samples : null,
    heldOut: status === "ok" ? ran.heldOut : [],
    heldOutElsewhere: [],
    adapterBytes: null,
    sameRunAs: null,
    memory: status === "not-run" ? null : memory,
    profile: null,
    environment: environmentOf(options),
    dataHash: "0f".repeat(32),
  };
}

/** The rungs of the guide's ladder, at effective batch 4. */
const LADDER: { label: string; change: Partial<RunConfig> }[] = [
  { label: "baseline", change: { microBatchSize: 4 } },
  { label: "batch 1 × 4", change: {} },
  { label: "+ checkpointing", change: { methods: ["checkpoint"] } },
  { label: "+ fp16", change: { methods: ["checkpoint", "fp16"] } },
  { label: "+ Adafactor", change: { methods: ["checkpoint", "fp16"], optimizer: "adafactor" } },
];

/** A run: batch sizes × seeds, and the ladder where asked. Same options, same records. */
export function syntheticRun(options: SyntheticOptions = {}): SyntheticRun {
  const { batches = [1, 2, 4, 8, 16], seeds = [0, 1, 2], statuses = {}, hostile = "" } = options;
  const cells = batches.flatMap((batch) =>
    seeds.map((seed) =>
      cellOf("batch-size", `batch ${batch}`, configOf(batch, seed, options), statuses[batch] ?? "ok", options)
    )
  );
  if (options.ladder || options.everything) {
    for (const { label, change } of LADDER) {
      for (const seed of seeds) {
        const base = {
          ...configOf(4, seed, options),
          microBatchSize: 1,
          gradientAccumulationSteps: 4,
          ...change,
        };
        const config = { ...base, gradientAccumulationSteps: 4 / base.microBatchSize };
        cells.push(cellOf("ladder", label, config, "ok", options));
      }
    }
  }
  const others = options.everything ? everyPhase(options) : null;
  cells.push(...others?.cells ?? []);
  if (others) cells.forEach(shareSeeds);
  const finished = batches.filter((batch) => (statuses[batch] ?? "ok") === "ok");
  const chosen = finished.includes(8) ? 8 : finished.at(-1);
  const run: RunRecord = {
    recordVersion: RECORD_VERSION,
    suite: "paper" + hostile,
    title: "The paper's protocol" + hostile,
    suiteHash: "ab".repeat(32),
    tier: "tiny" + hostile,
    tierReason: "software adapter with 2 cores" + hostile,
    quick: true,
    numerics: 2,
    command: "deno task bench --quick" + hostile,
    startedAt: "2025-03-01T10:00:00.000Z",
    finishedAt: "2025-03-01T10:04:40.000Z",
    phases: [
      {
        name: "batch-size",
        kind: "batch-sweep",
        shows: null,
        description: "The batch size for what follows." + hostile,
      },
      ...options.ladder || options.everything
        ? [{
          name: "ladder",
          kind: "matrix" as const,
          shows: SHOWS.ladder,
          description: "Rungs." + hostile,
        }]
        : [],
      ...others?.phases ?? [],
    ],
    cells: cells.map(({ id, phase, label }) => ({ id, phase, label })),
    decisions: chosen === undefined ? others?.decisions ?? [] : [{
      name: "effectiveBatchSize",
      rule:
        "the largest throughput among batches whose held-out loss at equal tokens is within 2 % of the best" +
        hostile,
      inputs: cells.filter(({ phase }) => phase === "batch-size").map(({ id }) => id),
      figures: { [`batch ${chosen}${hostile}`]: { tokensPerSecond: 5900, heldOutLoss: 3.1, other: null } },
      chosen: `batch ${chosen}${hostile}`,
      value: chosen,
      reason: `batch ${chosen} is fastest, and its loss is within the margin${hostile}`,
    }, ...others?.decisions ?? []],
    roofline: others?.roofline ?? null,
    environment: environmentOf(options),
  };
  return { run, cells };
}

/** Writes `run.json` and `cells/*.json` under `dir`. */
export async function writeSyntheticRun(dir: string, { run, cells }: SyntheticRun): Promise<void> {
  await Deno.mkdir(join(dir, "cells"), { recursive: true });
  await Deno.writeTextFile(join(dir, "run.json"), JSON.stringify(run));
  for (const cell of cells) {
    await Deno.writeTextFile(join(dir, "cells", `${cell.id}.json`), JSON.stringify(cell));
  }
}
