import { InputError } from "../engine/input_error.ts";
import type { Status } from "../results/record.ts";
import { mean } from "../results/stats.ts";
import type { Engine } from "./engine.ts";
import { peakResidentBytes, ProcessPeak, residentBytes } from "./observed_memory.ts";
import { linesOf, type Message, type Request } from "./protocol.ts";

/** Steps whose mean loss is compared with the first. */
const DIVERGENCE_WINDOW = 10;

/**
 * Runs one request and says what happens as it goes on. Never throws: a run that fails says how.
 *
 * @param ready Awaited while the device is open and empty, and once more when the kernels are compiled.
 */
export async function measure(
  engine: Engine,
  request: Request,
  send: (message: Message) => void,
  ready: () => Promise<void>,
): Promise<void> {
  try {
    if (request.kind === "train") await trainCell(engine, request, send, ready);
    else {
      const adapter = await engine.describeAdapter();
      await engine.touchDevice();
      send({ type: "device", adapter, residentBytes: residentBytes() });
      send({ type: "baseline", peakResidentBytes: peakResidentBytes() });
      // After the baseline: it takes memory, and an empty device has none.
      if (request.roofline && engine.measureRoofline) {
        send({ type: "roofline", roofline: await engine.measureRoofline() });
      }
    }
  } catch (error) {
    send(failureOf(error));
  }
}

async function trainCell(
  engine: Engine,
  { config, start, save, divergenceFactor, profile }: Extract<Request, { kind: "train" }>,
  send: (message: Message) => void,
  ready: () => Promise<void>,
): Promise<void> {
  const losses: number[] = [];
  const peak = new ProcessPeak();
  let diverged: string | null = null;
  const listener = {
    onDevice: async (adapter: Extract<Message, { type: "device" }>["adapter"]) => {
      send({ type: "device", adapter, residentBytes: residentBytes() });
      await ready();
    },
    onCompiled: async () => {
      send({ type: "compiled", residentBytes: residentBytes() });
      await ready();
    },
    onPhase: (text: string) => send({ type: "phase", text }),
    onHeldOut: (point: Extract<Message, { type: "heldOut" }>["point"]) => send({ type: "heldOut", point }),
    onHeldOutElsewhere: (data: string, point: Extract<Message, { type: "heldOut" }>["point"]) =>
      send({ type: "heldOutElsewhere", data, point }),
    onStep: (report: Extract<Message, { type: "step" }>["report"]) => {
      peak.step();
      send({ type: "step", report });
      // A skipped step is the loss scaler at work: its loss may overflow without harm.
      if (!report.skipped) losses.push(report.loss);
      diverged ??= divergence(losses, divergenceFactor);
    },
    shouldStop: () => diverged !== null,
  };
  const result = await engine.train({ ...config, model: start ?? config.model }, listener, {
    profile,
    save: save ?? undefined,
    alsoEvaluate: config.alsoEvaluate,
  });
  send({ type: "result", result, diverged, peakResidentBytes: peak.bytes });
}

/**
 * Why a run counts as diverged, or null. A loss that is not a number, or a mean over the last ten steps above
 * the first loss by the factor.
 */
export function divergence(losses: readonly number[], factor: number): string | null {
  const last = losses.at(-1);
  if (last === undefined) return null;
  if (!Number.isFinite(last)) return `loss ${last} at step ${losses.length - 1}`;
  if (losses.length <= DIVERGENCE_WINDOW) return null;
  const recent = mean(losses.slice(-DIVERGENCE_WINDOW));
  if (!(recent > losses[0] * factor)) return null;
  return `mean loss ${
    recent.toPrecision(4)
  } over the last ${DIVERGENCE_WINDOW} steps, above ${factor} times the first, ` +
    `${losses[0].toPrecision(4)}`;
}

/** Errors that are results, by the name of their class. */
const STATUS_BY_ERROR: Readonly<Record<string, Status>> = {
  OutOfMemoryError: "oom",
  GPUOutOfMemoryError: "oom",
  DeviceLostError: "device-lost",
  DivergedError: "diverged",
};

function failureOf(error: unknown): Message {
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  const correctable = error instanceof InputError;
  const hostMemory = error instanceof RangeError && /array buffer allocation/i.test(message);
  const status = hostMemory ? "oom" : STATUS_BY_ERROR[name] ?? "error";
  if (status === "error" && !correctable) console.error(stack);
  return { type: "failure", status, message, correctable };
}

/** The measuring process: one request on standard input, messages on standard output. */
export async function serve(engine: Engine): Promise<never> {
  console.log = console.error; // standard output belongs to the messages
  // Ctrl-C reaches the whole group; whether to end is for the runner to say.
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    if (signal === "SIGINT" || Deno.build.os !== "windows") Deno.addSignalListener(signal, () => {});
  }
  const lines = linesOf(Deno.stdin.readable);
  const request: Request = JSON.parse((await lines.next()).value ?? "null");
  // Whoever waits has said so before the runner can answer.
  let go = Promise.withResolvers<void>();
  (async () => {
    for await (const _ of lines) {
      go.resolve();
      go = Promise.withResolvers<void>();
    }
    Deno.exit(1); // the runner is gone: nobody will read the result
  })();
  await measure(engine, request, write, () => go.promise);
  Deno.exit(0);
}

function write(message: Message): void {
  const bytes = new TextEncoder().encode(`${JSON.stringify(message)}\n`);
  for (let written = 0; written < bytes.length;) written += Deno.stdout.writeSync(bytes.subarray(written));
}

if (import.meta.main) {
  const { engine } = await import("./engine.ts");
  await serve(engine);
}
