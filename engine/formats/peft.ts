import { disk, join } from "../host.ts";
import { InputError } from "../input_error.ts";
import type { AdapterConfig } from "./adapter_config.ts";
import { readJsonInput } from "./input_file.ts";
import { describeJson, isJsonObject } from "./json.ts";
import { writeTextAtomically } from "./output_file.ts";
import { isAllLinear, layerOfPath, moduleRankAndAlpha, patternOfPath, wholePath } from "./peft_modules.ts";
import {
  openSafetensors,
  type TensorInfo,
  type TensorSource,
  type TensorToWrite,
  writeSafetensors,
} from "./safetensors.ts";

/** An adapter folder that has been opened; `tensors` is to be closed. */
export interface Adapter {
  readonly config: AdapterConfig;
  /**
   * The two matrices of every adapted module, by the module's path in the base model, such as
   * `model.layers.0.mlp.up_proj`.
   */
  readonly modules: ReadonlyMap<string, LoraPair>;
  /**
   * Parameters of modules that are stored whole, by their names in the base
   * model, such as `classifier.weight`.
   */
  readonly saved: ReadonlyMap<string, TensorInfo>;
  readonly tensors: TensorSource;
}

/** The low-rank weights of one module. */
export interface LoraPair {
  /** [R, in]. */
  readonly a: TensorInfo;
  /** [out, R]. */
  readonly b: TensorInfo;
}

const CONFIG_NAME = "adapter_config.json";
const TENSORS_NAME = "adapter_model.safetensors";

/** The factor of B·A in an adapted weight; rsLoRA's is arXiv:2312.03732. */
export function loraScale(
  { rank, alpha, useRslora }: Pick<AdapterConfig, "rank" | "alpha" | "useRslora">,
): number {
  return alpha / (useRslora ? Math.sqrt(rank) : rank);
}

/**
 * Name in an adapter file of one matrix of the module at `modulePath` in the base model:
 * `transformer.h.0.attn.c_attn` → `base_model.model.transformer.h.0.attn.c_attn.lora_A.weight`.
 */
export function loraTensorName(modulePath: string, matrix: "A" | "B"): string {
  return `base_model.model.${modulePath}.lora_${matrix}.weight`;
}

/** Name in an adapter file of a parameter that is stored whole. */
export function savedTensorName(parameter: string): string {
  return `base_model.model.${parameter}`;
}

/**
 * Opens a folder that Hugging Face's PEFT or `writeAdapter` wrote.
 *
 * Source: huggingface/peft, src/peft/utils/save_and_load.py.
 *
 * @throws InputError when a file is missing or broken, when the adapter is not plain LoRA, and when the
 * tensors are not pairs of matrices of the configured rank.
 */
export async function openAdapter(folder: string): Promise<Adapter> {
  const path = join(folder, CONFIG_NAME);
  const config = parseAdapterConfig(await readJsonInput(path), path);
  const tensors = await openSafetensors(join(folder, TENSORS_NAME));
  try {
    return { config, ...placeTensors(tensors, config), tensors };
  } catch (error) {
    tensors.close();
    throw error;
  }
}

/**
 * Writes an adapter folder that PEFT can load; `tensors` are named by
 * `loraTensorName`. The folder is made if need be.
 */
export async function writeAdapter(
  folder: string,
  config: AdapterConfig,
  tensors: readonly TensorToWrite[],
): Promise<void> {
  await disk.mkdir(folder, { recursive: true });
  await writeSafetensors(join(folder, TENSORS_NAME), tensors, { format: "pt" });
  // Last, so that a folder with a configuration has its weights too.
  await writeTextAtomically(
    join(folder, CONFIG_NAME),
    JSON.stringify(encodeAdapterConfig(config), null, 2) + "\n",
  );
}

