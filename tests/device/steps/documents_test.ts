import assert from "node:assert/strict";
import { evaluate, type Evaluation } from "../../../engine/train/evaluate.ts";
import type { StepReport, TrainOptions } from "../../../engine/train/options.ts";
import { trainOn } from "../../../engine/train/train.ts";
import { TemporaryFolder } from "../../host/formats/temporary_folder.ts";
import { assertClose } from "../../support/numerics.ts";
import { tinyOptions } from "../../support/tiny_options.ts";
import { deviceTest, sharedDevice } from "../../support/with_device.ts";

/** Questions and answers of many lengths. */
const PAIRS = Array.from({ length: 24 }, (_, i) => ({
  prompt: "why ".repeat(1 + i % 3).trim(),
  response: "because".slice(0, 2 + i % 6),
}));

async function losses(options: TrainOptions): Promise<StepReport[]> {
  const steps: StepReport[] = [];
  const device = await sharedDevice();
  const result = await trainOn(device, options, { onStep: (step) => steps.push(step) });
  assert.equal(result.bookedPeakBytes, result.plannedPeakBytes);
  return steps;
}

for (const model of ["gpt2-nano", "llama-nano"]) {
  Deno.test(`packed documents evaluate to the loss of padded ones: ${model}`, deviceTest, async () => {
    using folder = new TemporaryFolder();
    const data = folder.file("pairs.jsonl", PAIRS.map((pair) => JSON.stringify(pair)).join("\n"));
    const options = tinyOptions({ model, data }, { sequenceLength: 96, microBatchSize: 5 });
    const of = (packing: boolean): Promise<Evaluation> => evaluate({ ...options, packing, adapter: null });
    const [packed, padded] = [await of(true), await of(false)];
    assert.deepEqual([packed.targets, packed.tokens], [padded.targets, padded.tokens]);
    // The replies with their spaces: there is no end-of-text token among bytes.
    assert.equal(padded.targets, PAIRS.reduce((sum, { response }) => sum + response.length + 1, 0));
    assertClose([packed.loss], [padded.loss], 1e-6, "loss");
    assert.ok(packed.loss > 5 && packed.loss < 6, "that of a random model over 256 bytes");
  });
}

Deno.test("packed replies train alike however a step is split, and learn", deviceTest, async () => {
  using folder = new TemporaryFolder();
  const data = folder.file("pairs.jsonl", PAIRS.map((pair) => JSON.stringify(pair)).join("\n"));
  const options = tinyOptions({ model: "gpt2-nano", data }, {
    sequenceLength: 96,
    packing: true,
    steps: 6,
  });
  const whole = await losses(options);
  const split = await losses({ ...options, microBatchSize: 2, gradientAccumulationSteps: 4 });
  const of = (steps: StepReport[]) => steps.map(({ loss }) => loss);
  assert.deepEqual(split.map(({ targets }) => targets), whole.map(({ targets }) => targets));
  assert.ok(whole.every(({ targets, tokens }) => targets < tokens && tokens < 8 * 96));
  // The same sums in another order; AdamW's first steps follow signs, which lets
  // roundings of small gradients grow.
  assertClose(of(split), of(whole), 1e-4, "loss");
  assert.ok(whole.at(-1)!.loss < whole[0].loss - 1, of(whole).join());
});
