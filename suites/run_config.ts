import { InputError } from "../engine/input_error.ts";
import { defaultTokenizer, PRESET_NAMES } from "../mod.ts";
import type { RunConfig } from "../results/record.ts";
import { didYouMean } from "./did_you_mean.ts";
import {
  checkMethods,
  checkMethodSettings,
  hasBetas,
  methodById,
  optimizerById,
  type Setting,
  trainsAdapters,
} from "./methods.ts";

/**
 * Every field of a training run in one table: flag, default, range, meaning. Suites, flags, `--help` and the suite schema's
 * test all read it. Fields of `RunConfig` come first; the last four stand for fields they are resolved into.
 */
export interface Settings extends Partial<Omit<RunConfig, "startFrom" | "learningRate">> {
  /** `tuned` is the rate that a preceding rate sweep decides for the optimizer. */
  learningRate?: number | "tuned";
  /** The cell of an earlier phase to start from; the matrix resolves it to that cell's id. */
  startFrom?: CellReference | string | null;
  /** Sequences in one optimizer step; `chosen` is the value that the preceding batch-size sweep decides. */
  effectiveBatchSize?: number | "chosen";
  /** Tokens to train on in all; gives `steps`. */
  tokens?: number;
  /** Tokens in which the rate rises from 0; gives `warmupSteps`, so that batch sizes share a schedule in tokens. */
  warmupTokens?: number;
  /** How the learning rate follows the effective batch size, from `learningRateBatchSize` on. */
  learningRateRule?: typeof LEARNING_RATE_RULES[number];
  /** Effective batch size at which `learningRate` holds as given. */
  learningRateBatchSize?: number;
}

/** A cell of an earlier phase, as a suite names it: the one with the same seed is meant. */
export interface CellReference {
  phase: string;
  label: string;
}

export const LEARNING_RATE_RULES = ["constant", "square-root", "linear"] as const;

/** A field with the flag that sets it. Fields without a `flag` are set otherwise. */
export interface Field {
  flag?: string;
  kind: "text" | "number" | "flag" | "list" | "options" | "reference";
  what: string;
  /** What stands for the value in `--help`. */
  placeholder?: string;
  integer?: boolean;
  minimum?: number;
  maximum?: number;
  /** Whether `minimum` itself is refused. */
  above?: boolean;
  choices?: readonly string[];
  default?: string | number | boolean;
}

