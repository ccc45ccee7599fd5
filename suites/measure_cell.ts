import {
  type CellRecord,
  type Environment,
  type HeldOutPoint,
  type MemoryRecord,
  RECORD_VERSION,
  type Roofline,
  type Status,
  type StepSamples,
} from "../results/record.ts";
import { NUMERICS } from "../mod.ts";
import { type ChildEnd, runChild } from "./child.ts";
import type { AdapterDescription, StepReport, TrainingPlan, TrainResult } from "./engine.ts";
import type { Cell } from "./matrix.ts";
import {
  MemoryPoller,
  type MemorySource,
  type Observation,
  observation,
  ProcessPeak,
} from "./observed_memory.ts";
import type { Message } from "./protocol.ts";
import { trainFlags } from "./config_flags.ts";
import { bytesText } from "../results/bytes.ts";
import { warmUpSteps } from "./warm_up.ts";

/** What cells of a run share. */
export interface CellContext {
  script: URL;
  environment: Environment;
  memory: MemorySource | "process" | { reason: string };
  /** Peak resident size of a process that only opens the device; null where it is not known. */
  baselineBytes: number | null;
  signal: AbortSignal;
  /** Profiles one step after the last of every cell. */
  profile: boolean;
  /** Folder of the weights that the cell starts from, and that for those it ends with; null for none. */
  start: string | null;
  save: string | null;
  /** What repeats the cell, where it takes more than one training run. */
  command: string | null;
  onMessage(message: Message): void;
}

/** What one measuring process said. */
interface Heard {
  steps: StepReport[];
  heldOut: HeldOutPoint[];
  heldOutElsewhere: CellRecord["heldOutElsewhere"];
  /** Resident size of the process when its device was open and empty. */
  emptyBytes: number | null;
  /** Resident size when its kernels were compiled, and no buffer existed. */
  compiledBytes: number | null;
  result: Extract<Message, { type: "result" }> | null;
  failure: Extract<Message, { type: "failure" }> | null;
}

/**
 * Trains one cell in a process of its own. @returns Null where the run was
 * interrupted: the cell has no record then.
 */
export async function measureCell(
  cell: Cell,
  plan: TrainingPlan,
  context: CellContext,
): Promise<CellRecord | null> {
  const started = new Date();
  const heard: Heard = {
    steps: [],
    heldOut: [],
    heldOutElsewhere: cell.config.alsoEvaluate.map((data) => ({ data, points: [] })),
    emptyBytes: null,
    compiledBytes: null,
    result: null,
    failure: null,
  };
  let poller: MemoryPoller | null = null;
  const end = await runChild({
    script: context.script,
    request: {
      kind: "train",
      config: cell.config,
      start: context.start,
      save: context.save,
      divergenceFactor: cell.divergenceFactor,
      profile: context.profile || cell.profile,
    },
    timeoutMs: cell.timeoutSeconds * 1000,
    signal: context.signal,
    onMessage: (message) => {
      hear(heard, message);
      context.onMessage(message);
    },
    onDevice: async (pid) => {
      if (typeof context.memory === "string" || "reason" in context.memory) return;
      poller = new MemoryPoller(context.memory, pid);
      await poller.begin();
    },
    onCompiled: async () => void await poller?.compiled(),
  });
  const polled = await (poller as MemoryPoller | null)?.end();
  const wallMs = Date.now() - started.getTime();
  if (end.aborted) return null;
  // A ctrl-C reaches every process of the terminal; this one may hear of it after the child has died of it.
  if (end.signal === "SIGINT" || end.signal === "SIGTERM") {
    await new Promise((resolve) => setTimeout(resolve, 200));
    if (context.signal.aborted) return null;
  }
  const { status, reason } = outcomeOf(cell, heard, end);
  const observed = polled ?? observedByProcess(heard, context);
  return {
    ...emptyRecord(cell, plan, context.environment, started),
    process: crypto.randomUUID(),
    status,
    reason,
    wallMs,
    ...context.command !== null && { command: context.command },
    dispatchesPerStep: heard.result?.result.dispatchesPerStep ?? plan.dispatchesPerStep,
    warmupSteps: warmUpSteps(heard.steps.map(({ ms }) => ms), cell.warmupSteps),
    samples: heard.steps.length > 0 ? samplesOf(heard.steps, cell.config.methods.includes("fp16")) : null,
    heldOut: heard.heldOut,
    heldOutElsewhere: heard.heldOutElsewhere,
    ...typeof heard.result?.result.unigramLoss === "number" &&
      { unigramLoss: heard.result.result.unigramLoss },
    memory: heard.result
      ? memoryOf(heard.result.result, observed)
      : plannedMemory(plan, `not measured: ${reason}`),
    profile: heard.result?.result.profile ?? null,
    ...chosenKernels(heard.result?.result),
    dataHash: heard.result?.result.dataHash ?? null,
  };
}

