import { fileURLToPath } from "node:url";
import type { PeerJob, PeerReady, PeerStep } from "./protocol.ts";

/** A program that serves a peer. */
export interface PeerProgram {
  command: string;
  args: readonly string[];
}

/** A peer in a process of its own, which waits until it is told to do a step. */
export class PeerProcess {
  readonly #child: Deno.ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #requests: WritableStreamDefaultWriter<Uint8Array>;
  readonly #errors: Promise<string>;

  constructor({ command, args }: PeerProgram, job: PeerJob) {
    this.#child = new Deno.Command(command, {
      args: [...args, JSON.stringify(job)],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#requests = this.#child.stdin.getWriter();
    this.#lines = jsonLines(this.#child.stdout);
    this.#errors = new Response(this.#child.stderr).text();
  }

  /** Waits until the peer is open. @throws {Error} with what it wrote, where it ends instead. */
  async ready(): Promise<PeerReady> {
    return JSON.parse(await this.#next());
  }

  /** One step. @throws {Error} with what the peer wrote, where it ends instead. */
  async step(): Promise<PeerStep> {
    await this.#requests.write(new TextEncoder().encode("step\n"));
    return JSON.parse(await this.#next());
  }

  /** Ends the process and waits for it. */
  async close(): Promise<void> {
    await this.#requests.close().catch(() => {});
    // A peer that hangs would keep the adapter.
    try {
      this.#child.kill();
    } catch {
      // It has ended by itself.
    }
    await this.#child.status;
  }

  async #next(): Promise<string> {
    const { done, value } = await this.#lines.next();
    if (!done) return value;
    const { code } = await this.#child.status;
    const lines = (await this.#errors).trim().split("\n");
    throw new Error(`it ended with code ${code}: ${lines.slice(0, 3).join(" / ") || "no message"}`);
  }
}

/** Lines that are JSON objects; libraries may print others. */
async function* jsonLines(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines.filter((line) => line.startsWith("{"));
  }
}

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const deno = (...args: string[]): PeerProgram => ({ command: Deno.execPath(), args: ["run", "-A", ...args] });
const packaged = (script: string) =>
  deno("--frozen", "--config", here("packages/deno.json"), here(`packages/${script}`));

/** This engine as a peer. */
export const ENGINE_PROGRAM = deno("--config", here("../../../deno.json"), here("engine_peer.ts"));

/** The peers that are packages of `packages/deno.json`, by name. */
export const PACKAGED_PEERS: Readonly<Record<string, PeerProgram>> = {
  "jax-js": packaged("jax_js_peer.ts"),
  tfjs: packaged("tfjs_peer.ts"),
};

/** PyTorch as a peer, by `THREEFOLD_PYTHON` or the system's Python; null where neither has it. */
export async function torchPeer(): Promise<PeerProgram | null> {
  const command = await pythonWith(["torch", "numpy"]);
  return command === null ? null : { command, args: [here("torch_peer.py")] };
}

/** The Python of `THREEFOLD_PYTHON`, or the system's, if it has these modules; null where neither does. */
export async function pythonWith(modules: readonly string[]): Promise<string | null> {
  const named = Deno.env.get("THREEFOLD_PYTHON");
  for (const command of named ? [named] : ["/usr/bin/python3", "python3"]) {
    try {
      const { success } = await new Deno.Command(command, {
        args: ["-c", `import ${modules.join(", ")}`],
        stdout: "null",
        stderr: "null",
      }).output();
      if (success) return command;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return null;
}

/** Has the engine write the weights that all peers start from into the job's model folder. */
export async function writeWeights(job: PeerJob): Promise<void> {
  const { command, args } = ENGINE_PROGRAM;
  const { success, stderr } = await new Deno.Command(command, {
    args: [...args, JSON.stringify(job), "--write-weights"],
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(`The engine could not write weights: ${new TextDecoder().decode(stderr)}`);
}