export const FIELDS: Readonly<Record<keyof Settings, Field>> = {
  model: {
    flag: "model",
    kind: "text",
    placeholder: "M",
    what: "preset, folder with config.json, or owner/name[@revision] on the hub",
  },
  startFrom: { kind: "reference", what: "cell of an earlier phase whose trained weights to start from" },
  data: {
    flag: "data",
    kind: "text",
    placeholder: "D",
    what: "text, .jsonl, .json, .parquet or token file (.u16, .u32, .npy), or corpus",
  },
  task: {
    flag: "task",
    kind: "text",
    placeholder: "WHAT",
    choices: ["own", "classify"],
    default: "own",
    what: "classify gives a BERT of another task a new classifier",
  },
  textField: {
    flag: "text-field",
    kind: "text",
    placeholder: "NAME",
    default: "text",
    what: "field of .jsonl, .json and .parquet files with the text",
  },
  labelField: {
    flag: "label-field",
    kind: "text",
    placeholder: "NAME",
    default: "label",
    what: "field with the label, for models that classify",
  },
  packing: {
    flag: "packing",
    kind: "flag",
    default: false,
    what: "put short documents together in a sequence; each sees only itself",
  },
  overlong: {
    flag: "overlong",
    kind: "text",
    placeholder: "WHAT",
    choices: ["refuse", "truncate", "split"],
    default: "refuse",
    what: "what becomes of documents longer than a sequence",
  },
  tokenizer: {
    flag: "tokenizer",
    kind: "text",
    placeholder: "NAME",
    what: "bytes, gpt2, bpe<size>, or model (the folder's own)",
  },
  heldOutFraction: {
    flag: "held-out",
    kind: "number",
    placeholder: "SHARE",
    minimum: 0,
    maximum: 0.9,
    default: 0,
    what: "share of the data, at its end, kept for evaluation",
  },
  sequenceLength: {
    flag: "seq-len",
    kind: "number",
    placeholder: "T",
    integer: true,
    minimum: 1,
    default: 128,
    what: "tokens in a sequence",
  },
  microBatchSize: {
    flag: "micro-batch-size",
    kind: "number",
    placeholder: "b",
    integer: true,
    minimum: 1,
    what: "sequences in one forward and backward pass",
  },
  gradientAccumulationSteps: {
    kind: "number",
    integer: true,
    minimum: 1,
    what: "micro-steps in an optimizer step",
  },
  methods: { flag: "methods", kind: "list", placeholder: "a,b", what: "memory methods" },
  methodOptions: { kind: "options", what: "settings of the methods" },
  optimizer: { flag: "optimizer", kind: "text", placeholder: "O", default: "adamw", what: "optimizer" },
  optimizerOptions: { kind: "options", what: "settings of the optimizer" },
  learningRate: {
    flag: "lr",
    kind: "number",
    placeholder: "X",
    minimum: 0,
    default: 1e-3,
    what: "learning rate",
  },
  schedule: {
    flag: "schedule",
    kind: "text",
    placeholder: "NAME",
    choices: ["constant", "cosine"],
    default: "constant",
    what: "course of the learning rate",
  },
  warmupSteps: {
    flag: "warmup-steps",
    kind: "number",
    placeholder: "N",
    integer: true,
    minimum: 0,
    default: 0,
    what: "steps in which the rate rises from 0",
  },
  clip: {
    flag: "clip",
    kind: "number",
    placeholder: "NORM",
    minimum: 0,
    default: 1,
    what: "largest global gradient norm; 0 is off",
  },
  dropout: {
    flag: "dropout",
    kind: "number",
    placeholder: "P",
    minimum: 0,
    maximum: 0.99,
    default: 0,
    what: "dropout probability; 0 is off",
  },
  steps: {
    flag: "steps",
    kind: "number",
    placeholder: "N",
    integer: true,
    minimum: 1,
    default: 100,
    what: "optimizer steps",
  },
  evaluateEvery: {
    flag: "eval-every",
    kind: "number",
    placeholder: "N",
    integer: true,
    minimum: 0,
    default: 0,
    what: "steps between held-out losses; 0 is at the end alone",
  },
  heldOutWindows: {
    flag: "held-out-windows",
    kind: "number",
    placeholder: "N",
    integer: true,
    minimum: 0,
    default: 0,
    what: "held-out windows in an evaluation; 0 is all",
  },
  alsoEvaluate: {
    flag: "also-evaluate",
    kind: "list",
    placeholder: "D,D",
    what: "other data to take held-out losses on, at the same points",
  },
  seed: {
    flag: "seed",
    kind: "number",
    placeholder: "S",
    integer: true,
    minimum: 0,
    maximum: 2 ** 32 - 1,
    default: 0,
    what: "seed of weights, order and dropout",
  },
  shuffle: { flag: "no-shuffle", kind: "flag", default: true, what: "take windows in order" },
  effectiveBatchSize: {
    flag: "batch-size",
    kind: "number",
    placeholder: "B",
    integer: true,
    minimum: 1,
    default: 4,
    what: "sequences in an optimizer step",
  },
  tokens: { kind: "number", integer: true, minimum: 1, what: "tokens to train on; gives the steps" },
  warmupTokens: {
    kind: "number",
    integer: true,
    minimum: 0,
    what: "tokens in which the rate rises from 0; gives the warm-up steps",
  },
  learningRateRule: {
    kind: "text",
    choices: LEARNING_RATE_RULES,
    default: "constant",
    what: "how the rate follows the effective batch size",
  },
  learningRateBatchSize: {
    kind: "number",
    integer: true,
    minimum: 1,
    what: "effective batch size at which the rate holds as given",
  },
};

/** How messages call a field: as its flag on the command line, by its name in a suite. */
export type Naming = (field: string) => string;
export const asField: Naming = (field) => field;
export const asFlag: Naming = (field) => {
  const flag = FIELDS[field as keyof Settings]?.flag;
  return flag ? `--${flag}` : field;
};

/** `a whole number of at least 1` */
export function expected(range: Pick<Field, "integer" | "minimum" | "maximum" | "above">): string {
  const kind = range.integer ? "a whole number" : "a number";
  if (range.minimum === undefined) {
    return range.maximum === undefined ? kind : `${kind} of at most ${range.maximum}`;
  }
  if (range.maximum !== undefined) return `${kind} from ${range.minimum} to ${range.maximum}`;
  return range.above ? `${kind} above ${range.minimum}` : `${kind} of at least ${range.minimum}`;
}

