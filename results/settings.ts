/**
 * Every setting of a training run, declared once. What else speaks of settings is taken from here: the suite
 * schema (`suites/schema.json`), the check of records, flags and their help, what two cells must share to be
 * compared, what a plan depends on. docs/decisions/0018 says why, and how the engine's options stand to it.
 */
import { type Static, type TInteger, type TNumber, type TSchema, Type } from "typebox";
import { METHOD_IDS, OPTIMIZER_IDS } from "./methods.ts";
import { cellId, mapOf, number, orNull, type ValueRule, whole } from "./schema_parts.ts";

/** A setting: its type, its flag, and what hangs on it. */
export interface Setting<Held extends TSchema = TSchema, Given extends TSchema = Held> {
  /**
   * What a configuration holds. `Type.Optional` where the default is left out, as it must be of a setting
   * that earlier records do not have.
   */
  schema: Held & ValueRule;
  /** What a suite gives, where a configuration holds something else. */
  given?: Given;
  /** One phrase, for `--help` and schemas. */
  what: string;
  /** Sentences that schemas say after it. */
  more?: string;
  default?: unknown;
  /** What help calls the default where it follows from something else. */
  defaultText?: string;
  /** The flag with what stands for its value, as `seq-len T`; one without turns the default around. */
  flag?: string;
  /** What its values name outside the file. */
  names?: "model" | "data" | "method" | "optimizer";
  /** What labels of cells call it, where its own name is too long; empty where the value says all. */
  axis?: string;
  /** Whether memory hangs on its value, or only on whether it is above one that is off. */
  memory: boolean | { above: number };
  /**
   * What becomes of cells that differ in it: they are kept apart, compared as if they did not, or compared
   * because they do.
   */
  compare: "apart" | "freely" | "switched";
  /** Whether a held-out loss hangs on it beside the weights. */
  heldOut?: true;
  /** Whether ids of cells count it only where it is not the default: they are older than the setting. */
  late?: true;
}

/** Settings by name. */
export type SettingTable = Readonly<Record<string, Setting>>;

/** As a declaration is written; keeps what the schemas are. */
export function setting<Held extends TSchema, Given extends TSchema = Held>(
  schema: Held,
  rest: Omit<Setting<Held, Given>, "schema">,
): Setting<Held, Given> {
  return { schema, ...rest };
}

const name = () => Type.String({ minLength: 1 });
const names = () => Type.Array(name(), { uniqueItems: true });

/** A number, or the word for the one that a sweep decides. */
function orWord<Word extends string>(schema: TNumber | TInteger, word: Word) {
  return Type.Unsafe<number | Word>({ ...schema, type: [schema.type, "string"], pattern: `^${word}$` });
}

/** A cell of an earlier phase, as a suite names it: the one with the same seed is meant. */
const CellReference = Type.Object({
  phase: Type.String({ minLength: 1, description: "Name of an earlier phase." }),
  label: Type.String({ minLength: 1, description: "Label of one of its cells." }),
}, { additionalProperties: false });
export type CellReference = Static<typeof CellReference>;

