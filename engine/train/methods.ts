import { InputError } from "../input_error.ts";
import type { Model } from "../model/config.ts";
import type { StepMethods } from "../passes/pipeline.ts";
import { modulesNamed } from "../passes/lora.ts";
import { OPTIMIZERS } from "../passes/optimizer.ts";
import { type FolderAdapter, readFolderAdapter, requireSettingsOf } from "./adapters.ts";
import { DEFAULT_LOSS_SCALE, type LossScaleSettings } from "./loss_scale.ts";
import type { TrainOptions } from "./options.ts";

/** Settings of a method, as they are given. */
type Given = Readonly<Record<string, unknown>>;

/** What a method is made for. */
interface Target {
  model: Model;
  /** The adapter that training goes on with: the settings of LoRA are its own. */
  adapter?: Pick<FolderAdapter, "settings">;
}

/**
 * What each memory method asks of the passes, by the name the command line gives it. What methods are called
 * and which settings they take stands in `results/methods.ts`; what is not given is as it says there.
 */
const METHODS: Readonly<Record<string, (given: Given, target: Target) => StepMethods>> = {
  checkpoint: ({ blocksPerCheckpoint = 1, selective }) => ({
    checkpoint: { every: Number(blocksPerCheckpoint), selective: selective === true },
  }),
  fp16: () => ({ fp16: true }),
  flash: () => ({ flash: true }),
  lora: (given, target) => ({ lora: loraSettings(given, target) }),
  "qlora-nf4": (given, target) => quantizedLora("nf4", given, target),
  "qlora-int8": (given, target) => quantizedLora("int8", given, target),
  "whole-logits": () => ({ wholeLogits: true }),
  "optimizer-in-backward": () => ({ optimizerInBackward: true }),
};

/** Memory methods that train today, by the names the command line gives them. */
export const IMPLEMENTED_METHODS: readonly string[] = Object.keys(METHODS);

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
  const asked = methods.map((id) => METHODS[id]?.(methodOptions[id] ?? {}, { model, adapter }));
  return Object.assign({}, ...asked);
}

function loraSettings(given: Given, { model, adapter }: Target): StepMethods["lora"] {
  const { rank = 8, alpha = 16, dropout = 0, targets = "query-value", rankStabilized, plusRatio = 1, init } =
    given;
  return {
    ...adapter?.settings ?? {
      rank: Number(rank),
      alpha: Number(alpha),
      dropout: Number(dropout),
      targetModules: loraTargets(targets, model),
      rankStabilized: rankStabilized === true,
    },
    plusRatio: Number(plusRatio),
    init: init === "normal" ? "normal" : "uniform",
  };
}

function quantizedLora(format: "nf4" | "int8", given: Given, target: Target): StepMethods {
  const { quantBlockSize = 64, doubleQuantization } = given;
  return {
    quantize: {
      format,
      quantBlockSize: Number(quantBlockSize),
      doubleQuantization: doubleQuantization !== false,
    },
    lora: loraSettings(given, target),
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
