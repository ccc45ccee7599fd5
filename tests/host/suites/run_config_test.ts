import assert from "node:assert/strict";
import { parseFlags } from "../../../suites/cli/flags.ts";
import {
  configFromFlags,
  runOptions,
  trainingFlags,
  withFolderLora,
} from "../../../suites/cli/train_flags.ts";
import { trainFlags } from "../../../suites/config_flags.ts";
import { mergeSettings } from "../../../suites/merge_settings.ts";
import { parseNumber } from "../../../suites/setting_values.ts";
import { resolveSettings } from "../../../suites/resolve_settings.ts";
import { METHODS, methodsLabel, OPTIMIZERS } from "../../../results/methods.ts";
import { checkImplemented, checkMethods } from "../../../suites/methods.ts";
import type { RunConfig } from "../../../results/record.ts";

const EVERYTHING = {
  implementedMethods: METHODS.map(({ id }) => id),
  implementedOptimizers: OPTIMIZERS.map(({ id }) => id),
};
const SPEC = { name: "train", what: "", flags: trainingFlags(), examples: [] };

/** The configuration of a command line, given as one text. */
function parsed(text: string): RunConfig {
  const args = parseFlags(SPEC, text.split(" ").filter((word) => word !== ""));
  return configFromFlags(args!, EVERYTHING);
}
const refused = (text: string, message: RegExp) =>
  assert.throws(() => parsed(`--model gpt2-nano --data moby-dick ${text}`), { name: "InputError", message });

Deno.test("training defaults are those of torch.optim.AdamW and a constant rate", () => {
  assert.deepEqual(parsed("--model gpt2 --data moby-dick"), {
    model: "gpt2",
    data: "moby-dick",
    tokenizer: "gpt2",
    heldOutFraction: 0,
    sequenceLength: 128,
    microBatchSize: 4,
    gradientAccumulationSteps: 1,
    methods: [],
    methodOptions: {},
    optimizer: "adamw",
    optimizerOptions: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 },
    learningRate: 1e-3,
    schedule: "constant",
    warmupSteps: 0,
    clip: 1,
    dropout: 0,
    steps: 100,
    evaluateEvery: 0,
    heldOutWindows: 0,
    startFrom: null,
    alsoEvaluate: [],
    seed: 0,
    shuffle: true,
  });
});

Deno.test("flags set every field, and methods are sorted", () => {
  const config = parsed(
    "--model ./folder --data a.txt --steps 1e3 --batch-size 8 --micro-batch-size 2 --seq-len 64 --methods fp16,checkpoint,lora " +
      "--lr 3e-4 --betas 0.8,0.95 --eps 1e-6 --weight-decay 0 --schedule cosine --warmup-steps 10 --clip 0 --dropout .1 " +
      "--held-out 0.1 --eval-every 5 --held-out-windows 7 --seed 42 --no-shuffle --lora-rank 4 --fp16-loss-scale 1024 " +
      "--checkpoint-blocks-per-checkpoint 2 --lora-rank-stabilized true",
  );
  assert.deepEqual(config.methods, ["checkpoint", "fp16", "lora"]);
  assert.deepEqual([config.microBatchSize, config.gradientAccumulationSteps, config.steps], [2, 4, 1000]);
  assert.deepEqual(config.optimizerOptions, { beta1: 0.8, beta2: 0.95, eps: 1e-6, weightDecay: 0 });
  assert.equal(config.methodOptions.lora.rank, 4);
  assert.equal(config.methodOptions.lora.rankStabilized, true);
  assert.equal(config.methodOptions.lora.alpha, 16, "settings that no flag names are there too");
  assert.equal(config.methodOptions.fp16.lossScale, 1024);
  assert.equal(config.methodOptions.checkpoint.blocksPerCheckpoint, 2);
  assert.deepEqual([config.clip, config.dropout, config.shuffle, config.schedule], [0, 0.1, false, "cosine"]);
  assert.deepEqual([config.heldOutFraction, config.evaluateEvery, config.heldOutWindows], [0.1, 5, 7]);
  assert.equal(config.tokenizer, "model");
});

