import { openSafetensors } from "../../engine/formats/safetensors.ts";
import { readTokenFile } from "../../engine/formats/token_file.ts";
import { type Model, modelOf, readModelConfig } from "../../engine/model/config.ts";
import type { TrainOptions } from "../../engine/train/options.ts";

const FOLDER = new URL("../fixtures/gpt2_tiny/", import.meta.url).pathname;

/** A GPT-2 of Hugging Face transformers with random weights, and what PyTorch computed from it. */
export interface Gpt2Fixture {
  model: Model;
  modelFolder: string;
  tokenFile: string;
  tokens: Uint32Array<ArrayBuffer>;
  batchSize: number;
  sequenceLength: number;
  expected: {
    firstLoss: number;
    runs: Record<string, { losses: number[]; gradNorms: number[] }>;
  };
  /** Gradients of the first batch's mean loss, by parameter. */
  gradient(name: string): Promise<Float32Array>;
  /** Stored weights, by parameter. */
  weight(name: string): Promise<Float32Array>;
}

export async function gpt2Fixture(): Promise<Gpt2Fixture> {
  const expected = JSON.parse(await Deno.readTextFile(`${FOLDER}expected.json`));
  const read = async (file: string, name: string) => {
    using source = await openSafetensors(`${FOLDER}${file}`);
    return await source.read(name);
  };
  return {
    model: modelOf(await readModelConfig(`${FOLDER}model`)),
    modelFolder: `${FOLDER}model`,
    tokenFile: `${FOLDER}tokens.u16`,
    tokens: await readTokenFile(`${FOLDER}tokens.u16`),
    batchSize: expected.batchSize,
    sequenceLength: expected.sequenceLength,
    expected,
    gradient: (name) => read("expected.safetensors", `grad.${name}`),
    weight: (name) => read("model/model.safetensors", name),
  };
}

/** Complete options of a run on the fixture's tokens: torch.optim.AdamW's defaults, constant rate, no clipping. */
export function fixtureOptions(fixture: Gpt2Fixture, changes: Partial<TrainOptions> = {}): TrainOptions {
  return {
    model: fixture.modelFolder,
    data: fixture.tokenFile,
    tokenizer: "model",
    heldOutFraction: 0,
    sequenceLength: fixture.sequenceLength,
    microBatchSize: fixture.batchSize,
    gradientAccumulationSteps: 1,
    methods: [],
    methodOptions: {},
    optimizer: "adamw",
    optimizerOptions: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 },
    learningRate: 1e-3,
    schedule: "constant",
    warmupSteps: 0,
    clip: 0,
    dropout: 0,
    steps: 20,
    evaluateEvery: 0,
    heldOutWindows: 0,
    seed: 0,
    shuffle: false,
    ...changes,
  };
}