/** What is known of the device before the first cell. */
export interface Baseline {
  adapter: AdapterDescription;
  /** What an empty device costs. */
  peakResidentBytes: number | null;
  /** Null where it was not asked for. */
  roofline: Roofline | null;
}

/**
 * Opens the device in a process of its own: the adapter, what an empty device
 * costs, and what it can do at best.
 */
export async function measureBaseline(
  script: URL,
  { signal, roofline: wanted }: { signal: AbortSignal; roofline: boolean },
): Promise<Baseline | { failure: string }> {
  let adapter: AdapterDescription | null = null;
  let peakResidentBytes: number | null = null;
  let roofline: Roofline | null = null;
  let failure: string | null = null;
  const end = await runChild({
    script,
    request: { kind: "baseline", roofline: wanted },
    timeoutMs: 120_000,
    signal,
    onMessage: (message) => {
      if (message.type === "device") adapter = message.adapter;
      if (message.type === "baseline") ({ peakResidentBytes } = message);
      if (message.type === "roofline") ({ roofline } = message);
      if (message.type === "failure") failure = message.message;
    },
  });
  if (adapter && failure === null) return { adapter, peakResidentBytes, roofline };
  return { failure: failure ?? `the measuring process ${endText(end)}` };
}

function hear(heard: Heard, message: Message): void {
  if (message.type === "device") heard.emptyBytes = message.residentBytes;
  else if (message.type === "compiled") heard.compiledBytes = message.residentBytes;
  else if (message.type === "step") heard.steps.push(message.report);
  else if (message.type === "heldOut") heard.heldOut.push(message.point);
  else if (message.type === "heldOutElsewhere") {
    heard.heldOutElsewhere.find(({ data }) => data === message.data)?.points.push(message.point);
  } else if (message.type === "result") heard.result = message;
  else if (message.type === "failure") heard.failure = message;
}

/** Signals, beside SIGKILL, that no process brings upon itself. */
const SENT_FROM_OUTSIDE: readonly string[] = ["SIGTERM", "SIGINT", "SIGHUP"];

