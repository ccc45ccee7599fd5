import { InputError } from "../input_error.ts";
import type { Model } from "../model/config.ts";
import type { StepMethods } from "../passes/pipeline.ts";
import { modulesNamed } from "../passes/lora.ts";
import { OPTIMIZERS } from "../passes/optimizer.ts";
import { type FolderAdapter, readFolderAdapter, requireSettingsOf } from "./adapters.ts";
import { DEFAULT_LOSS_SCALE, type LossScaleSettings } from "./loss_scale.ts";
import type { TrainOptions } from "./options.ts";

/** Memory methods that train today, by the names the command line gives them. */
export const IMPLEMENTED_METHODS: readonly string[] = [
  "checkpoint",
  "fp16",
  "flash",
  "lora",
  "qlora-nf4",
  "qlora-int8",
  "whole-logits",
  "optimizer-in-backward",
];

/** Optimizers that train today. */
export const IMPLEMENTED_OPTIMIZERS: readonly string[] = Object.keys(OPTIMIZERS);

/**
 * The passes that `methods` ask for, with `methodOptions` read into their settings.
 *
 * @param adapter The one that training goes on with: the settings of LoRA are its own.
 */
export function stepMethods(
  { methods, methodOptions }: Pick<TrainOptions, "methods" | "methodOptions">,
  model: Model,
  adapter?: Pick<FolderAdapter, "settings">,
): StepMethods {
  const settings = (method: string) => methodOptions[method] ?? {};
  const has = (method: string) => methods.includes(method);
  const adapters = methods.find(isLora);
  const lora = settings(adapters ?? "lora");
  return {
    ...has("checkpoint") && {
      checkpoint: {
        every: Number(settings("checkpoint").blocksPerCheckpoint ?? 1),
        selective: settings("checkpoint").selective === true,
      },
    },
    ...(has("qlora-nf4") || has("qlora-int8")) && {
      quantize: {
        format: has("qlora-nf4") ? "nf4" as const : "int8" as const,
        quantBlockSize: Number(lora.quantBlockSize ?? 64),
        doubleQuantization: lora.doubleQuantization !== false,
      },
    },
    ...has("flash") && { flash: true },
    ...has("fp16") && { fp16: true },
    ...has("whole-logits") && { wholeLogits: true },
    ...has("optimizer-in-backward") && { optimizerInBackward: true },
    ...adapters && {
      lora: {
        ...adapter?.settings ?? {
          rank: Number(lora.rank ?? 8),
          alpha: Number(lora.alpha ?? 16),
          dropout: Number(lora.dropout ?? 0),
          targetModules: loraTargets(lora.targets ?? "query-value", model),
          rankStabilized: lora.rankStabilized === true,
        },
        plusRatio: Number(lora.plusRatio ?? 1),
      },
    },
  };
}

/** Whether a method trains adapters over a frozen base. */
export function isLora(method: string): boolean {
  return ["lora", "qlora-nf4", "qlora-int8"].includes(method);
}

/**
 * The adapter that a run goes on with; its settings count.
 *
 * @throws {InputError} where no method trains adapters, or settings of the one
 * that does contradict the folder's.
 */
export async function adapterToGoOnWith(
  folder: string,
  { methods, methodOptions }: Pick<TrainOptions, "methods" | "methodOptions">,
  model: Model,
): Promise<FolderAdapter> {
  const method = methods.find(isLora);
  if (method === undefined) {
    throw new InputError(
      `Cannot start from adapter ${folder}: methods are ${methods.join(", ") || "none"}, expected a LoRA one`,
    );
  }
  const adapter = await readFolderAdapter(folder, model.parameters);
  const given = methodOptions[method] ?? {};
  const targets = given.targets === undefined ? undefined : loraTargets(given.targets, model);
  requireSettingsOf(adapter, given, targets && modulesNamed(model.parameters, targets));
  return adapter;
}

/** @param targets A group of the model's matrices by name, or the module names themselves. */
function loraTargets(targets: unknown, { adapterTargets }: Model): readonly string[] {
  if (Array.isArray(targets)) return targets.map(String);
  const group = String(targets);
  if (Object.hasOwn(adapterTargets, group)) return adapterTargets[group as keyof typeof adapterTargets];
  throw new InputError(
    `Unknown LoRA targets ${JSON.stringify(targets)}: expected ${
      Object.keys(adapterTargets).join(", ")
    } or module names`,
  );
}

/** Settings of loss scaling, or null where gradients are f32 all the way. */
export function lossScaleSettings(
  { methods, methodOptions }: Pick<TrainOptions, "methods" | "methodOptions">,
): LossScaleSettings | null {
  if (!methods.includes("fp16")) return null;
  const { lossScale, growthInterval } = methodOptions.fp16 ?? {};
  return {
    initialScale: Number(lossScale ?? DEFAULT_LOSS_SCALE.initialScale),
    growthInterval: Number(growthInterval ?? DEFAULT_LOSS_SCALE.growthInterval),
  };
}

/**
 * Settings that a method cannot work with, beyond what two methods exclude of each other.
 *
 * @throws {InputError} with the reason.
 */
export function checkMethodSettings(
  { methods, methodOptions, optimizer, clip, gradientAccumulationSteps }: Pick<
    TrainOptions,
    "methods" | "methodOptions" | "optimizer" | "clip" | "gradientAccumulationSteps"
  >,
): void {
  const plus = Object.values(methodOptions).find(({ plusRatio }) =>
    plusRatio !== undefined && plusRatio !== 1
  );
  if (plus && !OPTIMIZERS[optimizer]?.hasRateFactors) {
    const able = Object.keys(OPTIMIZERS).filter((name) => OPTIMIZERS[name].hasRateFactors);
    throw new InputError(
      `Cannot combine plusRatio ${plus.plusRatio} (LoRA+) with ${optimizer}: ` +
        `only ${able.join(", ")} has a rate for each parameter`,
    );
  }
  if (!methods.includes("optimizer-in-backward")) return;
  const refuse = (what: string, why: string) =>
    new InputError(`Cannot combine optimizer-in-backward with ${what}: ${why}`);
  if (clip > 0) {
    throw refuse(
      `clip ${clip}`,
      "the norm of all gradients is not known when the first update is due; use clip 0",
    );
  }
  if (gradientAccumulationSteps > 1) {
    throw refuse("accumulation", "gradients of the first micro-step are gone when the second one needs them");
  }
  if (methods.includes("fp16")) {
    throw refuse("fp16", "an overflow must skip the whole update, parts of which have been applied by then");
  }
}

/** @throws {InputError} for methods or an optimizer that do not train, or not with these settings. */
export function requireImplemented(options: TrainOptions): void {
  const { methods, optimizer } = options;
  checkMethodSettings(options);
  const unknown = methods.find((method) => !IMPLEMENTED_METHODS.includes(method));
  if (unknown !== undefined) {
    throw new InputError(
      `Unknown method ${unknown}: expected ${
        IMPLEMENTED_METHODS.join(", ") || "none, there are no methods yet"
      }`,
    );
  }
  if (!Object.hasOwn(OPTIMIZERS, optimizer)) {
    throw new InputError(`Unknown optimizer ${optimizer}: expected ${IMPLEMENTED_OPTIMIZERS.join(", ")}`);
  }
}
