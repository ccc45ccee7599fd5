// Peer: this engine, every memory method off, by the same loop that `deno task train` runs.
import process from "node:process";
import manifest from "../../../deno.json" with { type: "json" };
import { train } from "../../../mod.ts";
import type { TrainOptions } from "../../../mod.ts";
import { countGpu } from "./counted_gpu.ts";
import type { PeerJob, PeerReady, PeerStep } from "./protocol.ts";
import { tuneLavapipe } from "../../../engine/runtime/lavapipe/environment.ts";

/** What `deno task train` would be given. */
export function trainOptions({ shape, hyperparameters, modelFolder, tokenFile }: PeerJob): TrainOptions {
  const { learningRate, ...optimizerOptions } = hyperparameters;
  return {
    model: modelFolder,
    data: tokenFile,
    tokenizer: "model",
    heldOutFraction: 0,
    sequenceLength: shape.sequenceLength,
    microBatchSize: shape.batchSize,
    gradientAccumulationSteps: 1,
    methods: [],
    methodOptions: {},
    optimizer: "adamw",
    optimizerOptions,
    learningRate,
    schedule: "constant",
    warmupSteps: 0,
    clip: 0,
    dropout: 0,
    steps: Number.MAX_SAFE_INTEGER,
    evaluateEvery: 0,
    heldOutWindows: 0,
    seed: 1,
    shuffle: false,
  };
}

/** Reads one line from standard input, waiting for it; null at its end. */
function readLineSync(): string | null {
  const byte = new Uint8Array(1);
  let line = "";
  while (Deno.stdin.readSync(byte)) {
    if (byte[0] === 10) return line;
    line += String.fromCharCode(byte[0]);
  }
  return null;
}

function print(message: PeerReady | PeerStep): void {
  console.log(JSON.stringify(message));
}

if (import.meta.main) {
  tuneLavapipe();
  const job: PeerJob = JSON.parse(Deno.args[0]);
  const options = trainOptions(job);
  if (Deno.args[1] === "--write-weights") {
    await train({ ...options, steps: 0 }, {}, { save: job.modelFolder });
    Deno.exit(0);
  }
  const counter = countGpu();
  let adapterName = "unknown adapter";
  let ready = false;
  let cpu = process.cpuUsage();
  await train(options, {
    onDevice: ({ name }) => void (adapterName = name),
    // Asked before every step: the place to wait until it is this peer's turn.
    shouldStop() {
      if (!ready) print({ ready: true, version: `threefold ${manifest.version}`, adapter: adapterName });
      ready = true;
      if (readLineSync() !== "step") return true;
      counter.restart();
      cpu = process.cpuUsage();
      return false;
    },
    onStep({ loss, ms }) {
      const { user, system } = process.cpuUsage(cpu);
      print({ loss, ms, cpuMs: (user + system) / 1000, gpu: counter.counts() });
    },
  });
}
