import { InputError } from "../engine/input_error.ts";
import { didYouMean } from "./did_you_mean.ts";

/** What a setting of a method or an optimizer can be. */
export interface Setting {
  default: number | boolean | string | null;
  /** One phrase for `--help`. */
  what: string;
  minimum?: number;
  maximum?: number;
  /** Whether `minimum` itself is refused. */
  above?: boolean;
  integer?: boolean;
  choices?: readonly string[];
  /** The one optimizer with which a value other than the default works, and the sentence that says why. */
  optimizer?: { id: string; why: string };
}

/** One memory method: a pass over the step, switched on by `--methods`. */
export interface Method {
  id: string;
  /** What charts call it. */
  label: string;
  what: string;
  settings: Readonly<Record<string, Setting>>;
  /** Methods it cannot be combined with, and the sentence that says why. Each of the two names the other. */
  excludes: Readonly<Record<string, string>>;
  /** Values that settings of the run must have with it, and the sentence that says why. */
  requires?: Readonly<Partial<Record<keyof RequirableSettings, { value: number; why: string }>>>;
  /** Trains adapters over a frozen base: the settings of LoRA apply to it. */
  trainsAdapters: boolean;
  /** Extra time a step is expected to take, as a share; from the paper and its sources, for ordering advice only. */
  expectedSlowdown: number;
  /** There for comparison: it takes memory rather than saving it. */
  costsMemory?: boolean;
  /** Follows from other settings and is not named in `--methods`. */
  derivedFrom?: string;
}

/** Settings of a run that a method can need a certain value of. */
export interface RequirableSettings {
  clip: number;
}

/** One optimizer, named by `--optimizer`. */
export interface Optimizer {
  id: string;
  label: string;
  what: string;
  settings: Readonly<Record<string, Setting>>;
  expectedSlowdown: number;
  /** The optimizer whose update it makes from a smaller state: a rate tuned for that one is right for this one. */
  sameUpdateAs?: string;
}

const LORA_SETTINGS: Readonly<Record<string, Setting>> = {
  rank: { default: 8, minimum: 1, integer: true, what: "rank R of the adapters" },
  alpha: { default: 16, minimum: 0, above: true, what: "adapters are scaled by alpha / rank" },
  dropout: { default: 0, minimum: 0, maximum: 0.99, what: "dropout on the adapters' input" },
  plusRatio: {
    default: 1,
    minimum: 1,
    what: "LoRA+: how much faster B learns than A; needs adamw",
    optimizer: { id: "adamw", why: "only adamw has a rate for each parameter" },
  },
  targets: {
    default: "query-value",
    choices: ["query-value", "attention", "all-linear"],
    what: "matrices that get adapters",
  },
  rankStabilized: { default: false, what: "scales adapters by alpha / √rank" },
};

const OVERFLOW_SKIPS_ALL =
  "an overflow must skip the whole update, parts of which have been applied by the time it is seen";
const FIRST_GRADIENTS_GONE =
  "gradients of the first micro-step are gone when the second one needs them: use a micro-batch as large as the batch";
const NORM_TOO_LATE = "the norm of all gradients is not known when the first update is due";
const ONE_BASE = "both train LoRA adapters, over bases of different precision: name only one of them";

