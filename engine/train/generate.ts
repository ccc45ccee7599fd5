import { chatTemplateOf } from "../formats/chat_template.ts";
import { inputExists, readJsonInput } from "../formats/input_file.ts";
import { openWeights } from "../formats/safetensors.ts";
import type { Tokenizer } from "../formats/tokenizer.ts";
import { InputError } from "../input_error.ts";
import { modelOf } from "../model/config.ts";
import { openGpu } from "../runtime/device.ts";
import { loadAdapter, readFolderAdapter } from "./adapters.ts";
import { LogitsProgram } from "./logits.ts";
import { resolveModel } from "./model_source.ts";
import { defaultTokenizer, openTokenizer } from "./prepare.ts";
import { keyedRandom } from "./random.ts";
import { nextToken, type Sampling } from "./sampling.ts";
import { specialTokens } from "./special_tokens.ts";
import { initializeWeights, loadWeights } from "./weights.ts";

/** What to continue, and how. */
export interface GenerateOptions extends Sampling {
  /** A preset, a model of the hub, or a folder with config.json. */
  model: string;
  /** PEFT folder of an adapter to apply, or null. */
  adapter: string | null;
  /** As text; or as ids, which are taken as they are. */
  prompt: string | readonly number[];
  /** Takes the prompt for what a user says, by the model's chat template, and lets the assistant reply. */
  chat: boolean;
  /** `bytes`, `gpt2`, or `model`; null is the model's own, and bytes for a preset without one. */
  tokenizer: string | null;
  /** Tokens to add at most. */
  maxNewTokens: number;
  /** Seed of the draws, and of weights where the model has none. */
  seed: number;
}

/** What a model made of a prompt. */
export interface Generation {
  /** Without the prompt. */
  text: string;
  /** Ids of the new tokens, the one that ended the text included. */
  tokens: number[];
  /** Tokens that were continued, a token that marks the start of a text included. */
  promptTokens: number;
  /**
   * Why it ended: the model ended the text, as many tokens as asked for, or no room in the model's context.
   */
  stopped: "end" | "length" | "context";
}

/**
 * Continues a text. Every token runs the whole sequence through one static graph of prompt and new tokens:
 * there is no cache of keys and values, so a token costs as much as the sequence is long. The same options,
 * adapter and version give the same text.
 *
 * @param onText Told about new text as soon as it is known.
 * @throws {InputError} for a model that does not predict next tokens, and a
 * prompt that leaves no room for one.
 */
export async function generate(
  options: GenerateOptions,
  onText: (text: string) => void = () => {},
): Promise<Generation> {
  const { config, folder } = await resolveModel(options.model);
  const tokenizer = await tokenizerFor(options, folder);
  const vocabularySize = config.vocabularySize || tokenizer?.vocabularySize || 0;
  const model = modelOf({ ...config, vocabularySize });
  if (model.objective !== "next-token") {
    throw new InputError(
      `Cannot generate with ${options.model}: it does not predict next tokens, expected a model of the families gpt2 or llama`,
    );
  }
  const prompt = promptTokens(options, tokenizer, vocabularySize);
  const room = config.positionCount - prompt.length;
  if (room < 1) {
    throw new InputError(
      `Cannot continue a prompt of ${prompt.length} tokens with ${options.model}: it has ${config.positionCount} ` +
        `positions, expected a prompt of at most ${config.positionCount - 1}`,
    );
  }
  const count = Math.min(options.maxNewTokens, room);
  const ends = await endTokens(folder, tokenizer);
  const tokens: number[] = [];
  const text = new GrowingText(tokenizer, prompt, onText);
  for await (const token of newTokens(options, { model, folder, prompt, count })) {
    tokens.push(token);
    if (ends.has(token)) return { text: text.end(), tokens, promptTokens: prompt.length, stopped: "end" };
    text.add(token);
  }
  const stopped = count < options.maxNewTokens ? "context" : "length";
  return { text: text.end(), tokens, promptTokens: prompt.length, stopped };
}

/** One token after the other, from a device that is open as long as they are asked for. */
async function* newTokens(
  { model: name, adapter, seed, ...sampling }: GenerateOptions,
  { model, folder, prompt, count }: {
    model: ReturnType<typeof modelOf>;
    folder: string | null;
    prompt: readonly number[];
    count: number;
  },
): AsyncGenerator<number> {
  using source = folder === null ? null : await openWeights(folder);
  if (folder !== null && source === null) {
    throw new InputError(
      `Cannot generate with ${name}: the folder has no weights, expected model.safetensors`,
    );
  }
  const lora = adapter === null ? undefined : (await readFolderAdapter(adapter, model.parameters)).settings;
  const gpu = await openGpu();
  try {
    const program = await LogitsProgram.open(gpu, {
      model,
      microBatchSize: 1,
      sequenceLength: prompt.length + count,
      methods: lora ? { lora } : {},
    });
    const { session, parameters } = program;
    if (source) await loadWeights(session, parameters, source);
    else await initializeWeights(session, parameters, seed);
    if (adapter !== null) await loadAdapter(session, parameters, adapter);
    const random = keyedRandom(seed, "generate");
    const sequence = [...prompt];
    for (let made = 0; made < count; made++) {
      // What stands behind the last token is not seen by it.
      const logits = await program.computeRow({ tokens: sequence }, sequence.length - 1);
      const token = nextToken(logits, sampling, random);
      sequence.push(token);
      yield token;
    }
    program.close();
  } finally {
    gpu.device.destroy();
  }
}

