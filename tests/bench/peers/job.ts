import { join } from "node:path";
import type { Hyperparameters, PeerJob, PeerShape } from "./protocol.ts";
import { seededRandom } from "../../../results/stats.ts";
import { modelConfigJson } from "../../../engine/model/config.ts";
import { NO_DROPOUT } from "../../../engine/model/dropout.ts";

/** The shapes that peers are compared at. */
export const SHAPES: Readonly<Record<string, PeerShape>> = {
  S: {
    name: "S",
    layerCount: 4,
    hiddenSize: 128,
    headCount: 4,
    sequenceLength: 128,
    batchSize: 4,
    vocabularySize: 512,
  },
  M: {
    name: "M",
    layerCount: 6,
    hiddenSize: 384,
    headCount: 6,
    sequenceLength: 256,
    batchSize: 2,
    vocabularySize: 8192,
  },
  /** Not for figures: small enough for a test. */
  tiny: {
    name: "tiny",
    layerCount: 1,
    hiddenSize: 16,
    headCount: 2,
    sequenceLength: 8,
    batchSize: 2,
    vocabularySize: 32,
  },
};

/** Defaults of torch.optim.AdamW. */
export const HYPERPARAMETERS: Hyperparameters = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.999,
  eps: 1e-8,
  weightDecay: 0.01,
};

/** Writes configuration and tokens of a job into `folder`; the weights are still to be written. */
export async function writeJob(folder: string, shape: PeerShape, steps: number): Promise<PeerJob> {
  const config = modelConfigJson({
    family: "gpt2",
    vocabularySize: shape.vocabularySize,
    positionCount: shape.sequenceLength,
    hiddenSize: shape.hiddenSize,
    layerCount: shape.layerCount,
    headCount: shape.headCount,
    feedForwardSize: 4 * shape.hiddenSize,
    normEpsilon: 1e-5,
    initializerRange: 0.02,
    tiedHead: true,
    dropout: NO_DROPOUT,
  });
  await Deno.writeTextFile(join(folder, "config.json"), JSON.stringify(config));
  const tokenFile = join(folder, "tokens.u16");
  const count = steps * shape.batchSize * shape.sequenceLength + 1;
  await Deno.writeFile(tokenFile, new Uint8Array(someTokens(count, shape.vocabularySize).buffer));
  return { shape, hyperparameters: HYPERPARAMETERS, modelFolder: folder, tokenFile };
}

/** Tokens with something to learn: three in four follow from the one before. */
export function someTokens(count: number, vocabularySize: number): Uint16Array<ArrayBuffer> {
  const random = seededRandom(1);
  const tokens = new Uint16Array(count);
  for (let i = 1; i < count; i++) {
    tokens[i] = random() < 0.25 ? random() * vocabularySize : (3 * tokens[i - 1] + 1) % vocabularySize;
  }
  return tokens;
}