/** The memory methods, in the order in which charts and the ladder list them. */
export const METHODS: readonly Method[] = [
  {
    id: "accumulation",
    label: "gradient accumulation",
    what: "an optimizer step is split into micro-steps whose gradients are summed",
    settings: {},
    excludes: { "optimizer-in-backward": FIRST_GRADIENTS_GONE },
    trainsAdapters: false,
    expectedSlowdown: 0.1,
    derivedFrom: "--batch-size and --micro-batch-size",
  },
  {
    id: "checkpoint",
    label: "checkpointing",
    what: "activations inside a block are dropped and computed again in the backward pass",
    settings: {
      blocksPerCheckpoint: { default: 1, minimum: 1, integer: true, what: "blocks between kept activations" },
      selective: { default: false, what: "drop only what attention can compute again" },
    },
    excludes: {},
    trainsAdapters: false,
    expectedSlowdown: 0.2,
  },
  {
    id: "fp16",
    label: "mixed precision",
    what: "f16 activations and working weights over f32 master weights, with dynamic loss scaling",
    settings: {
      lossScale: { default: 65536, minimum: 1, what: "loss scale of the first step" },
      growthInterval: {
        default: 2000,
        minimum: 1,
        integer: true,
        what: "good steps before the scale doubles",
      },
    },
    excludes: { "optimizer-in-backward": OVERFLOW_SKIPS_ALL },
    trainsAdapters: false,
    expectedSlowdown: 0,
  },
  {
    id: "flash",
    label: "FlashAttention-2",
    what: "attention in tiles, without ever holding the T × T scores",
    settings: {},
    excludes: {},
    trainsAdapters: false,
    expectedSlowdown: 0,
  },
  {
    id: "lora",
    label: "LoRA",
    what: "the base is frozen, low-rank adapters W + BA are trained",
    settings: LORA_SETTINGS,
    excludes: { "qlora-nf4": ONE_BASE, "qlora-int8": ONE_BASE },
    trainsAdapters: true,
    expectedSlowdown: 0,
  },
  {
    id: "qlora-nf4",
    label: "QLoRA, NF4",
    what: "LoRA over a base held in 4-bit NormalFloat with double quantization",
    settings: {
      ...LORA_SETTINGS,
      quantBlockSize: {
        default: 64,
        minimum: 32,
        maximum: 4096,
        integer: true,
        what: "weights that share one absmax",
      },
      doubleQuantization: { default: true, what: "the absmax values are quantized too" },
    },
    excludes: { "lora": ONE_BASE, "qlora-int8": ONE_BASE },
    trainsAdapters: true,
    expectedSlowdown: 0.15,
  },
  {
    id: "qlora-int8",
    label: "QLoRA, int8",
    what: "LoRA over a base held in 8-bit integers, one scale a row",
    settings: LORA_SETTINGS,
    excludes: { "lora": ONE_BASE, "qlora-nf4": ONE_BASE },
    trainsAdapters: true,
    expectedSlowdown: 0.1,
  },
  {
    id: "optimizer-in-backward",
    label: "optimizer in backward",
    what: "each parameter is updated as soon as its gradient is there, which is then dropped",
    settings: {},
    excludes: { "fp16": OVERFLOW_SKIPS_ALL, "accumulation": FIRST_GRADIENTS_GONE },
    requires: { clip: { value: 0, why: NORM_TOO_LATE } },
    trainsAdapters: false,
    expectedSlowdown: 0,
  },
  {
    id: "whole-logits",
    label: "whole logits",
    what:
      "the logits of all positions are held at once, as most trainers do: what the chunked loss is compared with",
    settings: {},
    excludes: {},
    trainsAdapters: false,
    expectedSlowdown: 0,
    costsMemory: true,
  },
];

/** The rule of `ParameterSpec.decay`. */
const DECAYED =
  "of the matrices of linear layers, adapters and head; embeddings, a head tied to them, biases and norms have none";
const DECOUPLED_DECAY = `decoupled weight decay ${DECAYED}`;

const BETAS: Readonly<Record<string, Setting>> = {
  beta1: { default: 0.9, minimum: 0, maximum: 0.999999, what: "decay of the first moment" },
  beta2: { default: 0.999, minimum: 0, maximum: 0.999999, what: "decay of the second moment" },
};

/** The optimizers; defaults of AdamW are those of `torch.optim.AdamW`. */
export const OPTIMIZERS: readonly Optimizer[] = [
  {
    id: "adamw",
    label: "AdamW",
    what: "two f32 moments a parameter",
    settings: {
      ...BETAS,
      eps: { default: 1e-8, minimum: 0, above: true, what: "added to the root of the second moment" },
      weightDecay: { default: 0.01, minimum: 0, what: DECOUPLED_DECAY },
    },
    expectedSlowdown: 0,
  },
  {
    id: "adafactor",
    label: "Adafactor",
    what: "second moment as row and column means, no first moment",
    settings: {
      eps1: { default: 1e-30, minimum: 0, above: true, what: "added to squared gradients" },
      eps2: { default: 1e-3, minimum: 0, above: true, what: "smallest parameter scale" },
      clipThreshold: { default: 1, minimum: 0, above: true, what: "largest root mean square of an update" },
      decayRate: { default: -0.8, minimum: -1, maximum: 0, what: "exponent of the second moment's decay" },
      beta1: {
        default: null,
        minimum: 0,
        maximum: 0.999999,
        what: "decay of a first moment; null keeps none",
      },
      relativeStep: { default: false, what: "takes min(1e-2, 1/sqrt(t)) instead of the learning rate" },
      warmupInit: { default: false, what: "relative steps start at 1e-6 t" },
      scaleParameter: { default: false, what: "scales the rate by each parameter's root mean square" },
      weightDecay: { default: 0, minimum: 0, what: DECOUPLED_DECAY },
    },
    expectedSlowdown: 0.1,
  },
  {
    id: "adamw8bit",
    label: "8-bit AdamW",
    what: "two moments a parameter in 8-bit blocks, those of embeddings in f32",
    settings: {
      ...BETAS,
      eps: { default: 1e-8, minimum: 0, above: true, what: "added to the root of the second moment" },
      weightDecay: { default: 0.01, minimum: 0, what: DECOUPLED_DECAY },
      quantizeEmbeddings: {
        default: false,
        what:
          "8-bit moments for embeddings too; single weights can then jump by thousands of learning rates, " +
          "where a rare token's second moment rounds to 0 beside a frequent one's",
      },
    },
    expectedSlowdown: 0.03,
    sameUpdateAs: "adamw",
  },
  {
    id: "sgd",
    label: "SGD",
    what: "no state, or one f32 momentum a parameter",
    settings: {
      momentum: {
        default: 0,
        minimum: 0,
        maximum: 0.999999,
        what: "decay of the momentum; 0 keeps no state",
      },
      weightDecay: { default: 0, minimum: 0, what: `weight decay ${DECAYED}` },
    },
    expectedSlowdown: 0,
  },
];