function encodeAdapterConfig(config: AdapterConfig): Record<string, unknown> {
  return {
    peft_type: "LORA",
    task_type: config.taskType,
    base_model_name_or_path: config.baseModel,
    revision: config.revision,
    inference_mode: true,
    r: config.rank,
    lora_alpha: config.alpha,
    lora_dropout: config.dropout,
    target_modules: config.targetModules,
    bias: "none",
    fan_in_fan_out: config.fanInFanOut,
    init_lora_weights: config.initLoraWeights,
    use_rslora: config.useRslora,
    use_dora: false,
    modules_to_save: config.modulesToSave.length > 0 ? config.modulesToSave : null,
    rank_pattern: config.rankPattern,
    alpha_pattern: config.alphaPattern,
    exclude_modules: config.excludeModules,
    layers_to_transform: config.layersToTransform,
    layers_pattern: config.layersPattern,
  };
}

/**
 * Keys that, unless they are absent, null, false or empty, make an adapter compute something other than W +
 * s·B·A on the modules that have tensors.
 */
const UNSUPPORTED_KEYS = [
  "use_dora",
  "use_qalora",
  "use_bdlora",
  "kasa_config",
  "monteclora_config",
  "velora_config",
  "ensure_weight_tying",
  "lora_bias",
  "layer_replication",
  "trainable_token_indices",
  "target_parameters",
  "alora_invocation_tokens",
  "arrow_config",
] as const;

/**
 * Initialisations that leave the base weights alone. PEFT's others (PiSSA, OLoRA,
 * ...) change them when it loads.
 */
const INITIALISATIONS: readonly unknown[] = [true, false, "gaussian", "orthogonal", "eva"];

/**
 * Reads the object of an `adapter_config.json`. Keys that are not known are ignored.
 *
 * @param path The file that errors name.
 * @throws InputError when a value has the wrong type, or stands for something
 * other than plain LoRA or rsLoRA.
 */
export function parseAdapterConfig(json: Readonly<Record<string, unknown>>, path: string): AdapterConfig {
  const refuse = (key: string, expected: string) =>
    new InputError(`Cannot read ${path}: ${key} is ${describeJson(json[key])}, expected ${expected}`);
  if (json.peft_type !== "LORA") throw refuse("peft_type", '"LORA"');
  for (const key of UNSUPPORTED_KEYS) {
    if (!isEmpty(json[key])) throw refuse(key, "it to be off: this kind of adapter is not supported");
  }
  const field = <T>(key: string, fallback: T, isValid: (value: unknown) => boolean, expected: string): T => {
    const value = json[key] ?? fallback;
    if (!isValid(value)) throw refuse(key, expected);
    return value as T;
  };
  const isBoolean = (value: unknown) => typeof value === "boolean";
  const isTextOrNull = (value: unknown) => value === null || typeof value === "string";
  field("bias", "none", (value) => value === "none", '"none": trained biases are not supported');
  for (const key of ["layers_to_transform", "layers_pattern"]) {
    if (typeof json.target_modules === "string" && !isEmpty(json[key])) {
      throw refuse(key, "nothing beside a target_modules that is an expression");
    }
  }
  if (!isEmpty(json.layers_pattern) && isEmpty(json.layers_to_transform)) {
    throw refuse("layers_pattern", "nothing without layers_to_transform");
  }
  return {
    // Absent keys have PEFT's defaults.
    rank: field("r", 8, isRank, "a whole number above 0"),
    alpha: field("lora_alpha", 8, (value) => Number.isFinite(value), "a number"),
    dropout: field("lora_dropout", 0, (value) => isFraction(value), "a number from 0 to below 1"),
    targetModules: field<string[] | string>(
      "target_modules",
      [],
      isModules,
      MODULES,
    ),
    excludeModules: field<string[] | string | null>(
      "exclude_modules",
      null,
      (value) => value === null || isModules(value),
      MODULES,
    ),
    layersToTransform: field<number[] | number | null>(
      "layers_to_transform",
      null,
      (value) => value === null || [value].flat().every((layer) => Number.isSafeInteger(layer)),
      "a number of a layer or a list of them",
    ),
    layersPattern: field<string[] | string | null>(
      "layers_pattern",
      null,
      (value) => value === null || isPatternList(value),
      "a name or a list of names",
    ),
    rankPattern: field<Record<string, number>>(
      "rank_pattern",
      {},
      (value) => isPatterns(value, isRank),
      "whole numbers above 0 by regular expressions",
    ),
    alphaPattern: field<Record<string, number>>(
      "alpha_pattern",
      {},
      (value) => isPatterns(value, Number.isFinite),
      "numbers by regular expressions",
    ),
    fanInFanOut: field("fan_in_fan_out", false, isBoolean, "true or false"),
    useRslora: field("use_rslora", false, isBoolean, "true or false"),
    initLoraWeights: field<boolean | string>(
      "init_lora_weights",
      true,
      (value) => INITIALISATIONS.includes(value),
      `one of ${INITIALISATIONS.map(describeJson).join(", ")}: others change the base weights`,
    ),
    modulesToSave: field<string[]>(
      "modules_to_save",
      [],
      (value) => Array.isArray(value) && isNames(value),
      "a list of names",
    ),
    baseModel: field<string | null>("base_model_name_or_path", null, isTextOrNull, "a text or null"),
    revision: field<string | null>("revision", null, isTextOrNull, "a text or null"),
    taskType: field<string | null>("task_type", null, isTextOrNull, "a text or null"),
  };
}

