import assert from "node:assert/strict";
import { openAdapter } from "../../../engine/formats/peft.ts";
import { saveAdapter } from "../../../engine/train/adapters.ts";
import { TemporaryFolder } from "../../host/formats/temporary_folder.ts";
import { bertFixture } from "../../support/bert_fixture.ts";
import { assertClose } from "../../support/numerics.ts";
import { lossesOnBatches } from "../../support/train_on_batches.ts";
import { deviceTest } from "../../support/with_device.ts";

const FOLDER = `${import.meta.dirname}/../../fixtures/peft_bert/`;
const LORA = {
  rank: 4,
  alpha: 8,
  dropout: 0,
  targetModules: ["query", "value"],
  rankStabilized: false,
};

Deno.test(
  "LoRA on BERT trains adapters and classifier as peft does, and saves both",
  deviceTest,
  async () => {
    const expected = JSON.parse(await Deno.readTextFile(`${FOLDER}expected.json`));
    const fixture = await bertFixture("classification");
    using folder = new TemporaryFolder();
    const run = { learningRate: 1e-2, weightDecay: 0 };
    const losses = await lossesOnBatches(fixture, fixture.batches, { lora: LORA }, {
      ...run,
      adapter: `${FOLDER}adapter_initial`,
      async then(session, parameters) {
        const trained = parameters.filter(({ trainable }) => trainable).map(({ master }) => master.shape);
        const count = trained.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b), 0);
        assert.equal(count, expected.trainedParameters);
        await saveAdapter(folder.path, session, parameters, LORA, {
          baseModel: "base",
          objective: "sequence-label",
        });
      },
    });
    // Two correct f32 implementations; the losses of the fixture are within 2e-7 of those in f64.
    assertClose(losses, expected.losses, 1e-5, "loss");

    const [ours, theirs] = await Promise.all([openAdapter(folder.path), openAdapter(`${FOLDER}adapter`)]);
    using own = ours.tensors;
    using reference = theirs.tensors;
    assert.deepEqual(own.names().toSorted(), reference.names().toSorted());
    assert.deepEqual([ours.config.taskType, ours.config.modulesToSave], ["SEQ_CLS", ["classifier"]]);
    for (const name of reference.names()) {
      // 20 steps of at most 1e-2, whose direction AdamW takes from gradients that differ by roundings.
      assertClose(await own.read(name), await reference.read(name), 1e-3, name);
    }
    const [again] = await lossesOnBatches(fixture, fixture.batches.slice(0, 1), { lora: LORA }, {
      ...run,
      adapter: folder.path,
    });
    assertClose([again], [expected.evaluationLossAfter], 1e-5, "loss of the saved adapter");
  },
);