/** Whether a number lies in the range of a field or setting. */
export function inRange(
  value: number,
  range: Pick<Field, "integer" | "minimum" | "maximum" | "above">,
): boolean {
  return Number.isFinite(value) &&
    (!range.integer || Number.isSafeInteger(value)) &&
    (range.minimum === undefined || (range.above ? value > range.minimum : value >= range.minimum)) &&
    (range.maximum === undefined || value <= range.maximum);
}

/**
 * Reads a decimal number as people write them: `12`, `0.5`, `1e3`, `-2e-4`.
 *
 * @throws {InputError} for anything else, and outside the range.
 */
export function parseNumber(
  text: string,
  name: string,
  range: Pick<Field, "integer" | "minimum" | "maximum" | "above">,
) {
  const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
  if (inRange(value, range)) return value;
  throw new InputError(`Cannot use ${name} ${text === "" ? '""' : text}: expected ${expected(range)}`);
}

/**
 * Merges settings from general to particular. Options are merged key by key, everything else is replaced; `steps` and
 * `tokens` say the same thing, so the more particular one takes the place of the other; so do their warm-ups.
 */
export function mergeSettings(...levels: (Settings | undefined)[]): Settings {
  const merged: Settings = {};
  for (const level of levels) {
    const { methodOptions, optimizerOptions, ...rest } = level ?? {};
    if (rest.steps !== undefined) delete merged.tokens;
    if (rest.tokens !== undefined) delete merged.steps;
    if (rest.warmupSteps !== undefined) delete merged.warmupTokens;
    if (rest.warmupTokens !== undefined) delete merged.warmupSteps;
    Object.assign(merged, rest);
    if (optimizerOptions) merged.optimizerOptions = { ...merged.optimizerOptions, ...optimizerOptions };
    for (const [method, options] of Object.entries(methodOptions ?? {})) {
      merged.methodOptions = {
        ...merged.methodOptions,
        [method]: { ...merged.methodOptions?.[method], ...options },
      };
    }
  }
  return merged;
}

/**
 * A complete configuration: defaults filled in, batch sizes, steps and learning rate worked out, every value checked.
 *
 * @param name How messages call fields.
 * @throws {InputError} naming the field, the value given and the value expected.
 */
export function resolveSettings(settings: Settings, name: Naming = asField): RunConfig {
  checkValues(settings, name);
  const methods = [...settings.methods ?? []].sort();
  const optimizer = settings.optimizer ?? "adamw";
  checkMethods(methods, optimizer);
  const batch = resolveBatch(settings, name);
  const clip = settings.clip ?? defaultOf("clip");
  const methodOptions = resolveMethodOptions(methods, settings.methodOptions ?? {});
  const { gradientAccumulationSteps } = batch;
  checkMethodSettings(methods, { clip, gradientAccumulationSteps, optimizer, methodOptions });
  const sequenceLength = settings.sequenceLength ?? defaultOf("sequenceLength");
  const model = required(settings.model, "model", name);
  return {
    model,
    startFrom: resolvedStart(settings.startFrom),
    data: required(settings.data, "data", name),
    ...documentSettings(settings),
    tokenizer: settings.tokenizer ?? defaultTokenizer(model),
    heldOutFraction: settings.heldOutFraction ?? defaultOf("heldOutFraction"),
    sequenceLength,
    microBatchSize: batch.microBatchSize,
    gradientAccumulationSteps: batch.gradientAccumulationSteps,
    methods,
    methodOptions,
    optimizer,
    optimizerOptions: resolveOptions(
      `optimizer ${optimizer}`,
      "optimizerOptions",
      optimizerById(optimizer).settings,
      settings.optimizerOptions ?? {},
    ) as RunConfig["optimizerOptions"],
    learningRate: resolveLearningRate(settings, batch.effectiveBatchSize, name),
    schedule: settings.schedule ?? "constant",
    warmupSteps: resolveWarmup(settings, batch.effectiveBatchSize * sequenceLength, name),
    clip,
    dropout: settings.dropout ?? defaultOf("dropout"),
    steps: resolveSteps(settings, batch.effectiveBatchSize * sequenceLength, name),
    evaluateEvery: settings.evaluateEvery ?? defaultOf("evaluateEvery"),
    heldOutWindows: settings.heldOutWindows ?? defaultOf("heldOutWindows"),
    alsoEvaluate: settings.alsoEvaluate ?? [],
    seed: settings.seed ?? defaultOf("seed"),
    shuffle: settings.shuffle ?? true,
  };
}

/** Only what is given and not the default: most data are not documents, and their configurations stay as they were. */
function documentSettings(settings: Settings): Partial<RunConfig> {
  const fields = ["task", "textField", "labelField", "packing", "overlong"] as const;
  const given = fields.filter((field) =>
    (settings[field] ?? FIELDS[field].default) !== FIELDS[field].default
  );
  return Object.fromEntries(given.map((field) => [field, settings[field]]));
}

