/** What methods and optimizers are called in charts and tables; an unknown one keeps its own name. */
import type { RunConfig } from "../results/record.ts";

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

/** `accumulation + checkpointing + fp16 + Adafactor`: what a configuration switches on, however its cell is labelled. */
export function combinationName(config: RunConfig): string {
  const parts = [
    ...config.gradientAccumulationSteps > 1 ? ["accumulation"] : [],
    ...["checkpoint", "fp16", "flash"].filter((id) => config.methods.includes(id)),
    ...config.methods.filter((id) => !["checkpoint", "fp16", "flash"].includes(id)),
  ].map(methodName);
  if (config.optimizer !== "adamw") parts.push(optimizerName(config.optimizer));
  return parts.length > 0 ? parts.join(" + ") : "nothing switched on";
}
