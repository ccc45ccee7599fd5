import { join } from "node:path";
import { oomEvidence, oomKills } from "./cgroup.ts";
import { PROJECT } from "./environment.ts";
import { linesOf, type Message, type Request } from "./protocol.ts";

/** How a measuring process ended. */
export interface ChildEnd {
  code: number;
  signal: string | null;
  /** Stopped because it ran out of time. */
  timedOut: boolean;
  /** Stopped because the run was interrupted. */
  aborted: boolean;
  /** Last lines of standard error. */
  errorTail: string;
  /** What the kernel or the cgroup says of a kill for want of memory; null where they say nothing. */
  oomEvidence: string | null;
}

/** What to run, and who listens. */
export interface ChildOptions {
  /** The program: `measure.ts`, or one that stands in for it in tests. */
  script: URL;
  request: Request;
  timeoutMs: number;
  signal: AbortSignal;
  onMessage(message: Message): void;
  /** Called when the device is open and empty; the process waits until it is done. */
  onDevice?(pid: number): Promise<void>;
  /** Called when the kernels are compiled, and there are no buffers; the process waits likewise. */
  onCompiled?(): Promise<void>;
}

/** Lines of standard error to keep: drivers say little, stacks of the engine are longer than what helps. */
const ERROR_LINES = 12;

/**
 * Runs a measuring process to its end. It gets no second chance: at its time
 * limit, or when the run stops, it is killed.
 */
export async function runChild(options: ChildOptions): Promise<ChildEnd> {
  const killsBefore = await oomKills();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--config", join(PROJECT, "deno.json"), options.script.href],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let timedOut = false;
  const kill = () => {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
  };
  const timer = setTimeout(() => {
    timedOut = true;
    kill();
  }, options.timeoutMs);
  options.signal.addEventListener("abort", kill);
  if (options.signal.aborted) kill();
  const input = child.stdin.getWriter();
  // The child may be gone.
  const say = (text: string) => input.write(new TextEncoder().encode(`${text}\n`)).catch(() => {});
  await say(JSON.stringify(options.request));
  const tail: string[] = [];
  const [, , status] = await Promise.all([
    readMessages(child.stdout, tail, async (message) => {
      options.onMessage(message);
      if (message.type === "device") await options.onDevice?.(child.pid);
      else if (message.type === "compiled") await options.onCompiled?.();
      else return;
      await say("go");
    }),
    keepLast(child.stderr, tail),
    child.status,
  ]);
  clearTimeout(timer);
  options.signal.removeEventListener("abort", kill);
  await input.close().catch(() => {});
  return {
    code: status.code,
    signal: status.signal,
    timedOut,
    aborted: options.signal.aborted,
    errorTail: tail.join("\n"),
    oomEvidence: oomEvidence(killsBefore, await oomKills()),
  };
}

async function readMessages(
  stream: ReadableStream<Uint8Array>,
  tail: string[],
  onMessage: (message: Message) => Promise<void>,
): Promise<void> {
  for await (const line of linesOf(stream)) {
    const message = parseMessage(line);
    if (message) await onMessage(message);
    else keep(tail, line); // a driver that prints to standard output
  }
}

function parseMessage(line: string): Message | null {
  if (!line.startsWith('{"type":')) return null;
  try {
    return JSON.parse(line);
  } catch {
    return null; // cut off when the process was killed
  }
}

async function keepLast(stream: ReadableStream<Uint8Array>, tail: string[]): Promise<void> {
  for await (const line of linesOf(stream)) keep(tail, line);
}

function keep(tail: string[], line: string) {
  if (line.trim() === "") return;
  tail.push(line);
  if (tail.length > ERROR_LINES) tail.shift();
}
