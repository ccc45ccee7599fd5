import { Type } from "typebox";
import { InputError } from "../engine/input_error.ts";
import { defaultTokenizer } from "../mod.ts";
import type { MethodSettings } from "../results/methods.ts";
import {
  flagName,
  givenSettings,
  RUN_SETTINGS,
  type RunConfig,
  SETTINGS,
  type Settings,
  type SettingTable,
} from "../results/settings.ts";
import { effectiveBatchSize, tokensPerStep } from "../results/tokens_per_step.ts";
import { didYouMean } from "./did_you_mean.ts";
import { checkMethods, checkMethodSettings, methodById, optimizerById } from "./methods.ts";
import { checkValue } from "./setting_values.ts";

/** How messages call a field: as its flag on the command line, by its name in a suite. */
export type Naming = (field: string, table?: SettingTable) => string;
export const asField: Naming = (field) => field;
export const asFlag: Naming = (field, table = RUN_SETTINGS) => {
  const setting = givenSettings(table)[field];
  const flag = setting && flagName(setting);
  return flag ? `--${flag}` : field;
};

/**
 * A complete configuration: defaults filled in, batch sizes, steps and learning rate worked out, every value
 * checked.
 *
 * @param name How messages call fields.
 * @throws {InputError} naming the field, the value given and the value expected.
 */
export function resolveSettings(
  settings: Settings,
  name: Naming = asField,
  table: SettingTable = RUN_SETTINGS,
): RunConfig {
  checkValues(settings, name, table);
  const methods = [...settings.methods ?? []].sort();
  const optimizer = optimizerOf(settings);
  checkMethods(methods, optimizer);
  const model = required(settings.model, "model", name);
  const config = {
    ...withDefaults(settings, table),
    model,
    startFrom: resolvedStart(settings.startFrom),
    data: required(settings.data, "data", name),
    tokenizer: settings.tokenizer ?? defaultTokenizer(model),
    ...resolveBatch(settings, name),
    methods,
    methodOptions: resolveMethodOptions(methods, settings.methodOptions ?? {}),
    optimizer,
    optimizerOptions: resolveOptions(
      `optimizer ${optimizer}`,
      "optimizerOptions",
      optimizerById(optimizer).settings,
      settings.optimizerOptions ?? {},
    ),
  } as RunConfig;
  checkMethodSettings(methods, config);
  return {
    ...config,
    learningRate: resolveLearningRate(settings, effectiveBatchSize(config), name),
    warmupSteps: resolveWarmup(settings, tokensPerStep(config), name),
    steps: resolveSteps(settings, tokensPerStep(config), name),
  };
}

/** The optimizer of settings, which is AdamW where they name none. */
export function optimizerOf({ optimizer = SETTINGS.optimizer.default as string }: Settings): string {
  return optimizer;
}

/** In the order of the table. What a configuration may leave out is there where it is not the default. */
function withDefaults(settings: Settings, table: SettingTable): Record<string, unknown> {
  const values: Record<string, unknown> = settings;
  return Object.fromEntries(
    Object.entries(table).map(([field, { default: usual }]) => [field, values[field] ?? usual] as const)
      .filter(([field, value]) => !Type.IsOptional(table[field].schema) || value !== table[field].default),
  );
}

/** @throws {TypeError} where the cell is still a name: the matrix knows its id. */
function resolvedStart(start: Settings["startFrom"]): string | null {
  if (start === undefined || typeof start === "string" || start === null) return start ?? null;
  throw new TypeError(`Cannot resolve startFrom ${start.phase}/${start.label}: expected a cell's id`);
}

function defaultOf(field: keyof Settings): number {
  return SETTINGS[field].default as number;
}

function required(value: string | undefined, field: keyof Settings, name: Naming): string {
  if (value) return value;
  throw new InputError(`Missing ${name(field)}: expected a ${SETTINGS[field].what}`);
}

function checkValues(settings: Settings, name: Naming, table: SettingTable) {
  const rules = givenSettings(table);
  for (const [field, value] of Object.entries(settings)) {
    if (value === undefined) continue;
    checkValue(value, rules[field].schema, name(field, table), typeof value === "string" ? value : undefined);
  }
}

