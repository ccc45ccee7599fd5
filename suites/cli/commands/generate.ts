import { InputError } from "../../../mod.ts";
import { type Command, EXIT } from "../command.ts";
import { applyGpuFlags, GPU_FLAGS } from "../gpu_flags.ts";
import { OFFLINE_FLAG, withPinnedModel } from "../hub_model.ts";
import { parseNumber } from "../../setting_values.ts";
import { trainingFlags } from "../train_flags.ts";

const { model, seed } = trainingFlags();

/** `deno task generate`: continues a text. */
export const generate: Command = {
  spec: {
    name: "generate",
    what:
      "Continues a text, to see what training did. The text appears as it is made; without --temperature always the most " +
      "probable token. There is no cache of keys and values: every token runs the whole sequence.",
    flags: {
      model,
      adapter: { value: "DIR", what: "folder of a trained adapter to apply first" },
      prompt: { value: "TEXT", what: "the text to continue" },
      chat: { what: "take the prompt for what a user says, by the model's chat template" },
      "max-new-tokens": { value: "N", what: "tokens to add at most", default: "64" },
      temperature: { value: "X", what: "what logits are divided by; 0 takes the largest", default: "0" },
      "top-p": { value: "P", what: "draw among the most probable tokens of this share", default: "1" },
      seed: { ...seed, what: "seed of what is drawn, and of a preset's random weights" },
      tokenizer: { value: "NAME", what: "bytes, gpt2, or model (the folder's own)", default: "the model's" },
      offline: OFFLINE_FLAG,
      ...GPU_FLAGS,
      json: { what: "one JSON document on standard output, at the end" },
    },
    examples: [
      'deno task generate --model out --prompt "Call me"',
      'deno task generate --model ./gpt2 --adapter out --prompt "Once" \\',
      "    --temperature 0.8 --top-p 0.9 --seed 1 --max-new-tokens 200",
    ],
  },
  async run(args, services) {
    applyGpuFlags(args);
    const { values, switches } = args;
    const { engine, print, write } = services;
    if (!values.model) throw new InputError(`Missing --model: expected a ${model.what}`);
    if (values.prompt === undefined) throw new InputError("Missing --prompt: expected the text to continue");
    if (!engine.generate) throw new InputError("Cannot generate: this engine does not");
    const count = { type: "integer", minimum: 1 };
    const options = {
      model: values.model,
      adapter: values.adapter ?? null,
      prompt: values.prompt,
      chat: switches.has("chat"),
      tokenizer: values.tokenizer ?? null,
      maxNewTokens: parseNumber(values["max-new-tokens"] ?? "64", "--max-new-tokens", count),
      temperature: parseNumber(values.temperature ?? "0", "--temperature", { minimum: 0 }),
      topP: parseNumber(values["top-p"] ?? "1", "--top-p", { exclusiveMinimum: 0, maximum: 1 }),
      seed: parseNumber(values.seed ?? "0", "--seed", { type: "integer", minimum: 0 }),
    };
    if (options.temperature === 0 && values["top-p"] !== undefined) {
      throw new InputError("Flag --top-p does nothing at temperature 0: expected --temperature above 0");
    }
    const json = switches.has("json");
    const pinned = await withPinnedModel(options, args, services, "model");
    const made = await engine.generate(pinned, (text) => json || write(text));
    if (json) {
      const { temperature, topP, seed } = options;
      print(JSON.stringify({ model: pinned.model, ...made, temperature, topP, seed }));
    } else write("\n");
    if (made.stopped === "context") services.note("ended: the model's context is full");
    return EXIT.done;
  },
};
