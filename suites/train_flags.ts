import { InputError } from "../engine/input_error.ts";
import { didYouMean } from "./did_you_mean.ts";
import type { Engine, TrainOptions } from "./engine.ts";
import type { Arguments, Flag } from "./flags.ts";
import {
  checkImplemented,
  hasBetas,
  type Implemented,
  METHOD_IDS,
  methodById,
  METHODS,
  OPTIMIZERS,
  type Setting,
  trainsAdapters,
} from "./methods.ts";
import type { RunConfig } from "../results/record.ts";
import { asFlag, FIELDS, type Settings } from "./fields.ts";
import { parseNumber } from "./number_range.ts";
import { resolveSettings } from "./resolve_settings.ts";
import { kebab, methodSettingFlag } from "./setting_flags.ts";

/** The flags of `train`, `plan` and `eval`: all fields of a configuration, then the settings of optimizers and methods. */
export function trainingFlags(): Record<string, Flag> {
  const flags: Record<string, Flag> = {};
  for (const field of Object.values(FIELDS)) {
    if (!field.flag) continue;
    flags[field.flag] = field.kind === "flag" ? { what: field.what } : {
      value: field.placeholder ?? "X",
      what: describe(field.what, field.choices),
      ...defaultText(field.default),
    };
  }
  flags.methods.what = `memory methods: ${METHOD_IDS.join(", ")}`;
  flags.optimizer.what = OPTIMIZERS.map(({ id }) => id).join(", ");
  flags["batch-size"].default = "the micro-batch size, or 4";
  flags["micro-batch-size"].default = "the batch size";
  flags.tokenizer.default = "the model's";
  flags.dropout.default = "as config.json has it; 0 for presets";
  flags["schedule-steps"] = SCHEDULE_STEPS;
  for (const optimizer of OPTIMIZERS) {
    const { id, settings } = optimizer;
    for (const [key, setting] of Object.entries(settings)) {
      if (hasBetas(optimizer) && (key === "beta1" || key === "beta2")) {
        flags.betas ??= { value: "B1,B2", what: "decay of AdamW's moments", default: "0.9,0.999" };
      } else {flags[kebab(key)] ??= {
          value: valueText(setting),
          what: `${setting.what} (${id})`,
          ...defaultText(setting.default),
        };}
    }
  }
  for (const { id, settings } of METHODS) {
    for (const [key, setting] of Object.entries(settings)) {
      const what = describe(setting.what, setting.choices);
      flags[methodSettingFlag(id, key)] ??= {
        value: valueText(setting),
        what,
        ...defaultText(setting.default),
      };
    }
  }
  return flags;
}

/** Of a run alone: a cell of a suite is a whole run. */
const SCHEDULE_STEPS = {
  value: "N",
  what: "steps of the whole cosine, where this run does only a part of them",
  default: "those of the run",
};

/** What a configuration leaves open on the command line: what the user has not named follows model or saved run. */
export interface RunOptions extends Pick<TrainOptions, "dropout" | "scheduleSteps"> {
  /** Fields that were named. */
  given: ReadonlySet<keyof TrainOptions>;
}

/**
 * Dropout of a model that has a configuration of its own, length of the schedule, and which settings were named.
 *
 * @throws {InputError} naming the flag.
 */
export function runOptions(
  { model, dropout }: RunConfig,
  { values }: Arguments,
  engine: Pick<Engine, "presets">,
): RunOptions {
  const length = values["schedule-steps"];
  const named = Object.entries(FIELDS).filter(([, { flag }]) => flag && values[flag] !== undefined);
  return {
    dropout: values.dropout === undefined && !engine.presets.includes(model) ? "model" : dropout,
    ...length !== undefined && {
      scheduleSteps: parseNumber(length, "--schedule-steps", { integer: true, minimum: 1 }),
    },
    given: new Set(named.map(([field]) => field as keyof TrainOptions)),
  };
}

function describe(what: string, choices: readonly string[] | undefined): string {
  return choices ? `${what}: ${choices.join(" or ")}` : what;
}

/** What stands for the value of a setting in `--help`. */
function valueText(setting: Setting): string {
  return typeof setting.default === "boolean" ? "true|false" : "X";
}

function defaultText(value: Setting["default"] | undefined): { default?: string } {
  return value === undefined || value === null ? {} : { default: String(value) };
}

/**
 * The configuration that flags ask for.
 *
 * @param presumed Settings that hold where no flag says otherwise.
 * @throws {InputError} naming the flag, the value given and the value expected; and for methods that are not implemented.
 */
