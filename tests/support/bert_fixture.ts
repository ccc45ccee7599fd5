import { openSafetensors } from "../../engine/formats/safetensors.ts";
import { PADDING_SEGMENT } from "../../kernels/attention_shapes.ts";
import { type ModelFixture, modelFixture } from "./model_fixture.ts";
import type { FixtureBatch } from "./model_gradients.ts";

/** The heads in tests/fixtures/bert_tiny. */
export type BertTask = "classification" | "masked_lm";

export interface BertFixture extends ModelFixture {
  /** Batches of the steps, in order; every sequence of a batch is padded on the right. */
  batches: Required<Omit<FixtureBatch, "positions">>[];
}

/** @param folder Of the model; one that is like BERT has the same batches, of one token type. */
export async function bertFixture(task: BertTask, folder = "bert_tiny"): Promise<BertFixture> {
  const fixture = await modelFixture(`${folder}/${task}`);
  using file = await openSafetensors(
    `${import.meta.dirname}/../fixtures/bert_tiny/data.safetensors`,
  );
  const read = async (name: string) => {
    const numbers = new Int32Array((await file.readBytes(name)).buffer);
    const [steps] = file.info(name).shape;
    const size = numbers.length / steps;
    return Array.from({ length: steps }, (_, k) => numbers.subarray(k * size, (k + 1) * size));
  };
  const masked = task === "masked_lm";
  const tokens = await read(masked ? "masked_input_ids" : "input_ids");
  const targets = await read(masked ? "masked_labels" : "labels");
  const tokenTypes = await read("token_type_ids");
  const attentionMask = await read("attention_mask");
  return {
    ...fixture,
    batches: tokens.map((ids, k) => ({
      tokens: ids,
      targets: targets[k],
      tokenTypes: folder === "bert_tiny" ? tokenTypes[k] : tokenTypes[k].map(() => 0),
      segments: Array.from(attentionMask[k], (isToken) => (isToken ? 0 : PADDING_SEGMENT)),
    })),
  };
}
