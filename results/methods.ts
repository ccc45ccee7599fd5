/**
 * Memory methods and optimizers, declared once: what they are called, what they do, their settings and what
 * they cannot be combined with. Suites, flags, help, checks and charts take them from here.
 * `engine/train/methods.ts` and `engine/passes/optimizer.ts` say how each is done; a test holds that both
 * have the same ones.
 */
import { type TSchema, Type } from "typebox";
import { above, number, type ValueRule, whole } from "./schema_parts.ts";

/** What a setting of a method or an optimizer can be. */
export interface MethodSetting {
  schema: TSchema & ValueRule;
  /** Null is off, which no value of the schema is. */
  default: number | boolean | string | null;
  /** One phrase for `--help`. */
  what: string;
  /** The one optimizer with which a value other than the default works, and the sentence that says why. */
  optimizer?: { id: string; why: string };
  /** The flag that sets it together with others, in their order; default: one of its own. */
  flag?: { name: string; value: string; what: string };
}

/** Settings by name. */
export type MethodSettings = Readonly<Record<string, MethodSetting>>;

/** One memory method: a pass over the step, switched on by `--methods`. */
export interface Method {
  id: string;
  /** What labels of cells call it. */
  label: string;
  /** What charts and tables call it; default: its id. */
  short?: string;
  what: string;
  settings: MethodSettings;
  /** Methods it cannot be combined with, and the sentence that says why. Each of the two names the other. */
  excludes: Readonly<Record<string, string>>;
  /** Values that settings of the run must have with it, and the sentence that says why. */
  requires?: Readonly<Partial<Record<keyof RequirableSettings, { value: number; why: string }>>>;
  /** Trains adapters over a frozen base: the settings of LoRA apply to it. */
  trainsAdapters: boolean;
  /** Share of extra time that a step may take, by the paper and its sources; it only orders advice. */
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
  settings: MethodSettings;
  expectedSlowdown: number;
  /** The optimizer whose update it makes from a smaller state: a rate tuned for that one is right here. */
  sameUpdateAs?: string;
  /** Keeps less state than AdamW, and its quality. */
  isLean?: boolean;
}

function option(
  schema: TSchema,
  usual: MethodSetting["default"],
  what: string,
  rest: Pick<MethodSetting, "optimizer" | "flag"> = {},
): MethodSetting {
  return { schema, default: usual, what, ...rest };
}

const LORA_SETTINGS: MethodSettings = {
  rank: option(whole(1), 8, "rank R of the adapters"),
  alpha: option(above(0), 16, "adapters are scaled by alpha / rank"),
  dropout: option(number(0, 0.99), 0, "dropout on the adapters' input"),
  plusRatio: option(number(1), 1, "LoRA+: how much faster B learns than A; needs adamw", {
    optimizer: { id: "adamw", why: "only adamw has a rate for each parameter" },
  }),
  targets: option(
    Type.Enum(["query-value", "attention", "all-linear"]),
    "query-value",
    "matrices that get adapters",
  ),
  rankStabilized: option(Type.Boolean(), false, "scales adapters by alpha / √rank"),
  init: option(
    Type.Enum(["uniform", "normal"]),
    "uniform",
    "what A is drawn from: uniform ±1/√in as peft, or normal with deviation 1/rank, its gaussian",
  ),
};

const OVERFLOW_SKIPS_ALL =
  "an overflow must skip the whole update, parts of which have been applied by the time it is seen";
const FIRST_GRADIENTS_GONE =
  "gradients of the first micro-step are gone when the second one needs them: use a micro-batch as large " +
  "as the batch";
const NORM_TOO_LATE = "the norm of all gradients is not known when the first update is due";
const ONE_BASE = "both train LoRA adapters, over bases of different precision: name only one of them";

/** A method that takes no settings, excludes none and costs no time, where it does not say otherwise. */
function method(one: Pick<Method, "id" | "label" | "what"> & Partial<Method>): Method {
  return { settings: {}, excludes: {}, trainsAdapters: false, expectedSlowdown: 0, ...one };
}