/** Sequences in one optimizer step. */
export function effectiveBatchSize(config: RunConfig): number {
  return config.microBatchSize * config.gradientAccumulationSteps;
}

/** Tokens in one optimizer step. */
export function tokensPerStep(config: RunConfig): number {
  return effectiveBatchSize(config) * config.sequenceLength;
}

/** Whether a value of `model` or `data` is a path rather than a name. */
export function looksLikePath(value: string): boolean {
  return /[/\\.]/.test(value);
}

/** @throws {TypeError} where the cell is still a name: the matrix knows its id. */
function resolvedStart(start: Settings["startFrom"]): string | null {
  if (start === undefined || typeof start === "string" || start === null) return start ?? null;
  throw new TypeError(`Cannot resolve startFrom ${start.phase}/${start.label}: expected a cell's id`);
}

function defaultOf(field: keyof Settings): number {
  return FIELDS[field].default as number;
}

function required(value: string | undefined, field: keyof Settings, name: Naming): string {
  if (value) return value;
  throw new InputError(`Missing ${name(field)}: expected a ${FIELDS[field].what}`);
}

function checkValues(settings: Settings, name: Naming) {
  for (const [field, value] of Object.entries(settings)) {
    const rule = FIELDS[field as keyof Settings];
    if (value === undefined) continue;
    if (rule.kind === "number" && (typeof value !== "number" || !inRange(value, rule))) {
      throw new InputError(`Cannot use ${name(field)} ${JSON.stringify(value)}: expected ${expected(rule)}`);
    }
    if (rule.choices && !rule.choices.includes(value)) {
      const hint = didYouMean(String(value), rule.choices);
      throw new InputError(
        `Cannot use ${name(field)} ${value}: expected ${rule.choices.join(" or ")}${hint}`,
      );
    }
    if (field === "tokenizer" && !/^(bytes|gpt2|model|bpe[1-9]\d*)$/.test(value)) {
      const hint = didYouMean(value, ["bytes", "gpt2", "model"]);
      throw new InputError(
        `Cannot use ${name(field)} ${value}: expected bytes, gpt2, model or bpe<size>${hint}`,
      );
    }
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
  return { effectiveBatchSize: effective, microBatchSize: micro, gradientAccumulationSteps: steps };
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
  return Number((rate * factor).toPrecision(6)); // six digits, so that a rate reads well and hashes the same everywhere
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
  settings: Readonly<Record<string, Setting>>,
  given: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  for (const [key, value] of Object.entries(given)) {
    const setting = settings[key];
    if (!setting) {
      const known = Object.keys(settings);
      const list = known.length === 0 ? "it has none" : `expected ${known.join(", ")}`;
      throw new InputError(`Unknown setting ${path}.${key} of ${owner}: ${list}${didYouMean(key, known)}`);
    }
    checkSetting(setting, value, `${path}.${key}`);
  }
  return Object.fromEntries(
    Object.entries(settings).map(([key, setting]) => [key, given[key] ?? setting.default]),
  );
}

function checkSetting(setting: Setting, value: unknown, name: string) {
  if (value === null && setting.default === null) return; // off, as it is without a value
  if (setting.choices) {
    if (setting.choices.includes(value as string)) return;
    const hint = didYouMean(String(value), setting.choices);
    throw new InputError(
      `Cannot use ${name} ${JSON.stringify(value)}: expected ${setting.choices.join(" or ")}${hint}`,
    );
  }
  if (typeof setting.default === "boolean") {
    if (typeof value === "boolean") return;
    throw new InputError(`Cannot use ${name} ${JSON.stringify(value)}: expected true or false`);
  }
  if (typeof value === "number" && inRange(value, setting)) return;
  throw new InputError(`Cannot use ${name} ${JSON.stringify(value)}: expected ${expected(setting)}`);
}

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

/** `--lora-rank` for every method that trains adapters, `--fp16-loss-scale`, `--qlora-quant-block-size`. */
export function methodSettingFlag(id: string, key: string): string {
  const ofLora = key in methodById("lora").settings && trainsAdapters([id]);
  return `${ofLora ? "lora" : id.startsWith("qlora") ? "qlora" : id}-${kebab(key)}`;
}

/** `weightDecay` → `weight-decay` */
export function kebab(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function shellWord(text: string): string {
  return /^[\w./,:=+@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
