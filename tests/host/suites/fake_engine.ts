import { join } from "node:path";
import { InputError } from "../../../engine/input_error.ts";
import { zeroBytesByRole } from "../../../engine/graph/types.ts";
import type {
  AdapterDescription,
  Engine,
  TrainExtras,
  TrainListener,
  TrainOptions,
  TrainResult,
} from "../../../suites/engine.ts";

/**
 * A trainer that trains nothing: losses follow a formula, memory is 1 MiB a sequence, and the name of the
 * model says how the run ends. It stands in for the engine where the runner is tested. A learning rate off
 * its best by a factor of e costs 0.1 of the held-out loss, one above 1 diverges. Saved weights are the
 * tokens trained on so far, so that a chain's losses tell what it started from.
 */

const MEBIBYTE = 2 ** 20;

const ADAPTER: AdapterDescription = {
  name: "fake adapter",
  provider: "wgpu",
  providerVersion: "",
  vendor: "none",
  architecture: "none",
  driver: null,
  software: true,
  features: [],
  limits: { maxBufferSize: 2 ** 30 },
  subgroupSize: 0,
  threads: null,
  vectorWidth: null,
};

class OutOfMemoryError extends Error {
  override name = "OutOfMemoryError";
}
class DeviceLostError extends Error {
  override name = "DeviceLostError";
}

export const fakeEngine: Engine = {
  implementedMethods: ["checkpoint", "fp16", "lora"],
  implementedOptimizers: ["adamw", "sgd"],
  presets: [
    "fake",
    "fake-slow",
    "fake-out-of-memory",
    "fake-device-lost",
    "fake-throws",
    "fake-hangs",
    "fake-killed",
    "fake-stopped",
    "fake-crashes",
    "fake-aborts",
    "fake-killed-by-list",
    "fake-exits",
    "fake-panics",
    "fake-nan",
    "fake-rises",
    "fake-misplans",
    "fake-slow-chain",
    "fake-uneven",
    "fake-uneven-killed-by-list",
  ],
  corpora: ["words", "old-words"],
  train,
  planTraining: (options) => {
    const bytes = plannedBytes(options);
    if (options.sequenceLength > 1024) {
      throw new InputError(
        `Cannot train at a sequence length of ${options.sequenceLength}: the model has 1024 positions`,
      );
    }
    return Promise.resolve({
      parameters: 1000,
      trainableParameters: options.methods.includes("lora") ? 10 : 1000,
      plannedPeakBytes: bytes,
      plannedByRole: { ...zeroBytesByRole(), activations: bytes },
      steadyBytes: MEBIBYTE,
      timeline: [{ dispatch: 0, bytes: { ...zeroBytesByRole(), activations: bytes } }],
      dispatchesPerStep: 10,
      modelFlopsPerStep: 1e6 * options.microBatchSize * options.gradientAccumulationSteps,
    });
  },
  evaluate: (options) =>
    Promise.resolve({
      loss: 2,
      tokens: 100,
      targets: 100,
      scores: scoresFor(options),
      bookedPeakBytes: MEBIBYTE,
    }),
  describeAdapter: () => Promise.resolve(ADAPTER),
  surveyProviders: () =>
    Promise.resolve([
      { id: "wgpu", version: "wgpu of a fake", adapter: ADAPTER, problem: null },
      { id: "dawn", version: null, adapter: null, problem: "not installed" },
    ]),
  touchDevice: () => Promise.resolve(),
  measureRoofline: () => Promise.resolve(FAKE_ROOFLINE),
};

/** What the device of the fake engine can do. */
export const FAKE_ROOFLINE = {
  matmulFlopsPerSecond: { f32: 2e10, f16: 4e10 },
  copyBytesPerSecond: 1e10,
  how: "made up",
  steadiness: {
    f32: { measurements: 3, spread: 0.01 },
    f16: { measurements: 12, spread: 0.3 },
    copy: { measurements: 5, spread: 0.05 },
  },
};

/** How well the fake tells labels apart; null where it predicts tokens. */
function scoresFor({ task }: Pick<TrainOptions, "task">) {
  return task === "classify" ? { accuracy: 0.75, macroF1: 0.7, majorityShare: 0.625 } : null;
}

/** 1 MiB a sequence; checkpointing halves it, an optimizer without state saves a quarter. */
function plannedBytes({ microBatchSize, methods, optimizer }: TrainOptions): number {
  const share = (methods.includes("checkpoint") ? 0.5 : 1) * (optimizer === "sgd" ? 0.75 : 1);
  return microBatchSize * MEBIBYTE * share;
}

/** Where the held-out loss of an optimizer is lowest. */
const BEST_RATES: Readonly<Record<string, number>> = { adamw: 0.001, sgd: 0.1 };

/** Contents of the file that the fake trainer saves. */
interface SavedWeights {
  model: string;
  tokens: number;
}

