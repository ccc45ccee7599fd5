import { InputError } from "../../../engine/input_error.ts";
import { zeroBytesByRole } from "../../../engine/graph/types.ts";
import type {
  AdapterDescription,
  Engine,
  TrainListener,
  TrainOptions,
  TrainResult,
} from "../../../suites/engine.ts";

/**
 * A trainer that trains nothing: losses follow a formula, memory is 1 MiB a sequence, and the name of the model says how
 * the run ends. It stands in for the engine where the runner is tested.
 */

const MEBIBYTE = 2 ** 20;

const ADAPTER: AdapterDescription = {
  name: "fake adapter",
  vendor: "none",
  architecture: "none",
  driver: null,
  software: true,
  features: [],
  limits: { maxBufferSize: 2 ** 30 },
  subgroupSize: 0,
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
    "fake-exits",
    "fake-nan",
    "fake-rises",
    "fake-misplans",
  ],
  corpora: ["words"],
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
  evaluate: () => Promise.resolve({ loss: 2, tokens: 100, bookedPeakBytes: MEBIBYTE }),
  describeAdapter: () => Promise.resolve(ADAPTER),
  touchDevice: () => Promise.resolve(),
};

/** 1 MiB a sequence; checkpointing halves it, an optimizer without state saves a quarter. */
function plannedBytes({ microBatchSize, methods, optimizer }: TrainOptions): number {
  const share = (methods.includes("checkpoint") ? 0.5 : 1) * (optimizer === "sgd" ? 0.75 : 1);
  return microBatchSize * MEBIBYTE * share;
}

async function train(options: TrainOptions, listener: TrainListener): Promise<TrainResult> {
  const { model, seed, microBatchSize, gradientAccumulationSteps, sequenceLength } = options;
  await listener.onDevice?.(ADAPTER);
  listener.onPhase?.("pretending");
  const tokens = microBatchSize * gradientAccumulationSteps * sequenceLength;
  let trained = 0;
  for (let step = 0; step < options.steps && !listener.shouldStop?.(); step++) {
    if (step === 2) await misbehave(model, options);
    if (model === "fake-slow") await new Promise((resolve) => setTimeout(resolve, 20));
    const loss = model === "fake-nan" && step === 3 ? NaN : lossAt(model, trained, seed);
    trained += tokens;
    listener.onStep?.({
      step,
      loss,
      tokens,
      // Larger batches are faster by a token, up to a point.
      ms: 1 + tokens / 100,
      gradientNorm: 1,
      learningRate: options.learningRate,
      lossScale: 1,
      skipped: false,
      bytes: MEBIBYTE,
    });
  }
  const point = { step: options.steps, tokens: trained, loss: lossAt(model, trained, seed) };
  if (options.heldOutFraction > 0) listener.onHeldOut?.(point);
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
    heldOutElsewhere: [],
    dataHash: "0".repeat(64),
    profile: null,
  };
}

function lossAt(model: string, tokens: number, seed: number): number {
  if (model === "fake-rises") return 3 + tokens / 100;
  return 3 + 2 * Math.exp(-tokens / 1000) + 0.001 * seed;
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
      Deno.kill(Deno.pid, "SIGKILL");
      return;
    case "fake-exits":
      console.error("the driver said goodbye");
      Deno.exit(3);
  }
}
