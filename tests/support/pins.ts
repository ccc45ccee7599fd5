import { createHash } from "node:crypto";
import { elementCount } from "../../engine/graph/types.ts";
import type { AdapterDescription } from "../../engine/runtime/gpu.ts";
import { initialValues } from "../../engine/train/initial_values.ts";
import { emptyBatch } from "../../engine/train/layout.ts";
import type { TrainOptions } from "../../engine/train/options.ts";
import { prepare, prepareModel } from "../../engine/train/prepare.ts";
import { trainingBatches } from "../../engine/train/sequences.ts";
import { trainOn } from "../../engine/train/train.ts";
import { cpuName } from "../../suites/environment.ts";
import { methodById, optimizerById } from "../../suites/methods.ts";
import { tinyOptions } from "./tiny_options.ts";
import { sharedDevice } from "./with_device.ts";
import { defaults } from "./setting_defaults.ts";

/**
 * Pins of the engine's numerics: what small cells start from, see and lose, as the number of
 * `engine/numerics.ts` has it. They lie in `tests/fixtures/numerics/pins.json`, one entry a number, and are
 * written by `deno task pins` alone.
 */

/** Losses of the pinned cells on one adapter. */
export interface PinnedLosses {
  /** Adapter, driver and implementation of WebGPU: bits are theirs. */
  place: string;
  cells: Record<string, PinnedCell>;
}

/** What a pinned cell came to. */
export interface PinnedCell {
  /** Of each step, then held out where the cell has something held out. */
  losses: number[];
  /** Of each step: they show small changes that a mean over many targets rounds away. */
  gradientNorms: number[];
}

/** What one number of the numerics stands for. */
export interface PinEntry {
  numerics: number;
  /** sha256 of what does not depend on the adapter: initial weights and the order of data. */
  start: Record<string, string>;
  losses: PinnedLosses[];
  /** sha256 of the entry before it, null of the first: entries that have one after them are not changed. */
  before: string | null;
}

export const PINS_FILE = new URL("../fixtures/numerics/pins.json", import.meta.url);

/** Entries in the text of the file, oldest first. */
export function entriesIn(text: string): PinEntry[] {
  return JSON.parse(text).entries;
}

/** The text of the file. */
export function textOf(entries: readonly PinEntry[]): string {
  const about = "Written by `deno task pins`, see engine/numerics.ts. Never edited by hand.";
  return `${JSON.stringify({ about, entries }, null, 1)}\n`;
}

export function hashOfEntry(entry: PinEntry): string {
  return createHash("sha256").update(JSON.stringify(entry)).digest("hex");
}

/** What is wrong with entries, given the number of the numerics: a sentence each. */
export function problemsOf(entries: readonly PinEntry[], numerics: number): string[] {
  const problems = entries.slice(1).flatMap((entry, i) => {
    const before = entries[i];
    return [
      ...entry.numerics === before.numerics + 1
        ? []
        : [`numerics ${entry.numerics} follow ${before.numerics}`],
      ...entry.before === hashOfEntry(before) ? [] : [`the pins of numerics ${before.numerics} were changed`],
      ...isChanged(before, entry) ? [] : [`numerics ${entry.numerics} have the pins of ${before.numerics}`],
    ];
  });
  const last = entries.at(-1)?.numerics;
  if (last !== numerics) {
    problems.push(`the last pins are of numerics ${last}, engine/numerics.ts has ${numerics}`);
  }
  return problems;
}

/** Whether two entries differ in what both pin. */
function isChanged(before: PinEntry, entry: PinEntry): boolean {
  const places = entry.losses.flatMap(({ place, cells }) => {
    const old = before.losses.find((losses) => losses.place === place);
    return old ? [[old.cells, cells]] : [];
  });
  return places.length === 0 || JSON.stringify(before.start) !== JSON.stringify(entry.start) ||
    places.some(([old, now]) => JSON.stringify(old) !== JSON.stringify(now));
}

/**
 * What an adapter's bits are known by. A software adapter is a program, so that its processor counts, too.
 */
export async function placeOf(adapter: AdapterDescription): Promise<string> {
  const { name, driver, providerVersion, software } = adapter;
  return [name, driver, providerVersion, software ? await cpuName() : null].filter(Boolean).join(" | ");
}

