import { parseHubReference } from "../formats/hub/reference.ts";
import { inputExists } from "../formats/input_file.ts";
import type { AdapterConfig } from "../formats/adapter_config.ts";
import { loraTensorName, openAdapter, savedTensorName, writeAdapter } from "../formats/peft.ts";
import { isTargetModule, moduleRankAndAlpha, type TargetConfig } from "../formats/peft_modules.ts";
import type { TensorToWrite } from "../formats/safetensors.ts";
import { InputError } from "../input_error.ts";
import type { Objective } from "../model/family.ts";
import type { ParameterSpec } from "../model/parameters.ts";
import { linearModules, loraParameterNames, loraScaleOf, type LoraSettings } from "../passes/lora.ts";
import type { Parameter } from "../passes/step.ts";
import type { Session } from "../runtime/session.ts";
import { readParameter, tensorOf, writeParameter } from "./weights.ts";

/** LoRA settings that rebuild the adapter in a folder, and what its `adapter_config.json` says. */
export interface FolderAdapter {
  folder: string;
  /** Exactly the folder's modules, with the rank and the alpha of each. */
  settings: LoraSettings;
  config: AdapterConfig;
}

/**
 * Reads the settings of an adapter folder for a model with these parameters; its tensors stay where they are.
 *
 * @throws {InputError} where it is no adapter that can be read, one for another model's matrices or with more
 * than adapters of matrices, or where configuration and tensors disagree on which modules it adapts: peft
 * would leave some out, or start some anew.
 */
export async function readFolderAdapter(
  folder: string,
  parameters: readonly ParameterSpec[],
): Promise<FolderAdapter> {
  const { config, modules, saved, tensors } = await openAdapter(folder);
  tensors.close();
  const refuse = (problem: string) => new InputError(`Cannot use adapter ${tensors.path}: ${problem}`);
  const whole = [...saved.keys()].find((name) =>
    !parameters.some((spec) => spec.name === name && spec.trainedWithAdapters)
  );
  if (whole !== undefined) {
    throw refuse(`it holds ${whole} whole (modules_to_save), which is supported for a new classifier alone`);
  }
  const matrices = linearModules(parameters);
  const lacking = [...modules.keys()].find((path) => !matrices.includes(path));
  if (lacking !== undefined) {
    throw refuse(
      `it adapts ${lacking} (target_modules): expected matrices of the model's layers; the model has no such ` +
        "matrix, or it is a head or an embedding, whose adapters are not supported",
    );
  }
  if (config.targetModules.length > 0) {
    const differing = matrices.find((path) => modules.has(path) !== isTargetModule(path, config));
    if (differing !== undefined) {
      const [here, there] = modules.has(differing) ? ["an", "none"] : ["no", "one"];
      throw refuse(
        `it has ${here} adapter of ${differing}, and adapter_config.json says ${there}: ${
          targetsText(config)
        }`,
      );
    }
  }
  return {
    folder,
    config,
    settings: {
      rank: config.rank,
      alpha: config.alpha,
      dropout: config.dropout,
      targetModules: [...modules.keys()],
      rankStabilized: config.useRslora,
      modules: new Map([...modules.keys()].map((path) => [path, moduleRankAndAlpha(config, path)])),
    },
  };
}

/** What says which modules an adapter has, as `adapter_config.json` has it. */
function targetsText(config: TargetConfig): string {
  const { targetModules, excludeModules, layersToTransform, layersPattern } = config;
  const keys = {
    target_modules: targetModules,
    exclude_modules: excludeModules,
    layers_to_transform: layersToTransform,
    layers_pattern: layersPattern,
  };
  return Object.entries(keys).filter(([, value]) => value !== null)
    .map(([key, value]) => `${key} ${JSON.stringify(value)}`).join(", ");
}

/**
 * What `adapter_config.json` and the command line call settings of LoRA; the modules are compared as such.
 */
const CONFIG_KEYS = {
  rank: ["r", "--lora-rank"],
  alpha: ["lora_alpha", "--lora-alpha"],
  dropout: ["lora_dropout", "--lora-dropout"],
  rankStabilized: ["use_rslora", "--lora-rank-stabilized"],
} as const;

