import { createInterface } from "node:readline";
import process from "node:process";
import { countGpu, type GpuCounts } from "./counted_gpu.ts";

/** A GPT-2 that every peer trains, and on what. */
export interface PeerShape {
  name: string;
  layerCount: number;
  hiddenSize: number;
  headCount: number;
  sequenceLength: number;
  batchSize: number;
  vocabularySize: number;
}

/**
 * AdamW as in torch.optim.AdamW: decay on the matrices of linear layers alone, no clipping, a constant rate.
 */
export interface Hyperparameters {
  learningRate: number;
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
}

/** What a peer is told when it starts: the one argument of its program, as JSON. */
export interface PeerJob {
  shape: PeerShape;
  hyperparameters: Hyperparameters;
  /** Folder with `config.json` and, but for the peer that writes it, `model.safetensors`. */
  modelFolder: string;
  /** Token ids, u16: step k takes windows k·B … of T tokens, with targets one further. */
  tokenFile: string;
}

/** First line of a peer: it is ready, and has done nothing yet. */
export interface PeerReady {
  ready: true;
  /** What computes: package and version, and the adapter or number of threads. */
  version: string;
  adapter: string;
}

/** A line of a peer for each `step` it is told. */
export interface PeerStep {
  /** Mean over the step's targets, before the update. */
  loss: number;
  /** From the first token to the loss on the host, the update included. */
  ms: number;
  /** Processor time of the process over the same, all threads. */
  cpuMs: number;
  /** Null where nothing was counted: no GPU. */
  gpu: GpuCounts | null;
}

/** A model opened by a peer. */
export interface OpenPeer {
  version: string;
  adapter: string;
  /** Trains on inputs and targets, both [B, T], and returns the mean loss before the update. */
  step(inputs: Uint32Array, targets: Int32Array): Promise<number>;
}

/**
 * Runs a peer as a program: opens it, then does one step for each line on standard input, until that ends.
 *
 * The GPU is counted from before the peer is opened, so that no buffer escapes.
 */
export async function servePeer(open: (job: PeerJob) => Promise<OpenPeer>): Promise<void> {
  const job: PeerJob = JSON.parse(process.argv[2]);
  const counter = countGpu();
  const peer = await open(job);
  const tokens = await readTokens(job.tokenFile);
  print({ ready: true, version: peer.version, adapter: peer.adapter } satisfies PeerReady);
  let index = 0;
  for await (const line of createInterface({ input: process.stdin })) {
    if (line !== "step") throw new Error(`Unknown request ${line}: expected step`);
    const { inputs, targets } = batchAt(tokens, index++, job.shape);
    counter.restart();
    const [started, cpu] = [performance.now(), process.cpuUsage()];
    const loss = await peer.step(inputs, targets);
    const [ms, { user, system }] = [performance.now() - started, process.cpuUsage(cpu)];
    print({ loss, ms, cpuMs: (user + system) / 1000, gpu: counter.counts() } satisfies PeerStep);
  }
}

function print(message: PeerReady | PeerStep): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

async function readTokens(path: string): Promise<Uint16Array> {
  return new Uint16Array((await Deno.readFile(path)).buffer);
}

/** Batch `index` in order, wrapping at the end: what `deno task train --no-shuffle` takes. */
export function batchAt(
  tokens: Uint16Array,
  index: number,
  { batchSize, sequenceLength: T }: Pick<PeerShape, "batchSize" | "sequenceLength">,
): { inputs: Uint32Array; targets: Int32Array } {
  const windows = Math.floor((tokens.length - 1) / T);
  const inputs = new Uint32Array(batchSize * T);
  const targets = new Int32Array(batchSize * T);
  for (let b = 0; b < batchSize; b++) {
    const from = ((index * batchSize + b) % windows) * T;
    for (let t = 0; t < T; t++) {
      inputs[b * T + t] = tokens[from + t];
      targets[b * T + t] = tokens[from + t + 1];
    }
  }
  return { inputs, targets };
}