async function train(
  options: TrainOptions,
  listener: TrainListener,
  { save, alsoEvaluate = [] }: TrainExtras = {},
): Promise<TrainResult> {
  const { seed, microBatchSize, gradientAccumulationSteps, sequenceLength } = options;
  const start = await savedWeights(options.model);
  const { model } = start;
  await listener.onDevice?.(ADAPTER);
  await listener.onCompiled?.();
  listener.onPhase?.("pretending");
  const tokens = microBatchSize * gradientAccumulationSteps * sequenceLength;
  let trained = 0;
  const lossAfter = (tokens: number) => lossAt(model, start.tokens + tokens, seed);
  for (let step = 0; step < options.steps && !listener.shouldStop?.(); step++) {
    if (step === 2) await misbehave(model, options);
    if (model.endsWith("killed-by-list")) await dieAsListed(step);
    if (model.startsWith("fake-slow")) await new Promise((resolve) => setTimeout(resolve, 20));
    const nan = (model === "fake-nan" || options.learningRate > 1) && step === 3;
    const loss = nan ? NaN : lossAfter(trained);
    trained += tokens;
    listener.onStep?.({
      step,
      loss,
      tokens,
      targets: tokens,
      // Larger batches are faster by a token, up to a point.
      ms: (1 + tokens / 100) * unevenness(model, options),
      gradientNorm: 1,
      learningRate: options.learningRate,
      lossScale: 1,
      skipped: false,
      bytes: MEBIBYTE,
    });
  }
  const rateLoss = 0.1 * Math.abs(Math.log(options.learningRate / (BEST_RATES[options.optimizer] ?? 0.001)));
  const loss = lossAfter(trained) + rateLoss;
  const point = { step: options.steps, tokens: trained, loss, ms: 5, ...scoresFor(options) };
  if (options.heldOutFraction > 0) listener.onHeldOut?.(point);
  const heldOutElsewhere = alsoEvaluate.map((data) => ({
    data,
    points: [{ ...point, loss: point.loss + 1 }],
  }));
  for (const { data, points } of heldOutElsewhere) listener.onHeldOutElsewhere?.(data, points[0]);
  if (save !== undefined) await saveWeights(save, { model, tokens: start.tokens + trained }, options.methods);
  const bytes = plannedBytes(options);
  const byRole = { ...zeroBytesByRole(), activations: bytes };
  return {
    parameters: 1000,
    trainableParameters: 1000,
    plannedPeakBytes: bytes,
    plannedByRole: byRole,
    bookedPeakBytes: model === "fake-misplans" ? bytes + 4 : bytes,
    bookedByRole: byRole,
    timeline: [{ dispatch: 0, bytes: byRole }],
    dispatchesPerStep: 10,
    modelFlopsPerStep: 1e6 * microBatchSize * gradientAccumulationSteps,
    heldOut: options.heldOutFraction > 0 ? [point] : [],
    unigramLoss: options.heldOutFraction > 0 ? 3.25 : null,
    heldOutElsewhere,
    kernelChoices: {},
    kernelNotes: [],
    dataHash: "0".repeat(64),
    profile: null,
  };
}

/** Times as long as others: fp16 always, checkpointing with even seeds. */
function unevenness(model: string, { methods, seed }: TrainOptions): number {
  if (!model.startsWith("fake-uneven")) return 1;
  return methods.includes("fp16") || (methods.includes("checkpoint") && seed % 2 === 0) ? 2 : 1;
}

/** What a name or a saved folder starts from. */
async function savedWeights(model: string): Promise<SavedWeights> {
  if (fakeEngine.presets.includes(model)) return { model, tokens: 0 };
  return JSON.parse(await Deno.readTextFile(join(model, "weights.json")));
}

/** In two files with time between them, so that a kill can come in between. */
async function saveWeights(folder: string, weights: SavedWeights, methods: readonly string[]): Promise<void> {
  await Deno.writeTextFile(join(folder, "config.json"), "{}");
  if (weights.model === "fake-slow-chain") await new Promise((resolve) => setTimeout(resolve, 200));
  await Deno.writeTextFile(join(folder, "weights.json"), JSON.stringify(weights));
  if (methods.includes("lora")) {
    await Deno.writeFile(join(folder, "adapter_model.safetensors"), new Uint8Array(321));
  }
}

function lossAt(model: string, tokens: number, seed: number): number {
  if (model === "fake-rises") return 3 + tokens / 100;
  return 3 + 2 * Math.exp(-tokens / 1000) + 0.001 * seed;
}

/**
 * Folder of what will kill processes of models that are called so: one file a kill, its content the step.
 */
export const KILL_LIST = "THREEFOLD_TEST_KILL_LIST";

/** Dies of the first listed kill that is for this step, and strikes it off. */
async function dieAsListed(step: number): Promise<void> {
  const folder = Deno.env.get(KILL_LIST);
  if (folder === undefined) return;
  for (const { name } of [...Deno.readDirSync(folder)].sort((a, b) => a.name < b.name ? -1 : 1)) {
    if (await Deno.readTextFile(join(folder, name)) !== `${step}`) return; // the first is for another step
    await Deno.remove(join(folder, name));
    await dieOf("SIGKILL");
  }
}

/** Again and again: V8 has a handler of its own for some, which lets a second one pass. */
async function dieOf(signal: Deno.Signal): Promise<never> {
  while (true) {
    Deno.kill(Deno.pid, signal);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function misbehave(model: string, { microBatchSize }: TrainOptions): Promise<void> {
  switch (model) {
    case "fake-out-of-memory":
      if (microBatchSize >= 4) throw new OutOfMemoryError(`No room for ${microBatchSize} sequences`);
      return;
    case "fake-device-lost":
      throw new DeviceLostError("The device was lost: it was unplugged");
    case "fake-throws":
      throw new TypeError("A mistake in the engine");
    case "fake-hangs":
      await new Promise((resolve) => setTimeout(resolve, 3_600_000));
      return;
    case "fake-killed":
      return await dieOf("SIGKILL");
    case "fake-stopped":
      return await dieOf("SIGHUP");
    case "fake-crashes":
      return await dieOf("SIGSEGV");
    case "fake-aborts":
      return await dieOf("SIGABRT");
    case "fake-exits":
      console.error("the driver said goodbye");
      Deno.exit(3);
      break;
    case "fake-panics":
      // What Deno prints where wgpu loses the device during a wait.
      console.error(
        "thread 'main' panicked at ext/webgpu/buffer.rs:266:14:\n" +
          "called `Result::unwrap()` on an `Err` value: Device(Lost)",
      );
      Deno.exit(134);
  }
}
