import { openSafetensors } from "../../engine/formats/safetensors.ts";
import { modelOf, readModelConfig } from "../../engine/model/config.ts";
import { nextTokenDocuments, packDocuments } from "../../engine/train/documents.ts";
import { emptyBatch } from "../../engine/train/layout.ts";
import { type BatchArrays, heldOutBatches } from "../../engine/train/sequences.ts";
import type { ModelFixture } from "./model_fixture.ts";

/** The models in tests/fixtures/packed. */
export const PACKED_MODELS = ["gpt2", "llama", "bert"] as const;

export interface PackedFixture extends Omit<ModelFixture, "expected" | "logits"> {
  expected: { firstLoss: number };
  losses: number[];
  /** The documents of each step, packed into one batch. */
  batches: BatchArrays[];
}

/** Sequences in a batch; those that the documents do not need are masked. */
const BATCH = 4;
const SEQUENCE = 37;

/** What transformers computed for documents one by one, and the same documents packed. */
export async function packedFixture(name: typeof PACKED_MODELS[number]): Promise<PackedFixture> {
  const fixtures = `${import.meta.dirname}/../fixtures/`;
  const folder = `${fixtures}packed/${name}/`;
  const { model: source, firstLoss, losses, steps } = JSON.parse(
    await Deno.readTextFile(`${folder}expected.json`),
  );
  const modelFolder = `${fixtures}${source}`;
  const read = async (file: string, tensor: string) => {
    using tensors = await openSafetensors(file);
    return await tensors.read(tensor);
  };
  return {
    folder,
    modelFolder,
    model: modelOf(await readModelConfig(modelFolder)),
    batchSize: BATCH,
    sequenceLength: SEQUENCE,
    expected: { firstLoss },
    losses,
    batches: steps.map(name === "bert" ? packedWithLabels : packed),
    gradient: (parameter) => read(`${folder}expected.safetensors`, `grad.${parameter}`),
    weight: (parameter) => read(`${modelFolder}/model.safetensors`, parameter),
  };
}

interface Step {
  tokens: number[][];
  labels: number[][];
}

/** The engine's own packing of documents whose next tokens are to be predicted. */
function packed({ tokens }: Step): BatchArrays {
  const documents = tokens.map((ids) => ({ tokens: Uint32Array.from(ids), trained: null, place: "" }));
  const batch = emptyBatch(BATCH, SEQUENCE);
  const sequences = nextTokenDocuments(packDocuments(documents, SEQUENCE), SEQUENCE);
  const written = [...heldOutBatches(sequences, batch, { microBatchSize: BATCH })].length;
  if (written !== 1) throw new Error(`Packed a step into ${written} batches, expected one`);
  return batch;
}

/** The same for documents whose targets are given: packed like their tokens. */
function packedWithLabels({ tokens, labels }: Step): BatchArrays {
  const batch = packed({ tokens, labels });
  const documents = tokens.map((ids, d) => ({ tokens: Uint32Array.from(ids), trained: null, place: `${d}` }));
  for (const [row, bin] of packDocuments(documents, SEQUENCE).entries()) {
    const own = bin.flatMap(({ place }) => labels[Number(place)]);
    batch.targets.fill(-100, row * SEQUENCE, (row + 1) * SEQUENCE);
    batch.targets.set(own, row * SEQUENCE);
  }
  return batch;
}