/** The memory methods, in the order in which charts and the ladder list them. */
export const METHODS: readonly Method[] = [
  method({
    id: "accumulation",
    label: "gradient accumulation",
    what: "an optimizer step is split into micro-steps whose gradients are summed",
    excludes: { "optimizer-in-backward": FIRST_GRADIENTS_GONE },
    expectedSlowdown: 0.1,
    derivedFrom: "--batch-size and --micro-batch-size",
  }),
  method({
    id: "checkpoint",
    label: "checkpointing",
    short: "checkpointing",
    what: "activations inside a block are dropped and computed again in the backward pass",
    settings: {
      blocksPerCheckpoint: option(whole(1), 1, "blocks between kept activations"),
      selective: option(Type.Boolean(), false, "drop only what attention can compute again"),
    },
    expectedSlowdown: 0.2,
  }),
  method({
    id: "fp16",
    label: "mixed precision",
    what: "f16 activations and working weights over f32 master weights, with dynamic loss scaling",
    settings: {
      lossScale: option(number(1), 65536, "loss scale of the first step"),
      growthInterval: option(whole(1), 2000, "good steps before the scale doubles"),
    },
    excludes: { "optimizer-in-backward": OVERFLOW_SKIPS_ALL },
  }),
  method({
    id: "flash",
    label: "FlashAttention-2",
    short: "flash attention",
    what: "attention in tiles, without ever holding the T × T scores",
  }),
  method({
    id: "lora",
    label: "LoRA",
    short: "LoRA",
    what: "the base is frozen, low-rank adapters W + BA are trained",
    settings: LORA_SETTINGS,
    excludes: { "qlora-nf4": ONE_BASE, "qlora-int8": ONE_BASE },
    trainsAdapters: true,
  }),
  method({
    id: "qlora-nf4",
    label: "QLoRA, NF4",
    short: "QLoRA NF4",
    what: "LoRA over a base held in 4-bit NormalFloat with double quantization",
    settings: {
      ...LORA_SETTINGS,
      quantBlockSize: option(whole(32, 4096), 64, "weights that share one absmax"),
      doubleQuantization: option(Type.Boolean(), true, "the absmax values are quantized too"),
    },
    excludes: { "lora": ONE_BASE, "qlora-int8": ONE_BASE },
    trainsAdapters: true,
    expectedSlowdown: 0.15,
  }),
  method({
    id: "qlora-int8",
    label: "QLoRA, int8",
    short: "QLoRA int8",
    what: "LoRA over a base held in 8-bit integers, one scale a row",
    settings: LORA_SETTINGS,
    excludes: { "lora": ONE_BASE, "qlora-nf4": ONE_BASE },
    trainsAdapters: true,
    expectedSlowdown: 0.1,
  }),
  method({
    id: "optimizer-in-backward",
    label: "optimizer in backward",
    what: "each parameter is updated as soon as its gradient is there, which is then dropped",
    excludes: { "fp16": OVERFLOW_SKIPS_ALL, "accumulation": FIRST_GRADIENTS_GONE },
    requires: { clip: { value: 0, why: NORM_TOO_LATE } },
  }),
  method({
    id: "whole-logits",
    label: "whole logits",
    what: "the logits of all positions are held at once, as most trainers do: what the chunked loss is " +
      "compared with",
    costsMemory: true,
  }),
];

/** The rule of `ParameterSpec.decay`. */
const DECAYED =
  "of the matrices of linear layers, adapters and head; embeddings, a head tied to them, biases and norms " +
  "have none";
const DECOUPLED_DECAY = `decoupled weight decay ${DECAYED}`;

/** Both decays of Adam. */
const BETAS_FLAG = { name: "betas", value: "B1,B2", what: "decay of AdamW's moments" };
const BETAS: MethodSettings = {
  beta1: option(number(0, 0.999999), 0.9, "decay of the first moment", { flag: BETAS_FLAG }),
  beta2: option(number(0, 0.999999), 0.999, "decay of the second moment", { flag: BETAS_FLAG }),
};

/** The optimizers; defaults of AdamW are those of `torch.optim.AdamW`. */
export const OPTIMIZERS: readonly Optimizer[] = [
  {
    id: "adamw",
    label: "AdamW",
    what: "two f32 moments a parameter",
    settings: {
      ...BETAS,
      eps: option(above(0), 1e-8, "added to the root of the second moment"),
      weightDecay: option(number(0), 0.01, DECOUPLED_DECAY),
    },
    expectedSlowdown: 0,
  },
  {
    id: "adafactor",
    label: "Adafactor",
    what: "second moment as row and column means, no first moment",
    settings: {
      eps1: option(above(0), 1e-30, "added to squared gradients"),
      eps2: option(above(0), 1e-3, "smallest parameter scale"),
      clipThreshold: option(above(0), 1, "largest root mean square of an update"),
      decayRate: option(number(-1, 0), -0.8, "exponent of the second moment's decay"),
      beta1: option(number(0, 0.999999), null, "decay of a first moment; null keeps none"),
      relativeStep: option(Type.Boolean(), false, "takes min(1e-2, 1/sqrt(t)) instead of the learning rate"),
      warmupInit: option(Type.Boolean(), false, "relative steps start at 1e-6 t"),
      scaleParameter: option(Type.Boolean(), false, "scales the rate by each parameter's root mean square"),
      weightDecay: option(number(0), 0, DECOUPLED_DECAY),
    },
    expectedSlowdown: 0.1,
    isLean: true,
  },
  {
    id: "adamw8bit",
    label: "8-bit AdamW",
    what: "two moments a parameter in 8-bit blocks, those of embeddings in f32",
    settings: {
      ...BETAS,
      eps: option(above(0), 1e-8, "added to the root of the second moment"),
      weightDecay: option(number(0), 0.01, DECOUPLED_DECAY),
      quantizeEmbeddings: option(
        Type.Boolean(),
        false,
        "8-bit moments for embeddings too; single weights can then jump by thousands of learning rates, " +
          "where a rare token's second moment rounds to 0 beside a frequent one's",
      ),
    },
    expectedSlowdown: 0.03,
    sameUpdateAs: "adamw",
    isLean: true,
  },
  {
    id: "sgd",
    label: "SGD",
    what: "no state, or one f32 momentum a parameter",
    settings: {
      momentum: option(number(0, 0.999999), 0, "decay of the momentum; 0 keeps no state"),
      weightDecay: option(number(0), 0, `weight decay ${DECAYED}`),
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

/** Whether a combination trains adapters only. */
export function trainsAdapters(methods: readonly string[]): boolean {
  return METHODS.some(({ id, trainsAdapters }) => trainsAdapters && methods.includes(id));
}

/** `baseline` without any, else as `checkpointing + mixed precision`. */
export function methodsLabel(methods: readonly string[]): string {
  if (methods.length === 0) return "baseline";
  return METHODS.filter(({ id }) => methods.includes(id)).map(({ label }) => label).join(" + ");
}