Deno.test("trainFlags() gives flags that parse into the same configuration", () => {
  const lines = [
    "--model gpt2-nano --data moby-dick",
    "--model gpt2-nano --data moby-dick --batch-size 8 --micro-batch-size 2 --methods lora --lora-rank 2 --lora-targets all-linear",
    "--model gpt2 --data a/b.u16 --optimizer sgd --momentum 0.9 --lr 0.1 --no-shuffle --tokenizer bytes --clip 0",
    "--model m/x --data d --optimizer adafactor --clip-threshold 2 --scale-parameter true --decay-rate -0.5 --beta1 0.9 --seed 9",
    "--model gpt2 --data d --methods qlora-nf4 --lora-rank 16 --qlora-quant-block-size 128 --betas 0.9,0.95",
    "--model gpt2 --data d --optimizer adamw8bit --weight-decay 0 --held-out 0.05 --steps 7 --schedule cosine",
    "--model gpt2 --data d --optimizer adamw8bit --quantize-embeddings true",
    "--model m/x --data d.jsonl --task classify --text-field a --label-field b --packing --overlong split",
  ];
  for (const line of lines) {
    const config = parsed(line);
    assert.deepEqual(parsed(trainFlags(config).join(" ")), config, line);
    assert.deepEqual(resolveSettings(config), config, "a configuration resolves to itself");
  }
  const spaced = resolveSettings({ model: "gpt2", data: "my 'own' text.txt" });
  assert.ok(trainFlags(spaced).includes(`'my '\\''own'\\'' text.txt'`), "words are quoted for a shell");
});

Deno.test("a run drops what a folder's configuration says unless it is told; a cell that repeats is told", () => {
  const open = (line: string) => {
    return runOptions(parsed(line), parseFlags(SPEC, line.split(" "))!, { presets: ["gpt2"] });
  };
  for (
    const [line, dropout] of [["m/x", "model"], ["m/x --dropout 0", 0], ["gpt2", 0], [
      "gpt2 --dropout 0.2",
      0.2,
    ]]
  ) {
    assert.equal(open(`--model ${line} --data d`).dropout, dropout, String(line));
  }
  assert.match(trainFlags(resolveSettings({ model: "m/x", data: "d" })).join(" "), / --dropout 0( |$)/);
  assert.doesNotMatch(trainFlags(resolveSettings({ model: "gpt2", data: "d" })).join(" "), /dropout/);

  const { scheduleSteps, given } = open("--model gpt2 --data d --schedule cosine --schedule-steps 8");
  assert.equal(scheduleSteps, 8);
  assert.deepEqual([...given].sort(), ["data", "model", "schedule"]);
  for (const steps of ["0", "1.5", "x"]) {
    assert.throws(() => open(`--model gpt2 --data d --schedule-steps ${steps}`), {
      name: "InputError",
      message: `Cannot use --schedule-steps ${steps}: expected a whole number of at least 1`,
    });
  }
});