/**
 * Settings of a run that goes on with an adapter come from its folder.
 *
 * @param given What was asked for beside it.
 * @param targets Modules that were asked for, where they were.
 * @throws {InputError} naming the setting that the folder contradicts.
 */
export function requireSettingsOf(
  { folder, config, settings }: FolderAdapter,
  given: Readonly<Record<string, unknown>>,
  targets?: ReadonlySet<string>,
): void {
  const refuse = (what: string, there: string) =>
    new InputError(
      `Cannot go on with an adapter by ${what}: ${folder}/adapter_config.json has ${there}; ` +
        "leave the setting out",
    );
  for (const [key, [configKey, flag]] of Object.entries(CONFIG_KEYS)) {
    const own = settings[key as keyof typeof CONFIG_KEYS];
    if (given[key] === undefined || given[key] === own) continue;
    throw refuse(`${flag} ${given[key]}`, `${configKey} ${own}`);
  }
  const own = settings.modules!;
  if (targets && (targets.size !== own.size || [...targets].some((path) => !own.has(path)))) {
    throw refuse(`--lora-targets ${[given.targets].flat().join(",")}`, targetsText(config));
  }
}

/**
 * Uploads the adapter in a PEFT folder over the one in the session; the base
 * stays as it is, so adapters can be switched.
 *
 * @returns The names of what was uploaded.
 * @throws {InputError} when it was made for other modules or shapes than the session's adapter.
 */
export async function loadAdapter(
  session: Session,
  parameters: readonly Parameter[],
  folder: string,
): Promise<Set<string>> {
  const adapter = await openAdapter(folder);
  try {
    const wanted = new Map(
      parameters.filter(({ added }) => added).map((parameter) => [parameter.spec.name, parameter]),
    );
    const heads = new Map(trainedHeads(parameters).map((parameter) => [parameter.spec.name, parameter]));
    const found = [...adapter.modules].flatMap(([module, { a, b }]) => {
      const names = loraParameterNames(module);
      return [{ info: a, name: names.a }, { info: b, name: names.b }];
    });
    for (const [name, info] of adapter.saved) found.push({ info, name });
    for (const { info, name } of found) {
      const parameter = wanted.get(name) ?? heads.get(name);
      if (!parameter) {
        throw new InputError(
          `${info.path}: tensor ${info.name} has no place: the model has no adapter there`,
        );
      }
      if (info.shape.join() !== parameter.spec.shape.join()) {
        throw new InputError(
          `${info.path}: tensor ${info.name} has the shape [${info.shape}], expected [${parameter.spec.shape}]`,
        );
      }
    }
    const missing = [...wanted.keys()].find((name) => !found.some((tensor) => tensor.name === name));
    if (missing) throw new InputError(`${adapter.tensors.path}: it has no tensor for ${missing}`);
    for (const { info, name } of found) {
      for await (const { firstElement, values } of adapter.tensors.chunks(info.name)) {
        writeParameter(session, (wanted.get(name) ?? heads.get(name))!, firstElement, values);
      }
    }
    return new Set(found.map(({ name }) => name));
  } finally {
    adapter.tensors.close();
  }
}

/** Parameters of the base that are trained and saved with an adapter. */
function trainedHeads(parameters: readonly Parameter[]): Parameter[] {
  return parameters.filter(({ added, spec }) => !added && spec.trainedWithAdapters);
}

/**
 * What `modules_to_save` calls a head. peft takes every module whose path ends so: the `dense` of a pooler
 * inside the base model is `pooler.dense`, as others are called `dense` too; a head beside it is called by
 * its first name, whatever lies in it (`classifier.out_proj`).
 */
function savedModule({ name }: ParameterSpec): string {
  const path = name.split(".").slice(0, -1);
  return path.length > 2 ? path.slice(1).join(".") : path[0];
}

/** What peft calls the tasks that models are trained for; it has no name for hidden tokens. */
const TASK_TYPES: Readonly<Record<Objective, string | null>> = {
  "next-token": "CAUSAL_LM",
  "masked-token": null,
  "sequence-label": "SEQ_CLS",
};

/**
 * Writes the session's adapter as a folder that peft loads.
 *
 * @param baseModel What `base_model_name_or_path` names.
 * @param from What the folder says that the adapter came from, which the new one then says, too.
 */