/** How a cell ended, from what its process said and how it went. */
export function outcomeOf(
  cell: Cell,
  heard: Heard,
  end: ChildEnd,
): { status: Status; reason: string | null } {
  const progress = `at step ${heard.steps.length} of ${cell.config.steps}`;
  if (end.timedOut) {
    return { status: "timeout", reason: `no result after ${cell.timeoutSeconds} s, ${progress}` };
  }
  if (heard.failure) return { status: heard.failure.status, reason: withTail(heard.failure, end) };
  if (!heard.result) {
    if (end.signal === "SIGKILL" || end.code === 137) {
      const killed = `the process was killed by signal 9 ${progress}`;
      return end.oomEvidence === null
        ? { status: "killed", reason: `${killed}, and nothing says that memory ran out` }
        : { status: "oom", reason: `${killed}: ${end.oomEvidence}` };
    }
    if (end.signal !== null && SENT_FROM_OUTSIDE.includes(end.signal)) {
      return { status: "killed", reason: `the process was killed by ${end.signal} ${progress}` };
    }
    // Where a driver gives up during a wait, Deno 2.9 panics: no JavaScript runs any more that could say so.
    if (/`Err` value: (?:Device\()?Lost\b/.test(end.errorTail)) {
      return { status: "device-lost", reason: `the device was lost ${progress}${tailText(end)}` };
    }
    if (/heap out of memory|heap limit/.test(end.errorTail)) {
      return { status: "oom", reason: `the JavaScript heap was out of memory ${progress}` };
    }
    return { status: "error", reason: `the process ${endText(end)} ${progress}${tailText(end)}` };
  }
  const { diverged, result } = heard.result;
  if (diverged) return { status: "diverged", reason: diverged };
  if (result.bookedPeakBytes !== result.plannedPeakBytes) {
    return {
      status: "error",
      reason:
        `booked ${result.bookedPeakBytes} bytes at the peak, planned ${result.plannedPeakBytes}: expected the same`,
    };
  }
  return { status: "ok", reason: null };
}

/** The flags that choose the implementation of WebGPU, where it is not the one that is chosen without any. */
export function providerFlags({ gpuProvider }: Pick<Environment, "gpuProvider">): string[] {
  return gpuProvider === "wgpu" ? [] : ["--gpu", gpuProvider];
}

/** What a record says of chosen kernels, and of those that cannot be had: nothing where there are none. */
function chosenKernels(result: TrainResult | undefined): Pick<CellRecord, "kernelChoices" | "kernelNotes"> {
  const { kernelChoices: choices = {}, kernelNotes: notes = [] } = result ?? {};
  return {
    ...Object.keys(choices).length > 0 && { kernelChoices: { ...choices } },
    ...notes.length > 0 && { kernelNotes: [...notes] },
  };
}

function withTail(
  { status, message, correctable }: { status: Status; message: string; correctable: boolean },
  end: ChildEnd,
) {
  return status === "error" && !correctable ? message + tailText(end) : message;
}

function tailText({ errorTail }: ChildEnd): string {
  return errorTail === "" ? "" : `; its last words:\n${errorTail}`;
}

function endText({ signal, code, timedOut }: ChildEnd): string {
  if (timedOut) return "ran out of time";
  return signal ? `was killed by ${signal}` : `ended with code ${code} and no result`;
}

/**
 * The process's own peak, of its start and first steps. The baseline is the larger of two: what a process
 * that only opens the device takes at its peak,
 * and what this one took, its data read, when its device was open and empty.
 */
function observedByProcess(
  { result, emptyBytes, compiledBytes }: Heard,
  { memory, baselineBytes }: CellContext,
): Observation {
  if (memory === "process") {
    const baseline = baselineBytes === null ? emptyBytes : Math.max(baselineBytes, emptyBytes ?? 0);
    const peak = result?.peakResidentBytes ?? null;
    return observation({ peak, baseline, compiled: compiledBytes }, ProcessPeak.how);
  }
  const how = "reason" in memory ? memory.reason : `${memory.how}: the device was never opened`;
  return { peakBytes: null, baselineBytes: null, kernelBytes: null, how };
}

function samplesOf(steps: readonly StepReport[], scaled: boolean): StepSamples {
  const finite = (value: number) => Number.isFinite(value) ? value : null;
  const samples: StepSamples = {
    loss: steps.map(({ loss }) => finite(loss)),
    ms: steps.map(({ ms }) => ms),
    tokens: steps.map(({ tokens }) => tokens),
    gradientNorm: steps.map(({ gradientNorm }) => finite(gradientNorm)),
    learningRate: steps.map(({ learningRate }) => learningRate),
  };
  if (!scaled) return samples;
  const skipped = steps.filter(({ skipped }) => skipped).map(({ step }) => step);
  return { ...samples, lossScale: steps.map(({ lossScale }) => lossScale), skipped };
}

function memoryOf(
  result: TrainResult,
  { peakBytes, baselineBytes, kernelBytes, how }: Observation,
): MemoryRecord {
  return {
    plannedPeakBytes: result.plannedPeakBytes,
    plannedByRole: result.plannedByRole,
    bookedPeakBytes: result.bookedPeakBytes,
    bookedByRole: result.bookedByRole,
    observedPeakBytes: peakBytes,
    observedBaselineBytes: baselineBytes,
    observedKernelBytes: kernelBytes,
    observedHow: how,
    timeline: thin(result.timeline, 256),
  };
}

/** At most `count` of the points, evenly, the peak among them. */
function thin(timeline: TrainResult["timeline"], count: number): TrainResult["timeline"] {
  if (timeline.length <= count) return timeline;
  const total = ({ bytes }: TrainResult["timeline"][number]) =>
    Object.values(bytes).reduce((a, b) => a + b, 0);
  return Array.from({ length: count }, (_, i) => {
    const [from, to] = [i, i + 1].map((k) => Math.floor((k * timeline.length) / count));
    return timeline.slice(from, to).reduce((a, b) => total(b) > total(a) ? b : a);
  });
}

/** Memory of a cell that has only been planned: nothing was booked. */
export function plannedMemory(plan: TrainingPlan, how: string): MemoryRecord {
  return {
    plannedPeakBytes: plan.plannedPeakBytes,
    plannedByRole: plan.plannedByRole,
    bookedPeakBytes: null,
    bookedByRole: null,
    observedPeakBytes: null,
    observedBaselineBytes: null,
    observedHow: how,
    timeline: [],
  };
}

/** The record of a cell that did not run: over the budget, or skipped by a rule. */
export function unmeasured(
  cell: Cell,
  plan: TrainingPlan | null,
  environment: Environment,
  status: Status,
  reason: string,
): CellRecord {
  const record = emptyRecord(cell, plan, environment, new Date());
  return { ...record, status, reason, memory: plan && plannedMemory(plan, "not run") };
}

/** The record of a cell of a plan: what the planner knows of it. */
export function plannedCell(cell: Cell, plan: TrainingPlan, environment: Environment): CellRecord {
  const memory = { ...plannedMemory(plan, "planned, not run"), timeline: thin(plan.timeline, 256) };
  const command = ["deno task plan", ...trainFlags(cell.config)].join(" ");
  return { ...emptyRecord(cell, plan, environment, new Date()), kind: "planned", command, memory };
}

/** The record of a cell whose configuration another one has run, in an earlier phase. */
export function reusedCell({ id, phase, label, repeat }: Cell, record: CellRecord): CellRecord {
  return { ...record, id, phase, label, repeat, sameRunAs: record.id };
}

/** `plan needs 1.50 GiB, budget 1.00 GiB` */
export function overBudgetReason(plan: TrainingPlan, budgetBytes: number): string {
  return `plan needs ${bytesText(plan.plannedPeakBytes)}, budget ${bytesText(budgetBytes)}`;
}

function emptyRecord(
  cell: Cell,
  plan: TrainingPlan | null,
  environment: Environment,
  started: Date,
): CellRecord {
  return {
    recordVersion: RECORD_VERSION,
    id: cell.id,
    kind: "trained",
    numerics: NUMERICS,
    phase: cell.phase,
    label: cell.label,
    ...cell.role !== undefined && { role: cell.role },
    repeat: cell.repeat,
    round: cell.repeat,
    process: null,
    status: "ok",
    reason: null,
    config: cell.config,
    command: ["deno task train", ...trainFlags(cell.config), ...providerFlags(environment)].join(" "),
    startedAt: started.toISOString(),
    wallMs: 0,
    parameters: plan?.parameters ?? null,
    trainableParameters: plan?.trainableParameters ?? null,
    dispatchesPerStep: plan?.dispatchesPerStep ?? null,
    modelFlopsPerStep: plan?.modelFlopsPerStep ?? null,
    warmupSteps: cell.warmupSteps,
    samples: null,
    heldOut: [],
    heldOutElsewhere: [],
    adapterBytes: null,
    sameRunAs: null,
    memory: null,
    profile: null,
    environment,
    dataHash: null,
  };
}