Deno.test("wrong values are refused with flag, value given and value expected", () => {
  refused("--batch-size 0", /^Cannot use --batch-size 0: expected a whole number of at least 1$/);
  refused("--steps abc", /^Cannot use --steps abc: expected a whole number of at least 1$/);
  refused("--steps 1.5", /^Cannot use --steps 1\.5: expected a whole number of at least 1$/);
  refused("--steps -3", /^Cannot use --steps -3: /);
  refused("--steps 1e400", /^Cannot use --steps 1e400: /);
  refused("--seq-len 0x10", /^Cannot use --seq-len 0x10: /);
  refused("--seed -1", /^Cannot use --seed -1: expected a whole number from 0 to 4294967295$/);
  refused("--lr NaN", /^Cannot use --lr NaN: expected a number of at least 0$/);
  refused("--lr -1", /^Cannot use --lr -1: /);
  refused("--dropout 1", /^Cannot use --dropout 1: expected a number from 0 to 0\.99$/);
  refused(
    "--schedule cosin",
    /^Cannot use --schedule cosin: expected constant or cosine; did you mean cosine\?$/,
  );
  refused("--tokenizer bpe0", /^Cannot use --tokenizer bpe0: expected bytes, gpt2, model or bpe<size>/);
  refused(
    "--batch-size 6 --micro-batch-size 4",
    /^Cannot split --batch-size 6 by --micro-batch-size 4: expected a multiple of it$/,
  );
  refused("--batch-size 2 --micro-batch-size 4", /^Cannot split --batch-size 2 by --micro-batch-size 4/);
  refused("--methods fp61", /^Unknown method "fp61": expected .*did you mean fp16\?$/);
  refused("--methods fp16,fp16", /^Method fp16 is named twice$/);
  refused("--methods lora,qlora-int8", /^Cannot combine lora with qlora-int8: both train LoRA adapters/);
  refused("--optimizer adam", /^Unknown optimizer "adam": .*did you mean adamw\?$/);
  refused("--betas 0.9", /^Cannot use --betas 0\.9: expected two numbers, as 0\.9,0\.999$/);
  refused("--betas 0.9,1", /^Cannot use --betas 1: expected a number from 0 to 0\.999999$/);
  refused(
    "--quantize-embeddings true",
    /^Flag --quantize-embeddings does nothing here: expected adamw8bit to be in use$/,
  );
  refused(
    "--optimizer adamw8bit --quantize-embeddings 8",
    /^Cannot use --quantize-embeddings 8: expected true or false$/,
  );
  refused("--momentum 0.9", /^Flag --momentum does nothing here: expected sgd to be in use$/);
  refused(
    "--optimizer sgd --betas 0.9,0.9",
    /^Flag --betas does nothing here: expected adamw or adamw8bit to be in use$/,
  );
  refused(
    "--lora-rank 4",
    /^Flag --lora-rank does nothing here: expected lora or qlora-nf4 or qlora-int8 to be in use$/,
  );
  refused(
    "--methods lora --lora-rank 0",
    /^Cannot use --lora-rank 0: expected a whole number of at least 1$/,
  );
  refused(
    "--methods lora --lora-targets al-linear",
    /^Cannot use --lora-targets al-linear: .*did you mean all-linear\?$/,
  );
  refused("--batchsize 4", /^Unknown flag --batchsize of train; did you mean --batch-size\?$/);
  refused("--steps 3 --steps 4", /^Flag --steps is given twice$/);
  refused("--no-shuffle=yes", /^Flag --no-shuffle takes no value, got yes$/);
  refused("--steps --lr 3", /^Flag --steps needs a value: --steps N$/);
  refused("words", /^Unexpected argument words of train: expected flags only$/);
  assert.throws(
    () => parsed("--data d"),
    /^InputError: Missing --model: expected a preset, folder with config.json/,
  );
});

Deno.test("parseNumber() takes decimal numbers as people write them, and nothing else", () => {
  for (
    const [text, value] of [["12", 12], ["0.5", 0.5], [".5", 0.5], ["1e3", 1000], ["-2E-4", -2e-4], [
      "+3",
      3,
    ]] as const
  ) {
    assert.equal(parseNumber(text, "x", {}), value);
  }
  for (const text of ["", " 1", "1 ", "1_000", "0x1", "Infinity", "NaN", "1,5", "--", "e3", "1e"]) {
    assert.throws(() => parseNumber(text, "x", {}), { name: "InputError" }, text);
  }
});

Deno.test("effective batch size, micro-batch size and accumulation steps give each other", () => {
  const batch = (settings: Parameters<typeof resolveSettings>[0]) => {
    const { microBatchSize, gradientAccumulationSteps } = resolveSettings({
      model: "gpt2",
      data: "d",
      ...settings,
    });
    return [microBatchSize, gradientAccumulationSteps];
  };
  assert.deepEqual(batch({}), [4, 1]);
  assert.deepEqual(batch({ effectiveBatchSize: 8 }), [8, 1]);
  assert.deepEqual(batch({ effectiveBatchSize: 8, microBatchSize: 2 }), [2, 4]);
  assert.deepEqual(batch({ effectiveBatchSize: 8, gradientAccumulationSteps: 4 }), [2, 4]);
  assert.deepEqual(batch({ microBatchSize: 3 }), [3, 1]);
  assert.deepEqual(batch({ microBatchSize: 3, gradientAccumulationSteps: 5 }), [3, 5]);
  assert.throws(
    () => batch({ effectiveBatchSize: 8, gradientAccumulationSteps: 3 }),
    /Cannot split effectiveBatchSize 8 by gradient/,
  );
  assert.throws(
    () => batch({ effectiveBatchSize: 8, microBatchSize: 2, gradientAccumulationSteps: 2 }),
    /effectiveBatchSize 8 in micro-batches of 2 takes 4/,
  );
});