// deno-fmt-ignore
/** What a configuration holds, in the order in which it is written. */
export const RUN_SETTINGS = {
  model: setting(name(), {
    what: "preset, folder with config.json, or owner/name[@revision] on the hub",
    flag: "model M", names: "model", axis: "", memory: true, compare: "apart",
  }),
  startFrom: setting(orNull(cellId()), {
    given: CellReference,
    what: "cell of an earlier phase whose trained weights to start from",
    more: "The one with the same seed; in records that cell's id, or null: `model` as it is.",
    default: null, memory: false, compare: "apart", late: true,
  }),
  data: setting(name(), {
    what: "text, .jsonl, .json, .parquet or token file (.u16, .u32, .npy), or corpus",
    flag: "data D", names: "data", axis: "", compare: "apart",
    memory: true, // the vocabulary of a token file, the labels of examples
  }),
  task: setting(Type.Optional(Type.Enum(["own", "classify"])), {
    what: "classify gives a BERT of another task a new classifier",
    default: "own", flag: "task WHAT", memory: true, compare: "apart", heldOut: true,
  }),
  textField: setting(Type.Optional(name()), {
    what: "field of .jsonl, .json and .parquet files with the text",
    more: "Absent from records: `text`, or a conversation.",
    default: "text", flag: "text-field NAME", memory: false, compare: "apart", heldOut: true,
  }),
  labelField: setting(Type.Optional(name()), {
    what: "field with the label, for models that classify",
    default: "label", flag: "label-field NAME", compare: "apart", heldOut: true,
    memory: true, // a preset has as many classes as the field has labels
  }),
  packing: setting(Type.Optional(Type.Boolean()), {
    what: "put short documents together in a sequence; each sees only itself",
    default: false, flag: "packing", compare: "apart", heldOut: true,
    memory: true, // the segments of the tokens
  }),
  overlong: setting(Type.Optional(Type.Enum(["refuse", "truncate", "split"])), {
    what: "what becomes of documents longer than a sequence",
    default: "refuse", flag: "overlong WHAT", memory: false, compare: "apart", heldOut: true,
  }),
  tokenizer: setting(
    Type.String({
      pattern: "^(bytes|gpt2|model|bpe[1-9][0-9]*)$",
      title: "bytes, gpt2, model or bpe<size>",
      examples: ["bytes", "gpt2", "model"],
    }),
    {
      what: "bytes, gpt2, bpe<size>, or model (the folder's own)",
      defaultText: "the model's", flag: "tokenizer NAME", memory: true, compare: "apart", heldOut: true,
    },
  ),
  heldOutFraction: setting(number(0, 0.9), {
    what: "share of the data, at its end, kept for evaluation",
    default: 0, flag: "held-out SHARE", memory: { above: 0 }, compare: "apart", heldOut: true,
  }),
  sequenceLength: setting(whole(1), {
    what: "tokens in a sequence",
    default: 128, flag: "seq-len T", axis: "T", memory: true, compare: "apart", heldOut: true,
  }),
  microBatchSize: setting(whole(1), {
    what: "sequences in one forward and backward pass",
    defaultText: "the batch size", flag: "micro-batch-size b", axis: "micro-batch", memory: true,
    compare: "freely",
  }),
  gradientAccumulationSteps: setting(whole(1), {
    what: "micro-steps in an optimizer step",
    more: "Follows from effectiveBatchSize and microBatchSize where both are given.",
    memory: { above: 1 }, // gradients outlive a micro-step
    compare: "freely",
  }),
  methods: setting(Type.Array(Type.String(), { uniqueItems: true }), {
    what: `memory methods: ${METHOD_IDS.join(", ")}`,
    default: [], flag: "methods a,b", names: "method", memory: true, compare: "switched",
  }),
  methodOptions: setting(mapOf(mapOf(Type.Unknown())), {
    what: "settings of the methods",
    more: "By method: `{ lora: { rank: 8 } }`.",
    memory: true, compare: "switched",
  }),
  optimizer: setting(Type.String(), {
    what: OPTIMIZER_IDS.join(", "),
    default: "adamw", flag: "optimizer O", names: "optimizer", memory: true, compare: "switched",
  }),
  optimizerOptions: setting(
    mapOf(Type.Unsafe<number | boolean | null>({ type: ["number", "boolean", "null"] })),
    {
      what: "settings of the optimizer",
      more: "As `{ weightDecay: 0.01 }`. For adamw8bit, `{ quantizeEmbeddings: true }` has the moments of " +
        "embeddings in 8 bits, too: single weights of rare tokens can then jump by thousands of learning " +
        "rates.",
      memory: true, compare: "switched",
    },
  ),
  learningRate: setting(number(0), {
    given: orWord(number(0), "tuned"),
    what: "learning rate",
    more: "Before learningRateRule; `tuned` is what the rate sweep before it decides for the optimizer.",
    default: 1e-3, flag: "lr X", axis: "lr", memory: false, compare: "freely",
  }),
  schedule: setting(Type.Enum(["constant", "cosine"]), {
    what: "course of the learning rate",
    default: "constant", flag: "schedule NAME", memory: false, compare: "apart",
  }),
  warmupSteps: setting(whole(0), {
    what: "steps in which the rate rises from 0",
    default: 0, flag: "warmup-steps N", memory: false, compare: "freely",
  }),
  clip: setting(number(0), {
    what: "largest global gradient norm; 0 is off",
    default: 1, flag: "clip NORM", memory: { above: 0 }, compare: "apart",
  }),
  dropout: setting(number(0, 0.99), {
    what: "dropout probability; 0 is off",
    default: 0, defaultText: "as config.json has it; 0 for presets", flag: "dropout P", memory: { above: 0 },
    compare: "apart",
  }),
  steps: setting(whole(1), {
    what: "optimizer steps",
    more: "Give either steps or tokens.",
    default: 100, flag: "steps N", memory: false, compare: "freely",
  }),
  evaluateEvery: setting(whole(0), {
    what: "steps between held-out losses; 0 is at the end alone",
    more: "Another one is taken before step 0, and one at the end.",
    default: 0, flag: "eval-every N", memory: false, compare: "freely",
  }),
  heldOutWindows: setting(whole(0), {
    what: "held-out windows in an evaluation; 0 is all",
    default: 0, flag: "held-out-windows N", memory: false, compare: "freely", heldOut: true,
  }),
  alsoEvaluate: setting(names(), {
    what: "other data to take held-out losses on, at the same points",
    default: [], flag: "also-evaluate D,D", names: "data", memory: false, compare: "freely", late: true,
  }),
  seed: setting(whole(0, 2 ** 32 - 1), {
    what: "seed of weights, order and dropout",
    more: "A phase's seeds take its place.",
    default: 0, flag: "seed S", memory: false, compare: "freely",
  }),
  shuffle: setting(Type.Boolean(), {
    what: "take windows in order",
    more: "Where it is false; else the seed shuffles them.",
    default: true, flag: "no-shuffle", memory: false, compare: "freely",
  }),
};

