/** What methods and optimizers are called in charts and tables; an unknown one keeps its own name. */
import { METHODS, OPTIMIZERS, trainsAdapters } from "../../results/methods.ts";
import type { RunConfig } from "../../results/record.ts";

export function methodName(id: string): string {
  return METHODS.find((method) => method.id === id)?.short ?? id;
}

export function optimizerName(id: string): string {
  return OPTIMIZERS.find((optimizer) => optimizer.id === id)?.label ?? id;
}

/**
 * Whether 8-bit AdamW trained embeddings with 8-bit moments. Records from before there was a choice do not
 * say, and did. Adapters leave embeddings as they are.
 */
export function quantizesEmbeddings({ methods, optimizer, optimizerOptions }: RunConfig): boolean {
  return optimizer === "adamw8bit" && optimizerOptions.quantizeEmbeddings !== false &&
    !trainsAdapters(methods);
}

/** `4`, and `1 × 4` where a batch is accumulated. */
export function batchName({ microBatchSize, gradientAccumulationSteps }: RunConfig): string {
  return gradientAccumulationSteps > 1
    ? `${microBatchSize} × ${gradientAccumulationSteps}`
    : String(microBatchSize);
}

/** `accumulation + fp16 + Adafactor`: what a configuration switches on, however its cell is labelled. */
export function combinationName(config: RunConfig): string {
  const parts = [
    ...config.gradientAccumulationSteps > 1 ? ["accumulation"] : [],
    ...["checkpoint", "fp16", "flash"].filter((id) => config.methods.includes(id)),
    ...config.methods.filter((id) => !["checkpoint", "fp16", "flash"].includes(id)),
  ].map((id) =>
    config.methodOptions[id]?.selective === true ? `selective ${methodName(id)}` : methodName(id)
  );
  // Named where it was asked for: records that have no choice have one form alone.
  const isQuantized = quantizesEmbeddings(config) && config.optimizerOptions.quantizeEmbeddings === true;
  const form = isQuantized ? " with quantized embeddings" : "";
  if (config.optimizer !== "adamw") parts.push(optimizerName(config.optimizer) + form);
  return parts.length > 0 ? parts.join(" + ") : "nothing switched on";
}