export function configFromFlags(args: Arguments, engine: Implemented, presumed: Settings = {}): RunConfig {
  const settings = { ...presumed, ...fieldSettings(args) };
  const config = resolveSettings({ ...settings, ...optionSettings(args, settings) }, asFlag);
  checkImplemented(config.methods, config.optimizer, engine);
  return config;
}

/**
 * The configuration without the settings of LoRA that no flag gave: a run that goes on with an adapter takes them from its folder.
 */
export function withFolderLora(config: RunConfig, { values }: Arguments): RunConfig {
  const ofFolder = (id: string, key: string) =>
    trainsAdapters([id]) && key in methodById("lora").settings && key !== "plusRatio" &&
    values[methodSettingFlag(id, key)] === undefined;
  return {
    ...config,
    methodOptions: Object.fromEntries(
      Object.entries(config.methodOptions).map(([id, settings]) => [
        id,
        Object.fromEntries(Object.entries(settings).filter(([key]) => !ofFolder(id, key))),
      ]),
    ),
  };
}

function fieldSettings({ values, switches }: Arguments): Settings {
  const settings: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(FIELDS)) {
    if (!field.flag) continue;
    if (field.kind === "flag" && switches.has(field.flag)) settings[name] = !field.default; // --no-shuffle
    const text = values[field.flag];
    if (text === undefined) continue;
    settings[name] = field.kind === "number"
      ? parseNumber(text, `--${field.flag}`, field)
      : field.kind === "list"
      ? listOf(text)
      : text;
  }
  return settings as Settings;
}

function listOf(text: string): string[] {
  return text.split(",").map((item) => item.trim()).filter((item) => item !== "");
}

/** Settings of the optimizer and the methods; a flag that belongs to none of those in use is an error. */
function optionSettings(
  { values }: Arguments,
  settings: Settings,
): Pick<Settings, "optimizerOptions" | "methodOptions"> {
  const optimizer = OPTIMIZERS.find(({ id }) => id === (settings.optimizer ?? FIELDS.optimizer.default));
  const optimizerOptions: Record<string, number | boolean | null> = {};
  const methodOptions: Record<string, Record<string, unknown>> = {};
  const owners = optionOwners();
  for (const [flag, text] of Object.entries(values)) {
    const owner = owners.get(flag);
    if (!owner) continue;
    const used = owner.filter(({ id }) => id === optimizer?.id || settings.methods?.includes(id));
    if (used.length === 0) {
      const ids = [...new Set(owner.map(({ id }) => id))].join(" or ");
      throw new InputError(`Flag --${flag} does nothing here: expected ${ids} to be in use`);
    }
    if (flag === "betas") Object.assign(optimizerOptions, betas(text));
    else {for (const { id, key, setting } of used) {
        const value = settingValue(text, flag, setting);
        if (id === optimizer?.id) optimizerOptions[key] = value as number | boolean;
        else (methodOptions[id] ??= {})[key] = value;
      }}
  }
  return { optimizerOptions, methodOptions };
}

interface Owner {
  id: string;
  key: string;
  setting: Setting;
}

function optionOwners(): Map<string, Owner[]> {
  const owners = new Map<string, Owner[]>();
  const add = (flag: string, owner: Owner) => owners.set(flag, [...owners.get(flag) ?? [], owner]);
  for (const optimizer of OPTIMIZERS) {
    const { id, settings } = optimizer;
    for (const [key, setting] of Object.entries(settings)) {
      add(hasBetas(optimizer) && (key === "beta1" || key === "beta2") ? "betas" : kebab(key), {
        id,
        key,
        setting,
      });
    }
  }
  for (const id of METHOD_IDS) {
    for (const [key, setting] of Object.entries(methodById(id).settings)) {
      add(methodSettingFlag(id, key), { id, key, setting });
    }
  }
  return owners;
}

function betas(text: string): { beta1: number; beta2: number } {
  const parts = text.split(",");
  const { beta1, beta2 } = OPTIMIZERS[0].settings;
  if (parts.length !== 2) {
    throw new InputError(`Cannot use --betas ${text}: expected two numbers, as 0.9,0.999`);
  }
  return {
    beta1: parseNumber(parts[0].trim(), "--betas", beta1),
    beta2: parseNumber(parts[1].trim(), "--betas", beta2),
  };
}

function settingValue(text: string, flag: string, setting: Setting): unknown {
  if (typeof setting.default === "boolean") {
    if (text === "true" || text === "false") return text === "true";
    throw new InputError(`Cannot use --${flag} ${text}: expected true or false`);
  }
  if (setting.choices) {
    if (setting.choices.includes(text)) return text;
    const hint = didYouMean(text, setting.choices);
    throw new InputError(`Cannot use --${flag} ${text}: expected ${setting.choices.join(" or ")}${hint}`);
  }
  return parseNumber(text, `--${flag}`, setting);
}
