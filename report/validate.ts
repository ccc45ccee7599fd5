/** Checks records field by field, so that a report never draws from a file it misunderstands. */
import {
  type BytesByRole,
  CELL_KINDS,
  type CellRecord,
  type Environment,
  PHASE_KINDS,
  RECORD_VERSION,
  type Roofline,
  type RunRecord,
  STATUSES,
} from "../results/record.ts";
import { InputError } from "./input_error.ts";

/** Throws by calling `fail` with what was expected at `path`. */
type Check = (value: unknown, path: string, fail: Fail) => void;
type Fail = (path: string, value: unknown, expected: string) => never;

const text: Check = (value, path, fail) => {
  if (typeof value !== "string") fail(path, value, "a string");
};
const flag: Check = (value, path, fail) => {
  if (typeof value !== "boolean") fail(path, value, "true or false");
};
const number: Check = (value, path, fail) => {
  if (typeof value !== "number" || !Number.isFinite(value)) fail(path, value, "a finite number");
};
const amount: Check = (value, path, fail) => {
  if (typeof value !== "number" || !Number.isFinite(value) || value < 0) {
    fail(path, value, "a number of at least 0");
  }
};
const cellId: Check = (value, path, fail) => {
  if (typeof value !== "string" || !/^[0-9a-f]{12}$/.test(value)) fail(path, value, "twelve hex digits");
};
const anything: Check = () => {};

function orNull(check: Check): Check {
  return (value, path, fail) => {
    if (value !== null) check(value, path, fail);
  };
}
function orAbsent(check: Check): Check {
  return (value, path, fail) => {
    if (value !== undefined) check(value, path, fail);
  };
}
function oneOf(...allowed: readonly string[]): Check {
  return (value, path, fail) => {
    if (!allowed.includes(value as string)) fail(path, value, `one of ${allowed.join(", ")}`);
  };
}
function list(check: Check): Check {
  return (value, path, fail) => {
    if (!Array.isArray(value)) return fail(path, value, "an array");
    value.forEach((item, i) => check(item, `${path}[${i}]`, fail));
  };
}
function map(check: Check): Check {
  return (value, path, fail) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      return fail(path, value, "an object");
    }
    for (const [key, item] of Object.entries(value)) check(item, `${path}.${key}`, fail);
  };
}
function fields<T>(checks: Record<keyof T & string, Check>): Check {
  return (value, path, fail) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      return fail(path, value, "an object");
    }
    for (const [key, check] of Object.entries<Check>(checks)) {
      check((value as Record<string, unknown>)[key], path ? `${path}.${key}` : key, fail);
    }
  };
}

const bytesByRole = fields<BytesByRole>({
  weights: amount,
  masterWeights: amount,
  gradients: amount,
  optimizer: amount,
  activations: amount,
  workspace: amount,
  inputs: amount,
});

const environment = fields<Environment>({
  adapter: text,
  vendor: text,
  architecture: text,
  driver: orNull(text),
  software: flag,
  features: list(text),
  limits: map(number),
  subgroupSize: amount,
  gpuProvider: orAbsent(oneOf("wgpu", "dawn")),
  gpuProviderVersion: orAbsent(text),
  operatingSystem: text,
  cpu: orNull(text),
  cpuCount: amount,
  memoryBytes: amount,
  deno: text,
  v8: text,
  typescript: text,
  threefold: text,
  commit: orNull(text),
});

const config = fields<CellRecord["config"]>({
  model: text,
  startFrom: orNull(cellId),
  data: text,
  task: orAbsent(oneOf("own", "classify")),
  textField: orAbsent(text),
  labelField: orAbsent(text),
  packing: orAbsent(flag),
  overlong: orAbsent(oneOf("refuse", "truncate", "split")),
  tokenizer: text,
  heldOutFraction: amount,
  sequenceLength: amount,
  microBatchSize: amount,
  gradientAccumulationSteps: amount,
  methods: list(text),
  methodOptions: map(map(anything)),
  optimizer: text,
  optimizerOptions: map(anything),
  learningRate: number,
  schedule: text,
  warmupSteps: amount,
  clip: amount,
  dropout: amount,
  steps: amount,
  evaluateEvery: amount,
  heldOutWindows: amount,
  alsoEvaluate: list(text),
  seed: number,
  shuffle: flag,
});

