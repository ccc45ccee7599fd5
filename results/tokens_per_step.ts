import type { RunConfig } from "./settings.ts";

/** Sequences in one optimizer step. */
export function effectiveBatchSize(
  config: Pick<RunConfig, "microBatchSize" | "gradientAccumulationSteps">,
): number {
  return config.microBatchSize * config.gradientAccumulationSteps;
}

/** Tokens in one optimizer step. */
export function tokensPerStep(config: RunConfig): number {
  return effectiveBatchSize(config) * config.sequenceLength;
}