/** A few steps of small models that take most kernels between them. */
export const PINNED_CELLS: Readonly<Record<string, TrainOptions>> = {
  "dropout, held-out loss": cell({ dropout: 0.1, heldOutFraction: 0.01, heldOutWindows: 8 }),
  "accumulation, warm-up and cosine": cell({
    microBatchSize: 4,
    gradientAccumulationSteps: 2,
    schedule: "cosine",
    warmupSteps: 2,
  }),
  "mixed precision and flash attention": cell({ methods: ["flash", "fp16"], dropout: 0.1 }),
  "8-bit AdamW": cell({ optimizer: "adamw8bit" }),
  "Adafactor and checkpointing": cell({ optimizer: "adafactor", methods: ["checkpoint"] }),
  "adapters over NF4, of a Llama": cell({ model: "llama-nano", methods: ["qlora-nf4"], learningRate: 0.02 }),
  "SGD, of a BERT": cell({
    model: "bert-nano-mlm",
    tokenizer: "bpe512",
    optimizer: "sgd",
    learningRate: 0.1,
  }),
};

function cell({ methods = [], optimizer = "adamw", ...changes }: Partial<TrainOptions>): TrainOptions {
  return tinyOptions({ model: "gpt2-pico", data: "moby-dick" }, {
    sequenceLength: 32,
    clip: 1,
    steps: 8,
    seed: 7,
    methods,
    methodOptions: Object.fromEntries(methods.map((id) => [id, defaults(methodById(id).settings)])),
    optimizer,
    optimizerOptions: defaults(optimizerById(optimizer).settings) as TrainOptions["optimizerOptions"],
    ...changes,
  });
}

/** Whether a cell's losses are those of f16, which adapters without it do not compute. */
export function needsF16({ methods }: TrainOptions): boolean {
  return methods.includes("fp16");
}

/** Trains a pinned cell on the shared device. */
export async function trainPinned(options: TrainOptions): Promise<PinnedCell> {
  const [losses, gradientNorms]: number[][] = [[], []];
  const { heldOut } = await trainOn(await sharedDevice(), options, {
    onStep: ({ loss, gradientNorm }) => {
      losses.push(loss);
      gradientNorms.push(gradientNorm);
    },
  });
  return { losses: [...losses, ...heldOut.map(({ loss }) => loss)], gradientNorms };
}

/** Hashes of what pinned cells start from and see, by what it is. Needs no adapter. */
export async function startHashes(): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const model of ["gpt2-pico", "llama-nano", "bert-nano-mlm"]) {
    const { parameters } = await prepareModel(cell({ model, tokenizer: "bpe512" }));
    const tensors = parameters.map(({ name, init, shape }) => ({
      name,
      init,
      elementCount: elementCount({ shape }),
    }));
    const hash = createHash("sha256");
    // One by one, because sections come in any order.
    for (const tensor of tensors) {
      const sections: { firstElement: number; values: Float32Array }[] = [];
      for await (const { firstElement, values } of initialValues([tensor], 7)) {
        sections.push({ firstElement, values: values.slice() });
      }
      sections.sort((a, b) => a.firstElement - b.firstElement);
      hash.update(tensor.name);
      for (const { values } of sections) hash.update(new Uint8Array(values.buffer));
    }
    hashes[`weights of ${model}`] = hash.digest("hex");
  }
  for (const [model, tokenizer] of [["gpt2-pico", "bytes"], ["bert-nano-mlm", "bpe512"]]) {
    const options = cell({ model, tokenizer, heldOutFraction: 0.01 });
    const batches = trainingBatches((await prepare(options)).split.training, options);
    const into = emptyBatch(8, options.sequenceLength);
    const hash = createHash("sha256");
    // The end of an epoch is in it: each is shuffled anew.
    for (const first of [0, batches.sequenceCount - 12]) {
      batches.seek(first);
      for (let k = 0; k < 4; k++) {
        batches.next(8, into);
        hash.update(new Uint8Array(into.tokens.buffer)).update(new Uint8Array(into.targets.buffer));
      }
    }
    hashes[`tokens of ${model}, ${tokenizer}`] = hash.digest("hex");
  }
  return hashes;
}
