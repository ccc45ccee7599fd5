import { openSafetensors } from "../../engine/formats/safetensors.ts";
import { readTokenFile } from "../../engine/formats/token_file.ts";
import { type Model, modelOf, readModelConfig } from "../../engine/model/config.ts";
import type { TrainOptions } from "../../engine/train/options.ts";

/** A model of Hugging Face transformers with random weights, and what PyTorch computed from it. */
export interface ModelFixture {
  /** The fixture's folder, with a slash at its end. */
  folder: string;
  model: Model;
  modelFolder: string;
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
  /** Logits of the first batch, or of its first sequences. */
  logits(): Promise<Float32Array>;
}

/** A fixture whose steps read windows of a token file. */
export interface LanguageModelFixture extends ModelFixture {
  tokenFile: string;
  tokens: Uint32Array<ArrayBuffer>;
}

/** @param name Folder in tests/fixtures. */
export async function modelFixture(name: string): Promise<ModelFixture> {
  const folder = `${import.meta.dirname}/../fixtures/${name}/`;
  const expected = JSON.parse(await Deno.readTextFile(`${folder}expected.json`));
  const read = async (file: string, tensor: string) => {
    using source = await openSafetensors(`${folder}${file}`);
    return await source.read(tensor);
  };
  return {
    folder,
    model: modelOf(await readModelConfig(`${folder}model`)),
    modelFolder: `${folder}model`,
    batchSize: expected.batchSize,
    sequenceLength: expected.sequenceLength,
    expected,
    gradient: (parameter) => read("expected.safetensors", `grad.${parameter}`),
    weight: (parameter) => read("model/model.safetensors", parameter),
    logits: () => read("expected.safetensors", "logits"),
  };
}

/** @param name Folder in tests/fixtures. */
export async function languageModelFixture(name: string): Promise<LanguageModelFixture> {
  const fixture = await modelFixture(name);
  const tokenFile = `${fixture.folder}tokens.u16`;
  return { ...fixture, tokenFile, tokens: await readTokenFile(tokenFile) };
}

/**
 * Complete options of a run on the fixture's tokens: torch.optim.AdamW's
 * defaults, constant rate, no clipping.
 */
export function fixtureOptions(
  fixture: LanguageModelFixture,
  changes: Partial<TrainOptions> = {},
): TrainOptions {
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