export async function saveAdapter(
  folder: string,
  session: Session,
  parameters: readonly Parameter[],
  settings: LoraSettings,
  { baseModel, objective, from }: { baseModel: string; objective: Objective; from?: AdapterConfig },
): Promise<void> {
  const adapters = parameters.filter(({ added }) => added);
  const tensors = adapters.map(({ spec, master }): TensorToWrite => {
    const [, module, matrix] = spec.name.match(/^(.*)\.lora_([AB])\.weight$/)!;
    return tensorOf(session, loraTensorName(module, matrix as "A" | "B"), master);
  });
  const heads = trainedHeads(parameters);
  const targets = parameters.filter(({ spec }) => spec.linear && adapterOf(parameters, spec.name));
  const reference = await inputExists(baseModel) ? null : parseHubReference(baseModel);
  await writeAdapter(folder, {
    rank: settings.rank,
    alpha: settings.alpha,
    dropout: settings.dropout,
    targetModules: from?.targetModules.length ? from.targetModules : settings.targetModules,
    excludeModules: from?.excludeModules ?? null,
    layersToTransform: from?.layersToTransform ?? null,
    layersPattern: from?.layersPattern ?? null,
    rankPattern: from?.rankPattern ?? {},
    alphaPattern: from?.alphaPattern ?? {},
    fanInFanOut: targets.some(({ spec }) => spec.linear === "in_out"),
    useRslora: settings.rankStabilized,
    initLoraWeights: settings.init === "normal" ? "gaussian" : from?.initLoraWeights ?? true,
    baseModel: reference?.repository ?? baseModel,
    revision: reference?.revision ?? null,
    taskType: TASK_TYPES[objective],
    modulesToSave: [...new Set(heads.map(({ spec }) => savedModule(spec)))],
  }, [...tensors, ...heads.map(({ spec, master }) => tensorOf(session, savedTensorName(spec.name), master))]);
}

/**
 * The base model's tensors with adapters merged in: W + loraScale · B·A. Read from the device one at a time,
 * so the base on the device stays unmerged.
 */
export function mergedTensors(
  session: Session,
  parameters: readonly Parameter[],
  settings: LoraSettings,
): TensorToWrite[] {
  return parameters.filter(({ added }) => !added).map((parameter): TensorToWrite => {
    const { spec } = parameter;
    const plain: TensorToWrite = {
      name: spec.name,
      dtype: "F32",
      shape: spec.shape,
      data: () => readParameter(session, parameter),
    };
    const adapter = adapterOf(parameters, spec.name);
    if (!adapter) return plain;
    return {
      ...plain,
      data: async () => {
        const weight = await readParameter(session, parameter);
        const a = await readParameter(session, adapter.a);
        const b = await readParameter(session, adapter.b);
        const [cIn, cOut] = spec.linear === "in_out" ? spec.shape : spec.shape.toReversed();
        addProduct(weight, a, b, {
          cIn,
          cOut,
          scale: loraScaleOf(settings, spec.name.replace(/\.weight$/, "")),
          transposed: spec.linear === "in_out",
        });
        return weight;
      },
    };
  });
}

/** weight += scale · B·A, in f64 by element; `transposed`: the weight is stored [in, out]. */
function addProduct(
  weight: Float32Array,
  a: Float32Array,
  b: Float32Array,
  { cIn, cOut, scale, transposed }: { cIn: number; cOut: number; scale: number; transposed: boolean },
): void {
  const rank = a.length / cIn;
  const row = new Float64Array(cIn);
  for (let o = 0; o < cOut; o++) {
    row.fill(0);
    for (let r = 0; r < rank; r++) {
      const factor = scale * b[o * rank + r];
      for (let i = 0; i < cIn; i++) row[i] += factor * a[r * cIn + i];
    }
    for (let i = 0; i < cIn; i++) weight[transposed ? i * cOut + o : o * cIn + i] += row[i];
  }
}

function adapterOf(
  parameters: readonly Parameter[],
  weight: string,
): { a: Parameter; b: Parameter } | undefined {
  const names = loraParameterNames(weight.replace(/\.weight$/, ""));
  const a = parameters.find(({ spec }) => spec.name === names.a);
  const b = parameters.find(({ spec }) => spec.name === names.b);
  return a && b && { a, b };
}
