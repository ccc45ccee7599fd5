import type { Session } from "./session.ts";
import { encodeDispatch } from "./replay.ts";
import { readBuffer, waitForQueue } from "./readback.ts";

/** Time of one kernel over a profiled step. */
export interface KernelTime {
  kernel: string;
  dispatches: number;
  ms: number;
  flops: number;
  /** Bytes of what its dispatches bind, each binding counted once a dispatch. */
  bytes: number;
}

/** Timestamps of one query set; WebGPU allows 4096. */
const QUERIES = 4096;

/**
 * Runs programs with every dispatch in a pass of its own, timestamps before and after it, and sums them by kernel,
 * longest first. Slower than a step as such, since passes cost: shares, not totals, are what it tells.
 *
 * @throws {RangeError} where the adapter has no `timestamp-query`.
 */
export async function profileStep(session: Session, programs: readonly number[]): Promise<KernelTime[]> {
  const { device } = session.gpu;
  if (!device.features.has("timestamp-query")) {
    throw new RangeError("Cannot profile: the adapter has no feature timestamp-query");
  }
  const times = new Map<string, KernelTime>();
  const commands = programs.flatMap((program) => session.recordings[program].commands);
  const querySet = device.createQuerySet({ type: "timestamp", count: QUERIES });
  const resolved = device.createBuffer({
    size: 8 * QUERIES,
    usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
  });
  try {
    for (let first = 0; first < commands.length; first += QUERIES / 2) {
      const batch = commands.slice(first, first + QUERIES / 2);
      const encoder = device.createCommandEncoder();
      batch.forEach((command, i) => {
        if ("clear" in command) {
          const { buffer, byteOffset, byteLength } = command.clear;
          encoder.clearBuffer(session.buffers[buffer], byteOffset, byteLength);
          return;
        }
        const timestampWrites = {
          querySet,
          beginningOfPassWriteIndex: 2 * i,
          endOfPassWriteIndex: 2 * i + 1,
        };
        const pass = encoder.beginComputePass({ timestampWrites });
        encodeDispatch(pass, command);
        pass.end();
      });
      encoder.resolveQuerySet(querySet, 0, 2 * batch.length, resolved, 0);
      device.queue.submit([encoder.finish()]);
      await waitForQueue(session.gpu);
      const stamps = new BigUint64Array(await readBuffer(session.gpu, resolved, 0, 16 * batch.length));
      batch.forEach((command, i) => {
        if ("clear" in command) return;
        const { kernel, bindings, flops = 0 } = command.dispatch;
        const time = times.get(kernel.name) ??
          { kernel: kernel.name, dispatches: 0, ms: 0, flops: 0, bytes: 0 };
        time.dispatches++;
        time.ms += Number(stamps[2 * i + 1] - stamps[2 * i]) / 1e6;
        time.flops += flops;
        time.bytes += bindings.reduce((sum, { byteLength }) => sum + byteLength, 0);
        times.set(kernel.name, time);
      });
    }
  } finally {
    querySet.destroy();
    resolved.destroy();
  }
  return [...times.values()].sort((a, b) => b.ms - a.ms);
}
