import { InputError } from "../engine/input_error.ts";
import { defaultTokenizer } from "../mod.ts";
import type { RunConfig } from "../results/record.ts";
import { didYouMean } from "./did_you_mean.ts";
import { asField, FIELDS, type Naming, type Settings } from "./fields.ts";
import { checkMethods, checkMethodSettings, methodById, optimizerById, type Setting } from "./methods.ts";
import { expected, inRange } from "./number_range.ts";

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
