import { dispatchBytes } from "../plan/traffic.ts";
import type { Gpu } from "./gpu.ts";
import { onDevice, readBuffer } from "./readback.ts";
import { encodeCopies, encodeDispatch, encodeRecording } from "./replay.ts";
import type { Session } from "./session.ts";

/** Time of one kernel over a profiled step. */
export interface KernelTime {
  /** Name of the kernel. */
  kernel: string;
  /** Times it was launched. */
  dispatches: number;
  /** Time of them all, milliseconds. */
  ms: number;
  /** Floating-point operations of them all; 0 for kernels that are no products. */
  flops: number;
  /** Bytes its dispatches move at least; see `dispatchBytes`. */
  bytes: number;
}

/**
 * How kernels are timed: by the device's clock around each dispatch, or by steps
 * in which one kernel's are repeated.
 */
export const PROFILE_METHODS = ["timestamps", "differential"] as const;
/** One of `PROFILE_METHODS`. */
export type ProfileMethod = typeof PROFILE_METHODS[number];

/** A step by kernel, longest first. */
export interface StepProfile {
  /** Longest first. */
  kernels: KernelTime[];
  /** How they were timed. */
  method: ProfileMethod;
  /** Why timestamps were not used, where they were not. */
  reason: string | null;
  /**
   * Time of the programs as they run in training, from submit to the end: what
   * the kernels' times add up to at most.
   */
  wallMs: number;
}

/**
 * Time of every kernel in some programs: by timestamps where they make sense, else by the difference that a
 * kernel's dispatches make when they are issued several times over.
 *
 * What the programs compute is spoiled: the update runs more than once, so
 * nothing may be trained or saved afterwards.
 *
 * @param method Only this one; default: timestamps, and differences where they are missing or make no sense.
 * @throws {RangeError} where timestamps are asked for and the adapter has no `timestamp-query`.
 */
export async function profileStep(
  session: Session,
  programs: readonly number[],
  { method }: { method?: ProfileMethod } = {},
): Promise<StepProfile> {
  const wallMs = await stepMs(session, programs, null);
  const supported = session.gpu.device.features.has("timestamp-query");
  if (!supported && method === "timestamps") {
    throw new RangeError("Cannot profile: the adapter has no feature timestamp-query");
  }
  let reason = supported ? null : "the adapter has no timestamp-query";
  if (supported && method !== "differential") {
    const { times, wallMs: timedMs } = await timestampTimes(session, programs);
    const problem = timestampProblem(times.map(({ ms }) => ms), timedMs);
    if (problem === null || method === "timestamps") {
      return { kernels: collect(session, programs, times), method: "timestamps", reason: null, wallMs };
    }
    reason = problem;
  }
  const times = await differentialTimes(session, programs);
  return { kernels: collect(session, programs, times), method: "differential", reason, wallMs };
}

/**
 * Why timestamps of dispatches cannot be believed, or null.
 *
 * Some drivers return zeros, others count in another unit: the sum must lie between a twentieth of the wall
 * time (a GPU with many short dispatches waits between them) and a little over it (both clocks are rounded).
 */
export function timestampProblem(times: readonly number[], wallMs: number): string | null {
  const sum = times.reduce((a, b) => a + b, 0);
  if (times.some((ms) => !(ms >= 0))) return "a dispatch ends before it begins by its timestamps";
  if (sum < wallMs / 20) {
    return `timestamps add up to ${sum.toPrecision(3)} ms of ${wallMs.toPrecision(3)} ms of wall time`;
  }
  if (sum > 1.1 * wallMs + 0.1) {
    return `timestamps add up to ${sum.toPrecision(3)} ms, more than the ${
      wallMs.toPrecision(3)
    } ms of wall time`;
  }
  return null;
}

interface Timed {
  kernel: string;
  ms: number;
}

function commandsOf(session: Session, programs: readonly number[]) {
  return programs.flatMap((program) => session.recordings[program].commands);
}

/** Adds the times up by kernel, beside its dispatches and what they do. */
function collect(session: Session, programs: readonly number[], times: readonly Timed[]): KernelTime[] {
  const kernels = new Map<string, KernelTime>();
  for (const command of commandsOf(session, programs)) {
    if ("clear" in command) continue;
    const { dispatch } = command;
    const kernel = dispatch.kernel.name;
    const entry = kernels.get(kernel) ?? { kernel, dispatches: 0, ms: 0, flops: 0, bytes: 0 };
    entry.dispatches++;
    entry.flops += dispatch.flops ?? 0;
    entry.bytes += dispatchBytes(dispatch);
    kernels.set(kernel, entry);
  }
  for (const { kernel, ms } of times) kernels.get(kernel)!.ms += ms;
  return [...kernels.values()].sort((a, b) => b.ms - a.ms);
}