function isEmpty(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  if (isJsonObject(value)) return Object.keys(value).length === 0;
  return value === undefined || value === null || value === false || value === "";
}

function isRank(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

/** Whether a value is an object whose keys are regular expressions for paths. */
function isPatterns(value: unknown, isValue: (value: unknown) => boolean): boolean {
  return isJsonObject(value) &&
    Object.entries(value).every(([pattern, item]) => isPattern(patternOfPath, pattern) && isValue(item));
}

function isPattern(compile: (pattern: string) => RegExp, pattern: string): boolean {
  try {
    compile(pattern);
    return true;
  } catch {
    return false;
  }
}

function isFraction(value: unknown): boolean {
  return typeof value === "number" && value >= 0 && value < 1;
}

function isPatternList(value: unknown): boolean {
  return isNames(value) && [value].flat().every((name) => isPattern(layerOfPath, name as string));
}

const MODULES = "a list of names or a regular expression that JavaScript has, too";

function isModules(value: unknown): boolean {
  return isNames(value) &&
    (typeof value !== "string" || isAllLinear(value) || isPattern(wholePath, value));
}

function isNames(value: unknown): boolean {
  return typeof value === "string" ||
    (Array.isArray(value) && value.every((name) => typeof name === "string"));
}

/** Finds the tensors of every module, and refuses any other: it would be left out of the model silently. */
function placeTensors(
  tensors: TensorSource,
  config: AdapterConfig,
): Pick<Adapter, "modules" | "saved"> {
  const refuse = (problem: string) => new InputError(`Cannot read ${tensors.path}: ${problem}`);
  const paths = new Set<string>();
  const saved = new Map<string, TensorInfo>();
  for (const name of tensors.names()) {
    const modulePath = /^base_model\.model\.(.+)\.lora_[AB]\.weight$/.exec(name)?.[1];
    const [, parameter, owner] = /^base_model\.model\.((.+)\.[^.]+)$/.exec(name) ?? [];
    if (modulePath !== undefined) paths.add(modulePath);
    else if (config.modulesToSave.some((module) => `.${owner}.`.includes(`.${module}.`))) {
      saved.set(parameter, tensors.info(name));
    } else if (/\.lora_embedding_[AB]$/.test(name)) {
      throw refuse(`tensor "${name}" adapts an embedding (target_modules), which is not supported`);
    } else throw refuse(`tensor "${name}" is neither a lora_A nor a lora_B weight`);
  }
  if (paths.size === 0) throw refuse("it has no tensors of adapters");
  const modules = new Map<string, LoraPair>();
  for (const modulePath of paths) {
    const [a, b] = (["A", "B"] as const).map((matrix) => tensors.info(loraTensorName(modulePath, matrix)));
    const { rank } = moduleRankAndAlpha(config, modulePath);
    if (a.shape.length !== 2 || a.shape[0] !== rank) {
      throw refuse(`tensor "${a.name}" has shape [${a.shape}], expected [${rank}, in] by r and rank_pattern`);
    }
    if (b.shape.length !== 2 || b.shape[1] !== rank) {
      throw refuse(
        `tensor "${b.name}" has shape [${b.shape}], expected [out, ${rank}] by r and rank_pattern`,
      );
    }
    modules.set(modulePath, { a, b });
  }
  return { modules, saved };
}
