import { InputError } from "../../engine/input_error.ts";
import { trainsAdapters } from "../../results/methods.ts";
import {
  flagName,
  givenSettings,
  RUN_SETTINGS,
  type RunConfig,
  type Settings,
  type SettingTable,
} from "../../results/settings.ts";
import type { Engine, TrainOptions } from "../engine.ts";
import type { Arguments, Flag } from "./flags.ts";
import { checkImplemented, type Implemented, methodById } from "../methods.ts";
import { describe, methodSettingFlag, OPTION_FLAGS, type Owned } from "../option_flags.ts";
import { asFlag, optimizerOf, resolveSettings } from "../resolve_settings.ts";
import { parseNumber, parseValue } from "../setting_values.ts";

/** The flags of `train`, `plan` and `eval`: settings of a run, then those of optimizers and methods. */
export function trainingFlags(table: SettingTable = RUN_SETTINGS): Record<string, Flag> {
  const flags: Record<string, Flag> = {};
  for (const { flag, schema, what, default: usual, defaultText } of Object.values(givenSettings(table))) {
    if (!flag) continue;
    const [name, value] = flag.split(" ");
    const text = defaultText ?? (Array.isArray(usual) ? undefined : usual?.toString());
    flags[name] = value === undefined
      ? { what }
      : { value, what: describe(what, schema), ...text !== undefined && { default: text } };
  }
  flags["schedule-steps"] = SCHEDULE_STEPS;
  for (const [name, { help }] of OPTION_FLAGS) flags[name] ??= help;
  return flags;
}

/** Of a run alone: a cell of a suite is a whole run. */
const SCHEDULE_STEPS = {
  value: "N",
  what: "steps of the whole cosine, where this run does only a part of them",
  default: "those of the run",
};

/** What flags leave open: what the user has not named follows model or saved run. */
export interface RunOptions extends Pick<TrainOptions, "dropout" | "scheduleSteps"> {
  /** Fields that were named. */
  given: ReadonlySet<keyof TrainOptions>;
}

/**
 * Dropout of a model with a configuration of its own, length of the schedule, and which settings were named.
 *
 * @throws {InputError} naming the flag.
 */
export function runOptions(
  { model, dropout }: RunConfig,
  { values }: Arguments,
  engine: Pick<Engine, "presets">,
): RunOptions {
  const length = values["schedule-steps"];
  const isNamed = (flag: string | undefined) => flag !== undefined && values[flag] !== undefined;
  const named = Object.entries(givenSettings()).filter(([, setting]) => isNamed(flagName(setting)));
  return {
    dropout: values.dropout === undefined && !engine.presets.includes(model) ? "model" : dropout,
    ...length !== undefined && {
      scheduleSteps: parseNumber(length, "--schedule-steps", { type: "integer", minimum: 1 }),
    },
    given: new Set(named.map(([field]) => field as keyof TrainOptions)),
  };
}

/**
 * The configuration that flags ask for.
 *
 * @param presumed Settings that hold where no flag says otherwise.
 * @throws {InputError} naming the flag, the value given and the value expected; and for methods that are not
 * implemented.
 */
export function configFromFlags(
  args: Arguments,
  engine: Implemented,
  presumed: Settings = {},
  table: SettingTable = RUN_SETTINGS,
): RunConfig {
  const settings = { ...presumed, ...fieldSettings(args, table) };
  const config = resolveSettings({ ...settings, ...optionSettings(args, settings) }, asFlag, table);
  checkImplemented(config.methods, config.optimizer, engine);
  return config;
}

/**
 * The configuration without the settings of LoRA that no flag gave: a run that goes on with an adapter takes
 * them from its folder.
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

function fieldSettings({ values, switches }: Arguments, table: SettingTable): Settings {
  const settings: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(givenSettings(table))) {
    const flag = flagName(setting);
    if (flag === undefined) continue;
    if (switches.has(flag)) settings[name] = !setting.default; // --no-shuffle
    const text = values[flag];
    if (text === undefined) continue;
    const { schema } = setting;
    settings[name] = schema.type === "array" ? listOf(text) : parseValue(text, schema, `--${flag}`);
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
): Pick<RunConfig, "optimizerOptions" | "methodOptions"> {
  const optimizer = optimizerOf(settings);
  const optimizerOptions: RunConfig["optimizerOptions"] = {};
  const methodOptions: RunConfig["methodOptions"] = {};
  for (const [flag, text] of Object.entries(values)) {
    const sets = OPTION_FLAGS.get(flag)?.sets;
    if (!sets) continue;
    const used = sets.filter(({ id }) => id === optimizer || settings.methods?.includes(id));
    if (used.length === 0) {
      const ids = [...new Set(sets.map(({ id }) => id))].join(" or ");
      throw new InputError(`Flag --${flag} does nothing here: expected ${ids} to be in use`);
    }
    for (const [{ id, key, setting }, part] of partsOf(text, flag, used)) {
      const value = parseValue(part, setting.schema, `--${flag}`);
      if (id === optimizer) optimizerOptions[key] = value as number | boolean;
      else (methodOptions[id] ??= {})[key] = value;
    }
  }
  return { optimizerOptions, methodOptions };
}

/** The part of a flag's value that is each setting's: all of it, or of several of one optimizer one each. */
function partsOf(text: string, flag: string, sets: readonly Owned[]): [Owned, string][] {
  const usual = OPTION_FLAGS.get(flag)!.help.default;
  if (!sets[0].setting.flag) return sets.map((one) => [one, text]);
  const parts = text.split(",");
  if (parts.length === sets.length) return sets.map((one, i) => [one, parts[i].trim()]);
  throw new InputError(`Cannot use --${flag} ${text}: expected two numbers, as ${usual}`);
}
