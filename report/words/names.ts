/** What methods and optimizers are called in charts and tables; an unknown one keeps its own name. */
import type { RunConfig } from "../../results/record.ts";

const METHODS: Readonly<Record<string, string>> = {
  accumulation: "accumulation",
  checkpoint: "checkpointing",
  fp16: "fp16",
  flash: "flash attention",
  lora: "LoRA",
  "qlora-nf4": "QLoRA NF4",
  "qlora-int8": "QLoRA int8",
};

const OPTIMIZERS: Readonly<Record<string, string>> = {
  adamw: "AdamW",
  adafactor: "Adafactor",
  adamw8bit: "8-bit AdamW",
  sgd: "SGD",
};

export function methodName(id: string): string {
  return METHODS[id] ?? id;
}

export function optimizerName(id: string): string {
  return OPTIMIZERS[id] ?? id;
}

/**
 * Whether 8-bit AdamW trained embeddings with 8-bit moments. Records from before there was a choice do not
 * say, and did. Adapters leave embeddings as they are.
 */
export function quantizesEmbeddings({ methods, optimizer, optimizerOptions }: RunConfig): boolean {
  return optimizer === "adamw8bit" && optimizerOptions.quantizeEmbeddings !== false &&
    !methods.some((method) => /lora/.test(method));
}

/** `accumulation + fp16 + Adafactor`: what a configuration switches on, however its cell is labelled. */
export function combinationName(config: RunConfig): string {
  const parts = [
    ...config.gradientAccumulationSteps > 1 ? ["accumulation"] : [],
    ...["checkpoint", "fp16", "flash"].filter((id) => config.methods.includes(id)),
    ...config.methods.filter((id) => !["checkpoint", "fp16", "flash"].includes(id)),
  ].map(methodName);
  // Named where it was asked for: records that have no choice have one form alone.
  const isQuantized = quantizesEmbeddings(config) && config.optimizerOptions.quantizeEmbeddings === true;
  const form = isQuantized ? " with quantized embeddings" : "";
  if (config.optimizer !== "adamw") parts.push(optimizerName(config.optimizer) + form);
  return parts.length > 0 ? parts.join(" + ") : "nothing switched on";
}