const memory = fields<NonNullable<CellRecord["memory"]>>({
  plannedPeakBytes: amount,
  plannedByRole: bytesByRole,
  bookedPeakBytes: orNull(amount),
  bookedByRole: orNull(bytesByRole),
  observedPeakBytes: orNull(amount),
  observedBaselineBytes: orNull(amount),
  observedHow: text,
  timeline: list(fields<{ dispatch: number; bytes: BytesByRole }>({ dispatch: amount, bytes: bytesByRole })),
});

const samples = fields<NonNullable<CellRecord["samples"]>>({
  loss: list(orNull(number)),
  ms: list(amount),
  tokens: list(amount),
  gradientNorm: list(orNull(number)),
  learningRate: list(number),
  lossScale: orAbsent(list(number)),
  skipped: orAbsent(list(amount)),
});

const heldOut = list(
  fields<CellRecord["heldOut"][number]>({ step: amount, tokens: amount, loss: number }),
);

const cell = fields<CellRecord>({
  recordVersion: anything, // checked before the rest
  id: cellId,
  kind: oneOf(...CELL_KINDS),
  phase: text,
  label: text,
  repeat: amount,
  status: oneOf(...STATUSES),
  reason: orNull(text),
  config,
  command: text,
  startedAt: text,
  wallMs: amount,
  parameters: orNull(amount),
  trainableParameters: orNull(amount),
  dispatchesPerStep: orNull(amount),
  modelFlopsPerStep: orNull(amount),
  warmupSteps: amount,
  samples: orNull(samples),
  heldOut,
  heldOutElsewhere: list(
    fields<CellRecord["heldOutElsewhere"][number]>({ data: text, points: heldOut }),
  ),
  adapterBytes: orNull(amount),
  sameRunAs: orNull(cellId),
  kernelChoices: orAbsent(map(text)),
  memory: orNull(memory),
  profile: orNull(
    list(
      fields<NonNullable<CellRecord["profile"]>[number]>({
        kernel: text,
        dispatches: amount,
        ms: amount,
        flops: amount,
        bytes: amount,
      }),
    ),
  ),
  environment,
  dataHash: orNull(text),
});

const run = fields<RunRecord>({
  recordVersion: anything,
  suite: text,
  title: text,
  suiteHash: text,
  tier: text,
  tierReason: text,
  quick: flag,
  command: text,
  startedAt: text,
  finishedAt: orNull(text),
  phases: list(
    fields<RunRecord["phases"][number]>({ name: text, kind: oneOf(...PHASE_KINDS), description: text }),
  ),
  cells: list(fields<RunRecord["cells"][number]>({ id: cellId, phase: text, label: text })),
  decisions: list(fields<RunRecord["decisions"][number]>({
    name: text,
    rule: text,
    inputs: list(text),
    figures: map(map(orNull(number))),
    chosen: text,
    value: (value, path, fail) => {
      if (typeof value !== "string") number(value, path, fail);
    },
    reason: text,
  })),
  roofline: orNull(fields<Roofline>({
    matmulFlopsPerSecond: fields<Roofline["matmulFlopsPerSecond"]>({ f32: amount, f16: orNull(amount) }),
    copyBytesPerSecond: amount,
    how: text,
  })),
  environment,
});

function checkRecord(value: unknown, file: string, check: Check): void {
  const fail: Fail = (path, got, expected) => {
    const shown = got === undefined ? "missing" : JSON.stringify(got)?.slice(0, 60) ?? String(got);
    throw new InputError(
      `Cannot read ${file}: field ${path || "(whole file)"} is ${shown}, expected ${expected}`,
    );
  };
  if (typeof value !== "object" || value === null || Array.isArray(value)) fail("", value, "an object");
  const version = (value as { recordVersion?: unknown }).recordVersion;
  if (version !== RECORD_VERSION) fail("recordVersion", version, String(RECORD_VERSION));
  check(value, "", fail);
}

/** Takes parsed JSON for a `CellRecord`; throws InputError naming file and field where it is not one. */
export function asCellRecord(value: unknown, file: string): CellRecord {
  checkRecord(value, file, cell);
  return value as CellRecord;
}

/** Takes parsed JSON for a `RunRecord`; throws InputError naming file and field where it is not one. */
export function asRunRecord(value: unknown, file: string): RunRecord {
  checkRecord(value, file, run);
  return value as RunRecord;
}