/** What `--methods` takes. */
export const METHOD_IDS: readonly string[] = METHODS.filter((method) => !method.derivedFrom).map(({ id }) =>
  id
);
/** What `--optimizer` takes. */
export const OPTIMIZER_IDS: readonly string[] = OPTIMIZERS.map(({ id }) => id);

/** @throws {InputError} for a name that is no method. */
export function methodById(id: string): Method {
  const method = METHODS.find((method) => method.id === id);
  if (method?.derivedFrom) {
    throw new InputError(`Cannot name ${id} as a method: it follows from ${method.derivedFrom}`);
  }
  if (method) return method;
  throw new InputError(
    `Unknown method ${JSON.stringify(id)}: expected ${METHOD_IDS.join(", ")}${didYouMean(id, METHOD_IDS)}`,
  );
}

/** @throws {InputError} for a name that is no optimizer. */
export function optimizerById(id: string): Optimizer {
  const optimizer = OPTIMIZERS.find((optimizer) => optimizer.id === id);
  if (optimizer) return optimizer;
  throw new InputError(
    `Unknown optimizer ${JSON.stringify(id)}: expected ${OPTIMIZER_IDS.join(", ")}${
      didYouMean(id, OPTIMIZER_IDS)
    }`,
  );
}

/** @throws {InputError} for unknown names, a method named twice, or two that exclude each other, saying why. */
export function checkMethods(methods: readonly string[], optimizer: string): void {
  for (const [i, id] of methods.entries()) {
    const { excludes } = methodById(id);
    if (methods.indexOf(id) < i) throw new InputError(`Method ${id} is named twice`);
    for (const other of methods.slice(0, i)) {
      if (excludes[other]) throw new InputError(`Cannot combine ${other} with ${id}: ${excludes[other]}`);
    }
  }
  optimizerById(optimizer);
}

/**
 * Checks methods against the settings of the run they are to work in.
 *
 * @param run With more than one gradient accumulation step, accumulation is one of the methods.
 * @throws {InputError} for a setting that a method cannot work with, saying why and which value it needs.
 */
export function checkMethodSettings(
  methods: readonly string[],
  run: RequirableSettings & {
    gradientAccumulationSteps: number;
    optimizer: string;
    methodOptions: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  },
): void {
  for (const id of methods) {
    const { excludes, requires, settings } = methodById(id);
    if (run.gradientAccumulationSteps > 1 && excludes.accumulation) {
      throw new InputError(
        `Cannot combine ${id} with ${run.gradientAccumulationSteps} micro-steps: ${excludes.accumulation}`,
      );
    }
    for (const [name, { value, why }] of Object.entries(requires ?? {})) {
      const given = run[name as keyof RequirableSettings];
      if (given !== value) {
        throw new InputError(`Cannot combine ${id} with ${name} ${given}: ${why}; use ${name} ${value}`);
      }
    }
    for (const [name, { default: usual, optimizer }] of Object.entries(settings)) {
      const given = run.methodOptions[id]?.[name] ?? usual;
      if (optimizer && given !== usual && run.optimizer !== optimizer.id) {
        throw new InputError(
          `Cannot combine ${name} ${given} of ${id} with ${run.optimizer}: ${optimizer.why}`,
        );
      }
    }
  }
}

/** Whether an optimizer has both decays of Adam, which one flag sets together. */
export function hasBetas({ settings }: Optimizer): boolean {
  return "beta1" in settings && "beta2" in settings;
}

/** What the engine trains today. */
export interface Implemented {
  readonly implementedMethods: readonly string[];
  readonly implementedOptimizers: readonly string[];
}

/** @throws {InputError} for methods or an optimizer that are known but that this version does not train. */
export function checkImplemented(methods: readonly string[], optimizer: string, engine: Implemented): void {
  const missing = methods.find((id) => !engine.implementedMethods.includes(id));
  if (missing !== undefined) {
    throw new InputError(notImplemented("method", missing, engine.implementedMethods));
  }
  if (!engine.implementedOptimizers.includes(optimizer)) {
    throw new InputError(notImplemented("optimizer", optimizer, engine.implementedOptimizers));
  }
}

function notImplemented(kind: string, id: string, implemented: readonly string[]): string {
  const list = implemented.length === 0 ? "none" : implemented.join(", ");
  return `The ${kind} ${id} is not implemented in this version: implemented are ${list}`;
}

/** Whether a combination trains adapters only. */
export function trainsAdapters(methods: readonly string[]): boolean {
  return METHODS.some(({ id, trainsAdapters }) => trainsAdapters && methods.includes(id));
}

/** `baseline` without any, else as `checkpointing + mixed precision`. */
export function methodsLabel(methods: readonly string[]): string {
  if (methods.length === 0) return "baseline";
  return METHODS.filter(({ id }) => methods.includes(id)).map(({ label }) => label).join(" + ");
}
