import type { RunConfig } from "../results/record.ts";

/** Sequences in one optimizer step. */
export function effectiveBatchSize(config: RunConfig): number {
  return config.microBatchSize * config.gradientAccumulationSteps;
}

/** Tokens in one optimizer step. */
export function tokensPerStep(config: RunConfig): number {
  return effectiveBatchSize(config) * config.sequenceLength;
}
