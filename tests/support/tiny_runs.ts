import type { StepReport, TrainOptions, TrainResult } from "../../engine/train/options.ts";
import type { Plan } from "../../engine/plan/plan.ts";
import { plannedKernels } from "../../engine/runtime/planned_kernels.ts";
import { prepareModel } from "../../engine/train/prepare.ts";
import { trainOn } from "../../engine/train/train.ts";
import { planStep, stepSettings } from "../../engine/train/trainer.ts";
import { methodById, optimizerById } from "../../suites/methods.ts";
import { sharedDevice } from "./with_device.ts";
import { defaults } from "./setting_defaults.ts";

/** Methods, gradient accumulation among them by the name `accumulation`, and an optimizer. */
export interface Combination {
  methods: readonly string[];
  optimizer: string;
}

/** A finished run of a combination. */
export interface TinyRun {
  steps: StepReport[];
  result: TrainResult;
  /** The plan of the same step made without the device. */
  plan: Plan;
}

/** Runs of one small pretrained model on one device. */
export interface TinyRuns extends AsyncDisposable {
  run(combination: Combination, changes?: Partial<TrainOptions>): Promise<TinyRun>;
  /** A folder with the configuration alone, of a model with random weights and so many words. */
  untrainedModel(vocabularySize: number): Promise<string>;
}

const VOCABULARY = 64;
const SEQUENCE = 16;
/**
 * Sequences in a step; with accumulation in two micro-steps. Not fewer: lavapipe
 * compiles kernels that loop over at most 32 rows anew in every dispatch, with
 * the loop unrolled, which takes ten times as long as the step.
 */
const BATCH = 8;
/** Settings that show an effect in a few steps of a model this small; others have their defaults. */
const METHOD_OPTIONS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  lora: { rank: 4, targets: "all-linear" },
  "qlora-nf4": { rank: 4, targets: "all-linear" },
  "qlora-int8": { rank: 4, targets: "all-linear" },
};
/** Steps as large as each optimizer bears: plain gradient descent needs more than those that normalise. */
const LEARNING_RATES: Readonly<Record<string, number>> = { sgd: 0.2 };
const LEARNING_RATE = 0.01;

/**
 * Makes a GPT-2 of two layers and 32 channels in a temporary folder and teaches it that token x is followed
 * by 5x + 3 modulo 64. Runs then start from it, on data in which x is followed by 13x + 7: something to
 * learn, as in fine-tuning, and certain once learned.
 */
export async function openTinyRuns(): Promise<TinyRuns> {
  const folder = await Deno.makeTempDir({ prefix: "tiny-runs-" });
  const [base, old, fresh] = [`${folder}/base`, `${folder}/old.u16`, `${folder}/fresh.u16`];
  await Deno.mkdir(base);
  await Deno.writeTextFile(`${base}/config.json`, JSON.stringify(CONFIG));
  await writeTokens(old, (x) => 5 * x + 3);
  await writeTokens(fresh, (x) => 13 * x + 7);
  const device = await sharedDevice();
  const plain = { methods: [], optimizer: "adamw" };
  await trainOn(device, { ...options(base, old, plain), steps: 30 }, {}, { save: base });
  return {
    async run(combination, changes = {}) {
      const chosen = { ...options(base, fresh, combination), ...changes };
      const steps: StepReport[] = [];
      const result = await trainOn(device, chosen, { onStep: (step) => steps.push(step) });
      const { plan } = planStep(
        stepSettings(await prepareModel(chosen), chosen),
        plannedKernels(device.gpu.kernels.kind),
      );
      return { steps, result, plan };
    },
    async untrainedModel(vocabularySize) {
      const model = `${folder}/untrained-${vocabularySize}`;
      await Deno.mkdir(model);
      const config = { ...CONFIG, vocab_size: vocabularySize, n_positions: 64 };
      await Deno.writeTextFile(`${model}/config.json`, JSON.stringify(config));
      return model;
    },
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

const CONFIG = {
  model_type: "gpt2",
  architectures: ["GPT2LMHeadModel"],
  vocab_size: VOCABULARY,
  n_positions: SEQUENCE,
  n_embd: 32,
  n_layer: 2,
  n_head: 2,
};

/** Both maps go through all tokens before they come back to the first one (Hull & Dobell 1962). */
async function writeTokens(path: string, next: (token: number) => number): Promise<void> {
  const tokens = new Uint16Array(8 * BATCH * SEQUENCE + 1);
  for (let i = 1; i < tokens.length; i++) tokens[i] = next(tokens[i - 1]) % VOCABULARY;
  await Deno.writeFile(path, new Uint8Array(tokens.buffer));
}

function options(model: string, data: string, { methods, optimizer }: Combination): TrainOptions {
  const accumulate = methods.includes("accumulation");
  const named = methods.filter((id) => id !== "accumulation");
  return {
    model,
    data,
    tokenizer: "model",
    heldOutFraction: 0,
    sequenceLength: SEQUENCE,
    microBatchSize: accumulate ? BATCH / 2 : BATCH,
    gradientAccumulationSteps: accumulate ? 2 : 1,
    methods: named,
    methodOptions: Object.fromEntries(
      named.map((id) => [id, { ...defaults(methodById(id).settings), ...METHOD_OPTIONS[id] }]),
    ),
    optimizer,
    optimizerOptions: defaults(optimizerById(optimizer).settings) as TrainOptions["optimizerOptions"],
    learningRate: LEARNING_RATES[optimizer] ?? LEARNING_RATE,
    schedule: "constant",
    warmupSteps: 0,
    clip: 0,
    dropout: 0,
    steps: 8,
    evaluateEvery: 0,
    heldOutWindows: 0,
    seed: 0,
    shuffle: false,
  };
}
