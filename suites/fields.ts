import type { RunConfig } from "../results/record.ts";

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