/** Timestamps of one query set; WebGPU allows 4096. */
const QUERIES = 4096;

/** Every dispatch in a pass of its own, which costs a little, with timestamps before and after it. */
async function timestampTimes(
  session: Session,
  programs: readonly number[],
): Promise<{ times: Timed[]; wallMs: number }> {
  const { device } = session.gpu;
  const commands = commandsOf(session, programs);
  const querySet = device.createQuerySet({ type: "timestamp", count: QUERIES });
  const resolved = device.createBuffer({
    size: 8 * QUERIES,
    usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
  });
  const times: Timed[] = [];
  let wallMs = 0;
  try {
    for (let first = 0; first < commands.length; first += QUERIES / 2) {
      const batch = commands.slice(first, first + QUERIES / 2);
      const encoder = device.createCommandEncoder();
      const timed: string[] = [];
      for (const command of batch) {
        if ("clear" in command) {
          const { buffer, byteOffset, byteLength } = command.clear;
          encoder.clearBuffer(session.buffers[buffer], byteOffset, byteLength);
          continue;
        }
        // No query is left out: NVIDIA's driver waits for ever for those that nobody writes.
        const beginningOfPassWriteIndex = 2 * timed.length;
        const endOfPassWriteIndex = beginningOfPassWriteIndex + 1;
        timed.push(command.dispatch.kernel.name);
        const copies = command.copies.length > 0;
        if (copies) {
          // Timed with the dispatch they are for: from the beginning of an empty pass before them.
          encoder.beginComputePass({ timestampWrites: { querySet, beginningOfPassWriteIndex } }).end();
          encodeCopies(encoder, command);
        }
        const timestampWrites = copies
          ? { querySet, endOfPassWriteIndex }
          : { querySet, beginningOfPassWriteIndex, endOfPassWriteIndex };
        const pass = encoder.beginComputePass({ timestampWrites });
        encodeDispatch(pass, command);
        pass.end();
      }
      if (timed.length > 0) encoder.resolveQuerySet(querySet, 0, 2 * timed.length, resolved, 0);
      wallMs += await submitAndTime(session.gpu, encoder.finish());
      if (timed.length === 0) continue;
      const stamps = new BigUint64Array(await readBuffer(session.gpu, resolved, 0, 16 * timed.length));
      timed.forEach((kernel, i) => {
        const nanoseconds = Number(BigInt.asIntN(64, stamps[2 * i + 1] - stamps[2 * i]));
        times.push({ kernel, ms: nanoseconds / 1e6 });
      });
    }
  } finally {
    querySet.destroy();
    resolved.destroy();
  }
  return { times, wallMs };
}

/** How often a kernel's dispatches are issued in place of once, and how often each difference is taken. */
const REPEATS = 5;
const ROUNDS = 3;

/** A kernel's time is what the step takes longer when its dispatches are repeated, divided by the repeats. */
async function differentialTimes(session: Session, programs: readonly number[]): Promise<Timed[]> {
  const names = new Set(
    commandsOf(session, programs).flatMap((command) =>
      "clear" in command ? [] : [command.dispatch.kernel.name]
    ),
  );
  const times: Timed[] = [];
  for (const kernel of names) {
    const differences: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      // One after the other, so that a machine that slows down slows both.
      const once = await stepMs(session, programs, null);
      differences.push(await stepMs(session, programs, kernel) - once);
    }
    const median = differences.sort((a, b) => a - b)[ROUNDS >> 1];
    times.push({ kernel, ms: Math.max(0, median / (REPEATS - 1)) });
  }
  return times;
}

/**
 * Time of the programs from submit to the end. @param repeated Name of the kernel
 * whose dispatches are repeated.
 */
async function stepMs(
  session: Session,
  programs: readonly number[],
  repeated: string | null,
): Promise<number> {
  const encoder = session.gpu.device.createCommandEncoder();
  for (const program of programs) {
    const recording = session.recordings[program];
    const commands = recording.commands.flatMap((command) =>
      repeated !== null && !("clear" in command) && command.dispatch.kernel.name === repeated
        ? Array(REPEATS).fill(command)
        : [command]
    );
    encodeRecording(encoder, { ...recording, commands }, session.buffers);
  }
  return await submitAndTime(session.gpu, encoder.finish());
}

/** Milliseconds from submit until the queue is idle. */
export async function submitAndTime(gpu: Gpu, commands: GPUCommandBuffer): Promise<number> {
  return await onDevice(gpu, async () => {
    const started = performance.now();
    gpu.device.queue.submit([commands]);
    const done = gpu.device.queue.onSubmittedWorkDone();
    // Where the call itself waits, its promise comes at least 10 ms late.
    if (!gpu.provider.callsWaitForQueue) await done;
    const ms = performance.now() - started;
    await done;
    return ms;
  });
}
