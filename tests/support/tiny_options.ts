import type { TrainOptions } from "../../engine/train/options.ts";

/** Complete options of a run of a few steps with AdamW, on the tokens of a byte each. */
export function tinyOptions(
  required: Pick<TrainOptions, "model" | "data">,
  changes: Partial<TrainOptions> = {},
): TrainOptions {
  return {
    tokenizer: "bytes",
    heldOutFraction: 0,
    sequenceLength: 24,
    microBatchSize: 8,
    gradientAccumulationSteps: 1,
    methods: [],
    methodOptions: {},
    optimizer: "adamw",
    optimizerOptions: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 },
    learningRate: 3e-3,
    schedule: "constant",
    warmupSteps: 0,
    clip: 1,
    dropout: 0,
    steps: 4,
    evaluateEvery: 0,
    heldOutWindows: 0,
    seed: 0,
    shuffle: true,
    ...required,
    ...changes,
  };
}