Deno.test("mergeSettings() merges options key by key and lets steps and tokens take each other's place", () => {
  const merged = mergeSettings(
    { steps: 5, methodOptions: { lora: { rank: 2, alpha: 1 } }, optimizerOptions: { eps: 1 } },
    undefined,
    {
      tokens: 7,
      methodOptions: { lora: { rank: 3 }, fp16: { lossScale: 2 } },
      optimizerOptions: { beta1: 0 },
    },
  );
  assert.deepEqual(merged, {
    tokens: 7,
    methodOptions: { lora: { rank: 3, alpha: 1 }, fp16: { lossScale: 2 } },
    optimizerOptions: { eps: 1, beta1: 0 },
  });
});

Deno.test("exclusions hold in either order, and every one names a method and says why", () => {
  const named = METHODS.filter(({ derivedFrom }) => !derivedFrom).map(({ id }) => id);
  for (const { id, excludes } of METHODS) {
    for (const [other, why] of Object.entries(excludes)) {
      assert.ok(why.length > 20, `${id} and ${other} need a sentence`);
      assert.ok(METHODS.find((method) => method.id === other)?.excludes[id], `${other} excludes ${id} too`);
      if (!named.includes(id) || !named.includes(other)) continue; // found from the settings, not from names
      assert.throws(() => checkMethods([id, other], "adamw"), /Cannot combine/);
      assert.throws(() => checkMethods([other, id], "adamw"), /Cannot combine/);
    }
  }
  refused(
    "--methods optimizer-in-backward --clip 0 --batch-size 4 --micro-batch-size 2",
    /^Cannot combine optimizer-in-backward with 2 micro-steps: gradients/,
  );
  refused(
    "--methods optimizer-in-backward",
    /^Cannot combine optimizer-in-backward with .*clip.*: the norm of all gradients/,
  );
  checkMethods(["checkpoint", "flash", "fp16", "lora"], "adafactor");
  assert.equal(methodsLabel(["flash", "checkpoint"]), "checkpointing + FlashAttention-2");
  assert.equal(methodsLabel([]), "baseline");
});

Deno.test("methods and optimizers that the engine does not train are refused by name", () => {
  const some = { implementedMethods: ["fp16"], implementedOptimizers: ["adamw"] };
  checkImplemented(["fp16"], "adamw", some);
  assert.throws(
    () => checkImplemented(["fp16", "flash"], "adamw", some),
    /method flash is not implemented.*implemented are fp16/,
  );
  assert.throws(() => checkImplemented([], "sgd", some), /optimizer sgd is not implemented/);
});

Deno.test("a run that goes on with an adapter leaves LoRA's settings to its folder, but for those that flags give", () => {
  const given = ["--model", "m", "--data", "d", "--methods", "lora,fp16", "--lora-alpha", "16"];
  const args = parseFlags(SPEC, given)!;
  const config = configFromFlags(args, EVERYTHING);
  assert.equal(config.methodOptions.lora.rank, 8);
  const { lora, fp16 } = withFolderLora(config, args).methodOptions;
  assert.deepEqual(lora, { alpha: 16, plusRatio: 1 });
  assert.deepEqual(fp16, config.methodOptions.fp16);
});

Deno.test("embeddings under 8-bit AdamW are quantized where that is asked for alone, and help says what it does", () => {
  const of = (more: string) => parsed(`--model gpt2 --data d --optimizer adamw8bit ${more}`).optimizerOptions;
  assert.equal(of("").quantizeEmbeddings, false);
  assert.equal(of("--quantize-embeddings true").quantizeEmbeddings, true);
  const flags = trainingFlags();
  assert.match(flags["quantize-embeddings"].what, /weights can then jump .* second moment rounds to 0/);
  assert.match(flags["weight-decay"].what, /of the matrices of linear layers, .* biases and norms have none/);
  for (const flag of ["quantize-embeddings", "relative-step"]) assert.equal(flags[flag].value, "true|false");
});
