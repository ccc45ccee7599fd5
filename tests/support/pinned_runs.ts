import type { TrainOptions } from "../../engine/train/options.ts";
import { trainOn } from "../../engine/train/train.ts";
import { driverSettings } from "../ci/run_tests.ts";
import { methodById, optimizerById } from "../../suites/methods.ts";
import { placeOf } from "./pins.ts";
import { tinyOptions } from "./tiny_options.ts";
import { sharedDevice } from "./with_device.ts";
import { defaults } from "./setting_defaults.ts";

/**
 * Training runs that between them go through every method, every optimizer and
 * every model family, alone and in full stacks: what a change that should change
 * no number is held to, bit for bit. `pins.ts` has fewer, for every test run.
 */
export interface PinnedRun {
  name: string;
  options: TrainOptions;
}

const STEPS = 10;

function run(
  name: string,
  model: string,
  { methods = [], optimizer = "adamw", methodOptions = {}, ...changes }: Partial<TrainOptions> = {},
): PinnedRun {
  const bert = model === "bert-nano";
  return {
    name,
    options: tinyOptions({ model, data: bert ? "random" : "moby-dick" }, {
      tokenizer: bert || model.endsWith("-mlm") ? "bpe512" : "bytes",
      sequenceLength: 40,
      microBatchSize: 4,
      steps: STEPS,
      methods,
      methodOptions: Object.fromEntries(
        methods.map((id) => [id, { ...defaults(methodById(id).settings), ...methodOptions[id] }]),
      ),
      optimizer,
      optimizerOptions: defaults(optimizerById(optimizer).settings) as TrainOptions["optimizerOptions"],
      learningRate: optimizer === "sgd" ? 0.1 : 3e-3,
      ...changes,
    }),
  };
}

const ACCUMULATED = { microBatchSize: 2, gradientAccumulationSteps: 2 };

/** The runs, in order. */
export const PINNED_RUNS: readonly PinnedRun[] = [
  run("gpt2 plain", "gpt2-pico"),
  run("gpt2 accumulation", "gpt2-pico", ACCUMULATED),
  run("gpt2 checkpoint", "gpt2-pico", { methods: ["checkpoint"] }),
  run("gpt2 fp16", "gpt2-pico", { methods: ["fp16"] }),
  run("gpt2 flash", "gpt2-pico", { methods: ["flash"] }),
  run("gpt2 fp16 flash", "gpt2-pico", { methods: ["flash", "fp16"] }),
  run("gpt2 lora", "gpt2-pico", { methods: ["lora"] }),
  run("gpt2 qlora-nf4", "gpt2-pico", { methods: ["qlora-nf4"] }),
  run("gpt2 qlora-int8", "gpt2-pico", { methods: ["qlora-int8"] }),
  run("gpt2 optimizer-in-backward", "gpt2-pico", { methods: ["optimizer-in-backward"], clip: 0 }),
  run("gpt2 whole-logits", "gpt2-pico", { methods: ["whole-logits"] }),
  run("gpt2 sgd", "gpt2-pico", { optimizer: "sgd" }),
  run("gpt2 adafactor", "gpt2-pico", { optimizer: "adafactor" }),
  run("gpt2 adamw8bit", "gpt2-pico", { optimizer: "adamw8bit" }),
  run("gpt2 dropout", "gpt2-pico", { dropout: 0.1 }),
  run("gpt2 dropout flash", "gpt2-pico", { dropout: 0.1, methods: ["flash"] }),
  run("gpt2 full stack adafactor", "gpt2-pico", {
    methods: ["checkpoint", "flash", "fp16"],
    optimizer: "adafactor",
    ...ACCUMULATED,
  }),
  run("gpt2-nano full stack adamw8bit", "gpt2-nano", {
    methods: ["checkpoint", "flash", "fp16"],
    optimizer: "adamw8bit",
    sequenceLength: 128,
    ...ACCUMULATED,
  }),
  run("gpt2-nano plain", "gpt2-nano", { sequenceLength: 128 }),
  run("llama plain", "llama-nano"),
  run("llama full stack", "llama-nano", {
    methods: ["checkpoint", "flash", "fp16"],
    optimizer: "adamw8bit",
    ...ACCUMULATED,
  }),
  run("llama qlora-nf4 stack", "llama-nano", { methods: ["checkpoint", "flash", "fp16", "qlora-nf4"] }),
  run("bert classification", "bert-nano", { sequenceLength: 32 }),
  run("bert hidden tokens, fp16 flash adafactor", "bert-nano-mlm", {
    methods: ["flash", "fp16"],
    optimizer: "adafactor",
    sequenceLength: 32,
  }),
];

/** Where the losses lie; this file writes them: `deno run -A tests/support/pinned_runs.ts`. */
export const PINNED_RUNS_FILE = new URL("../fixtures/numerics/runs.json", import.meta.url);

/** Losses of a run's steps. */
export async function lossesOf({ options }: PinnedRun): Promise<number[]> {
  const losses: number[] = [];
  await trainOn(await sharedDevice(), options, { onStep: ({ loss }) => losses.push(loss) });
  return losses;
}

if (import.meta.main) {
  for (const [name, value] of Object.entries(driverSettings())) Deno.env.set(name, value);
  const place = await placeOf((await sharedDevice()).gpu.adapter);
  const runs: Record<string, number[]> = {};
  for (const run of PINNED_RUNS) runs[run.name] = await lossesOf(run);
  await Deno.writeTextFile(PINNED_RUNS_FILE, `${JSON.stringify({ place, runs }, null, 1)}\n`);
}