function resolveBatch(settings: Settings, name: Naming) {
  const { effectiveBatchSize: given, microBatchSize, gradientAccumulationSteps } = settings;
  if (given === "chosen") {
    throw new TypeError("Cannot resolve the chosen batch size: expected a decision to be applied");
  }
  const effective = given ??
    (microBatchSize ?? defaultOf("effectiveBatchSize")) * (gradientAccumulationSteps ?? 1);
  const micro = microBatchSize ?? effective / (gradientAccumulationSteps ?? 1);
  const steps = effective / micro;
  if (!Number.isInteger(micro) || !Number.isInteger(steps)) {
    const divisor = microBatchSize === undefined
      ? `${name("gradientAccumulationSteps")} ${gradientAccumulationSteps}`
      : `${name("microBatchSize")} ${microBatchSize}`;
    throw new InputError(
      `Cannot split ${name("effectiveBatchSize")} ${effective} by ${divisor}: expected a multiple of it`,
    );
  }
  if (gradientAccumulationSteps !== undefined && steps !== gradientAccumulationSteps) {
    throw new InputError(
      `Cannot use ${name("gradientAccumulationSteps")} ${gradientAccumulationSteps}: ${
        name("effectiveBatchSize")
      } ` +
        `${effective} in micro-batches of ${micro} takes ${steps}`,
    );
  }
  return { microBatchSize: micro, gradientAccumulationSteps: steps };
}

function resolveSteps({ tokens, steps }: Settings, perStep: number, name: Naming): number {
  if (tokens === undefined) return steps ?? defaultOf("steps");
  if (steps !== undefined) {
    throw new InputError(
      `Cannot use both ${name("tokens")} ${tokens} and ${name("steps")} ${steps}: one gives the other`,
    );
  }
  if (tokens % perStep === 0) return tokens / perStep;
  throw new InputError(
    `Cannot train on ${name("tokens")} ${tokens} in steps of ${perStep}: expected a multiple, such as ` +
      `${Math.max(1, Math.round(tokens / perStep)) * perStep}, so that all batch sizes see equal tokens`,
  );
}

function resolveWarmup({ warmupSteps, warmupTokens }: Settings, perStep: number, name: Naming): number {
  if (warmupTokens === undefined) return warmupSteps ?? defaultOf("warmupSteps");
  if (warmupSteps !== undefined) {
    throw new InputError(
      `Cannot use both ${name("warmupTokens")} ${warmupTokens} and ${name("warmupSteps")} ${warmupSteps}: ` +
        "one gives the other",
    );
  }
  return Math.round(warmupTokens / perStep);
}

function resolveLearningRate(settings: Settings, batch: number, name: Naming): number {
  const rate = settings.learningRate ?? defaultOf("learningRate");
  if (rate === "tuned") {
    throw new TypeError("Cannot resolve the tuned learning rate: expected a decision to be applied");
  }
  const rule = settings.learningRateRule ?? "constant";
  if (rule === "constant") return rate;
  const at = settings.learningRateBatchSize;
  if (at === undefined) {
    throw new InputError(
      `Missing ${name("learningRateBatchSize")}: the rule ${rule} scales the rate from it`,
    );
  }
  const factor = rule === "linear" ? batch / at : Math.sqrt(batch / at);
  // Six digits, so that a rate reads well and hashes the same everywhere.
  return Number((rate * factor).toPrecision(6));
}

function resolveMethodOptions(
  methods: readonly string[],
  given: RunConfig["methodOptions"],
): RunConfig["methodOptions"] {
  for (const id of Object.keys(given)) methodById(id);
  return Object.fromEntries(
    methods.map((id) => [
      id,
      resolveOptions(`method ${id}`, `methodOptions.${id}`, methodById(id).settings, given[id] ?? {}),
    ]),
  );
}

/** The settings of a method or optimizer, none left to defaults. */
function resolveOptions(
  owner: string,
  path: string,
  settings: MethodSettings,
  given: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  for (const [key, value] of Object.entries(given)) {
    const setting = settings[key];
    if (!setting) {
      const known = Object.keys(settings);
      const list = known.length === 0 ? "it has none" : `expected ${known.join(", ")}`;
      throw new InputError(`Unknown setting ${path}.${key} of ${owner}: ${list}${didYouMean(key, known)}`);
    }
    // Null is off, where that is the default.
    if (value !== null || setting.default !== null) checkValue(value, setting.schema, `${path}.${key}`);
  }
  return Object.fromEntries(
    Object.entries(settings).map(([key, setting]) => [key, given[key] ?? setting.default]),
  );
}
