import { defaultTokenizer, PRESET_NAMES } from "../mod.ts";
import type { RunConfig } from "../results/record.ts";
import { FIELDS } from "./fields.ts";
import { hasBetas, methodById, optimizerById, type Setting } from "./methods.ts";
import { kebab, methodSettingFlag } from "./setting_flags.ts";
import { effectiveBatchSize } from "./tokens_per_step.ts";

/**
 * The flags that repeat a configuration, without those at their defaults.
 *
 * @returns Words for a shell; those that need it are quoted.
 */
export function trainFlags(config: RunConfig): string[] {
  const words: string[] = [];
  const add = (flag: string, value: unknown) => words.push(`--${flag}`, shellWord(String(value)));
  for (const [field, rule] of Object.entries(FIELDS)) {
    const value = config[field as keyof RunConfig];
    if (!rule.flag || field === "effectiveBatchSize" || field === "microBatchSize") continue;
    if (field === "tokenizer" && value === defaultTokenizer(config.model)) continue;
    // Without the flag a folder's own configuration would say how much is dropped.
    const implied = field === "dropout" && !PRESET_NAMES.includes(config.model) ? undefined : rule.default;
    if (value === undefined || value === implied) continue;
    if (rule.kind === "flag") words.push(`--${rule.flag}`);
    else if (rule.kind !== "list") add(rule.flag, value);
    else if ((value as string[]).length > 0) add(rule.flag, (value as string[]).join(","));
    if (field === "data") {
      add("batch-size", effectiveBatchSize(config));
      if (config.gradientAccumulationSteps > 1) add("micro-batch-size", config.microBatchSize);
    }
  }
  return [...words, ...optionFlags(config)];
}

function optionFlags(config: RunConfig): string[] {
  const words: string[] = [];
  for (
    const [key, value] of changedOptions(optimizerById(config.optimizer).settings, config.optimizerOptions)
  ) {
    if (hasBetas(optimizerById(config.optimizer)) && (key === "beta1" || key === "beta2")) continue;
    words.push(`--${kebab(key)}`, String(value));
  }
  const { beta1, beta2 } = config.optimizerOptions;
  const betas = optimizerById(config.optimizer).settings;
  const paired = hasBetas(optimizerById(config.optimizer));
  if (paired && (beta1 !== betas.beta1.default || beta2 !== betas.beta2.default)) {
    words.push("--betas", `${beta1},${beta2}`);
  }
  for (const id of config.methods) {
    for (const [key, value] of changedOptions(methodById(id).settings, config.methodOptions[id] ?? {})) {
      words.push(`--${methodSettingFlag(id, key)}`, String(value));
    }
  }
  return words;
}

function changedOptions(
  settings: Readonly<Record<string, Setting>>,
  given: Readonly<Record<string, unknown>>,
) {
  return Object.entries(settings)
    .filter(([key, setting]) => key in given && given[key] !== setting.default)
    .map(([key]) => [key, given[key]] as const);
}

function shellWord(text: string): string {
  return /^[\w./,:=+@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
