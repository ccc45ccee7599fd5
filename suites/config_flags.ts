import { defaultTokenizer, PRESET_NAMES } from "../mod.ts";
import type { MethodSettings } from "../results/methods.ts";
import {
  flagName,
  givenSettings,
  RUN_SETTINGS,
  type RunConfig,
  type SettingTable,
} from "../results/settings.ts";
import { effectiveBatchSize } from "../results/tokens_per_step.ts";
import { methodById, optimizerById } from "./methods.ts";
import { OPTION_FLAGS } from "./option_flags.ts";

/**
 * The flags that repeat a configuration, without those at their defaults.
 *
 * @returns Words for a shell; those that need it are quoted.
 */
export function trainFlags(config: RunConfig, table: SettingTable = RUN_SETTINGS): string[] {
  const words: string[] = [];
  const add = (flag: string, value: unknown) => words.push(`--${flag}`, shellWord(String(value)));
  for (const [field, setting] of Object.entries(givenSettings(table))) {
    const value = (config as Record<string, unknown>)[field];
    const flag = flagName(setting);
    if (!flag || field === "effectiveBatchSize" || field === "microBatchSize") continue;
    if (field === "tokenizer" && value === defaultTokenizer(config.model)) continue;
    // Without the flag a folder's own configuration would say how much is dropped.
    const implied = field === "dropout" && !PRESET_NAMES.includes(config.model) ? undefined : setting.default;
    if (value === undefined || value === implied) continue;
    if (setting.schema.type === "boolean") words.push(`--${flag}`);
    else if (!Array.isArray(value)) add(flag, value);
    else if (value.length > 0) add(flag, value.join(","));
    if (field === "data") {
      add("batch-size", effectiveBatchSize(config));
      if (config.gradientAccumulationSteps > 1) add("micro-batch-size", config.microBatchSize);
    }
  }
  const { settings } = optimizerById(config.optimizer);
  return [
    ...words,
    ...optionFlags(config.optimizer, settings, config.optimizerOptions),
    ...config.methods.flatMap((id) =>
      optionFlags(id, methodById(id).settings, config.methodOptions[id] ?? {})
    ),
  ];
}

/**
 * Flags of one optimizer's or method's settings that are not at their defaults; those that take several last.
 */
function optionFlags(
  id: string,
  settings: MethodSettings,
  given: Readonly<Record<string, unknown>>,
): string[] {
  const isChanged = (key: string) => key in given && given[key] !== settings[key].default;
  const flags = [...OPTION_FLAGS].map(([flag, { sets }]) => ({
    flag,
    keys: sets.filter((one) => one.id === id).map(({ key }) => key),
  }));
  return flags.filter(({ keys }) => keys.some(isChanged))
    .toSorted((a, b) => a.keys.length - b.keys.length)
    .flatMap(({ flag, keys }) => [`--${flag}`, keys.map((key) => given[key]).join()]);
}

function shellWord(text: string): string {
  return /^[\w./,:=+@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