/** Null where the prompt is tokens and the model's folder has no tokenizer. */
async function tokenizerFor(
  { model, prompt, tokenizer }: GenerateOptions,
  folder: string | null,
): Promise<Tokenizer | null> {
  if (tokenizer?.startsWith("bpe")) {
    throw new InputError(
      `Cannot use the tokenizer ${tokenizer} to generate: it is trained on data; expected model, gpt2 or bytes`,
    );
  }
  const usual = defaultTokenizer(model);
  const name = tokenizer ?? (usual.startsWith("bpe") ? "bytes" : usual);
  if (name === "model" && typeof prompt !== "string" && !await inputExists(`${folder}/tokenizer.json`)) {
    return null;
  }
  return await openTokenizer(name, folder, "");
}

/** @throws {InputError} for an empty prompt, and for tokens that the model does not have. */
function promptTokens(
  { model, prompt, chat }: GenerateOptions,
  tokenizer: Tokenizer | null,
  vocabularySize: number,
): number[] {
  const ids = typeof prompt === "string" ? textTokens(prompt, chat, tokenizer!) : [...prompt];
  if (ids.length === 0) throw new InputError("Cannot continue an empty prompt: expected at least one token");
  const unknown = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabularySize);
  if (unknown === undefined) return ids;
  throw new InputError(
    `Cannot continue the prompt with ${model}: token ${unknown} is not below its vocabulary of ${vocabularySize}`,
  );
}

function textTokens(prompt: string, chat: boolean, tokenizer: Tokenizer): number[] {
  const said = [{ role: "user", content: prompt }];
  const text = chat ? chatTemplateOf(tokenizer).render(said, { reply: true, place: "the prompt" }) : prompt;
  const ids = [...tokenizer.encode(text)];
  const { begin } = specialTokens(tokenizer);
  // Many templates write it themselves.
  return begin === null || ids[0] === begin ? ids : [begin, ...ids];
}

/** What ends a text: as generation_config.json or config.json says, or else the tokenizer. */
async function endTokens(folder: string | null, tokenizer: Tokenizer | null): Promise<ReadonlySet<number>> {
  if (folder !== null) {
    for (const name of ["generation_config.json", "config.json"]) {
      const path = `${folder}/${name}`;
      if (!await inputExists(path)) continue;
      const { eos_token_id: ids } = await readJsonInput(path);
      if (typeof ids === "number") return new Set([ids]);
      if (Array.isArray(ids)) return new Set(ids as number[]);
    }
  }
  const end = tokenizer === null ? null : specialTokens(tokenizer).end;
  return new Set(end === null ? [] : [end]);
}

/** The text of tokens, passed on as far as no further token can change it. */
class GrowingText {
  readonly #tokenizer: Tokenizer | null;
  readonly #tokens: number[];
  readonly #promptLength: number;
  readonly #onText: (text: string) => void;
  #told = "";

  constructor(tokenizer: Tokenizer | null, prompt: readonly number[], onText: (text: string) => void) {
    this.#tokenizer = tokenizer;
    this.#tokens = [...prompt];
    this.#promptLength = this.#decode().length;
    this.#onText = onText;
  }

  add(token: number): void {
    this.#tokens.push(token);
    // Half a character is shown as U+FFFD until its other bytes come.
    this.#tell(this.#new().replace(/\uFFFD+$/, ""));
  }

  /** The whole text, its last piece told. */
  end(): string {
    const text = this.#new();
    this.#tell(text);
    return text;
  }

  #tell(text: string): void {
    if (text.length <= this.#told.length || !text.startsWith(this.#told)) return;
    this.#onText(text.slice(this.#told.length));
    this.#told = text;
  }

  /** Decoded with the prompt: some tokenizers leave the space before a first word out. */
  #new(): string {
    return this.#decode().slice(this.#promptLength);
  }

  #decode(): string {
    if (this.#tokenizer === null) return "";
    const { vocabularySize } = this.#tokenizer;
    // A model's vocabulary may be rounded up: what it has beyond its tokenizer's stands for nothing.
    return this.#tokenizer.decode(this.#tokens.filter((token) => token < vocabularySize));
  }
}