// deno-fmt-ignore
/** What is given in place of settings that a configuration holds, and resolved into them. */
export const GIVEN_SETTINGS = {
  effectiveBatchSize: setting(whole(1), {
    given: orWord(whole(1), "chosen"),
    what: "sequences in an optimizer step",
    more: "`chosen` is what the preceding batch sweep decides.",
    default: 4, defaultText: "the micro-batch size, or 4", flag: "batch-size B", axis: "batch", memory: false,
    compare: "apart",
  }),
  tokens: setting(whole(1), {
    what: "tokens to train on; gives the steps",
    more: "So that all batch sizes see equal tokens.",
    memory: false, compare: "freely",
  }),
  warmupTokens: setting(whole(0), {
    what: "tokens in which the rate rises from 0; gives the warm-up steps",
    more: "So that all batch sizes have one schedule in tokens.",
    memory: false, compare: "freely",
  }),
  learningRateRule: setting(Type.Enum(["constant", "square-root", "linear"]), {
    what: "how the rate follows the effective batch size",
    default: "constant", memory: false, compare: "freely",
  }),
  learningRateBatchSize: setting(whole(1), {
    what: "effective batch size at which the rate holds as given",
    memory: false, compare: "freely",
  }),
};

/** All that can be given. */
export const SETTINGS = { ...RUN_SETTINGS, ...GIVEN_SETTINGS };

/** The name of the flag that sets it. */
export function flagName({ flag }: Setting): string | undefined {
  return flag?.split(" ")[0];
}

/** All that can be given for the settings of a table. */
export function givenSettings(table: SettingTable = RUN_SETTINGS): SettingTable {
  return { ...table, ...GIVEN_SETTINGS };
}

type Value<S> = S extends Setting<infer Held, infer Given> ? Static<Held> | Static<Given> : never;

/** Settings as suites and flags give them. */
export type Settings = { [Name in keyof typeof SETTINGS]?: Value<typeof SETTINGS[Name]> };

/** A schema with a description of its own. What TypeBox marks it with cannot be enumerated, and stays. */
export function described<T extends TSchema>(schema: T, description: string): T {
  return Object.defineProperties({}, {
    ...Object.getOwnPropertyDescriptors(schema),
    description: { value: description, enumerable: true },
  }) as T;
}

/** What schemas say of a setting. */
export function description({ what, more }: Setting): string {
  return more === undefined ? what : `${what}. ${more}`;
}

/** The schema of what a run depends on. */
export function runConfigOf<Table extends SettingTable>(table: Table) {
  const properties = Object.fromEntries(
    Object.entries(table).map(([name, one]) => [name, described(one.schema, description(one))]),
  );
  return Type.Object(properties as { [Name in keyof Table]: Table[Name]["schema"] }, {
    description:
      "Everything a training run depends on, nothing left to defaults. Part of the cell's identity.",
  });
}

/** Everything a training run depends on, nothing left to defaults. Part of the cell's identity. */
export const RunConfig = runConfigOf(RUN_SETTINGS);
export type RunConfig = Static<typeof RunConfig>;

/** What a configuration has of the settings that a rule names. */
export function partOf(
  config: RunConfig,
  isMeant: (setting: Setting) => boolean,
  table: SettingTable = RUN_SETTINGS,
): Record<string, unknown> {
  const values: Record<string, unknown> = config;
  return Object.fromEntries(
    Object.entries(table).filter(([, one]) => isMeant(one)).map(([name]) => [name, values[name]]),
  );
}
