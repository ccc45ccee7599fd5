import { type Command, EXIT } from "../command.ts";
import { OFFLINE_FLAG, pinnedField, withPinnedModel } from "../hub_model.ts";
import { applyGpuFlags, GPU_FLAGS } from "../gpu_flags.ts";
import { scoresText } from "../scores_text.ts";
import { configFromFlags, trainingFlags } from "../train_flags.ts";

const { model, data, tokenizer, seed, "seq-len": sequenceLength, "batch-size": batchSize, ...rest } =
  trainingFlags();

/** `deno task eval`: mean loss of a model over whole data, with perplexity or with accuracy and F1. */
export const evaluate: Command = {
  spec: {
    name: "eval",
    what: "Mean loss and perplexity of a model over whole data, or accuracy and F1 where it has labels.",
    flags: {
      model,
      data,
      task: rest.task,
      "text-field": rest["text-field"],
      "label-field": rest["label-field"],
      packing: rest.packing,
      overlong: rest.overlong,
      tokenizer,
      "seq-len": sequenceLength,
      "batch-size": { ...batchSize, what: "sequences in one forward pass" },
      windows: { value: "N", what: "sequences to evaluate; 0 is all", default: "0" },
      seed: { ...seed, what: "seed of a preset's random weights" },
      adapter: { value: "DIR", what: "folder of a trained adapter to apply first" },
      offline: OFFLINE_FLAG,
      ...GPU_FLAGS,
      json: { what: "one JSON document on standard output" },
    },
    examples: [
      "deno task eval --model out --data moby-dick",
      "deno task eval --model out --data notes.txt --json",
      "deno task eval --model base --task classify --adapter out \\",
      "    --data reviews.jsonl   (a base without a classifier)",
    ],
  },
  async run(args, services) {
    applyGpuFlags(args);
    const { engine, print } = services;
    const { windows, adapter, ...values } = args.values;
    const flags = {
      ...args,
      values: windows === undefined ? values : { ...values, "held-out-windows": windows },
    };
    const config = await withPinnedModel(configFromFlags(flags, engine), args, services, "model");
    const { loss, targets, tokens, scores } = await engine.evaluate({ ...config, adapter: adapter ?? null });
    const perplexity = Math.exp(loss);
    const pinned = pinnedField(config, args);
    if (args.switches.has("json")) {
      print(JSON.stringify({ loss, perplexity, targets, tokens, ...scores, ...pinned }));
    } else {
      const found = scores ? scoresText(scores) : `, perplexity ${perplexity.toFixed(2)}`;
      print(`loss ${loss.toFixed(4)}${found}, over ${targets} targets`);
    }
    return EXIT.done;
  },
};
