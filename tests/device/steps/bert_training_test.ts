import assert from "node:assert/strict";
import { openSafetensors } from "../../../engine/formats/safetensors.ts";
import { evaluate } from "../../../engine/train/evaluate.ts";
import type { StepReport, TrainOptions } from "../../../engine/train/options.ts";
import { type TrainExtras, trainOn } from "../../../engine/train/train.ts";
import { TemporaryFolder } from "../../host/formats/temporary_folder.ts";
import { assertClose } from "../../support/numerics.ts";
import { tinyOptions } from "../../support/tiny_options.ts";
import { deviceTest, sharedDevice } from "../../support/with_device.ts";

/** Two layers of 32 channels over bytes and three special tokens. */
function bertConfig(architecture: string): string {
  return JSON.stringify({
    model_type: "bert",
    architectures: [architecture],
    vocab_size: 259,
    max_position_embeddings: 24,
    hidden_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    intermediate_size: 64,
    ...architecture === "BertForSequenceClassification" && { id2label: { 0: "calm", 1: "loud" } },
  });
}

/**
 * A folder with both models and reviews of different lengths, of which the loud
 * ones have an exclamation mark.
 */
function folderWithReviews(): TemporaryFolder {
  const folder = new TemporaryFolder();
  for (const model of ["classifier", "masked"]) Deno.mkdirSync(folder.file(model));
  folder.file("classifier/config.json", bertConfig("BertForSequenceClassification"));
  folder.file("masked/config.json", bertConfig("BertForMaskedLM"));
  const lines = Array.from({ length: 40 }, (_, i) => {
    const text = "abcdefgh".repeat(3).slice(0, 3 + (7 * i) % 17);
    return JSON.stringify(i % 2 ? { text: `${text}!`, label: "loud" } : { text: `${text}.`, label: "calm" });
  });
  folder.file("reviews.jsonl", lines.join("\n"));
  return folder;
}

async function run(options: TrainOptions, extras: TrainExtras = {}) {
  const device = await sharedDevice();
  const steps: StepReport[] = [];
  const result = await trainOn(device, options, { onStep: (step) => steps.push(step) }, extras);
  assert.equal(result.bookedPeakBytes, result.plannedPeakBytes);
  return { steps, result };
}

for (const model of ["classifier", "masked"] as const) {
  Deno.test(`BERT, ${model}: micro-batches count by the targets they have`, deviceTest, async () => {
    using folder = folderWithReviews();
    const options = tinyOptions({ model: folder.file(model), data: folder.file("reviews.jsonl") });
    const whole = await run(options);
    const split = await run({ ...options, microBatchSize: 2, gradientAccumulationSteps: 4 });
    for (const [k, step] of whole.steps.entries()) {
      assert.deepEqual(
        [split.steps[k].targets, split.steps[k].tokens],
        [step.targets, step.tokens],
      );
      assert.ok(step.tokens < 8 * 24, "padding is not counted");
      if (model === "classifier") assert.equal(step.targets, 8);
    }
    // The same sums in another order; each step starts from weights that differ
    // by the rounding of the one before.
    const losses = ({ steps }: typeof whole) => steps.map(({ loss }) => loss);
    assertClose(losses(split), losses(whole), 1e-5, "loss");
  });
}

Deno.test(
  "BERT learns to classify, is saved with its labels and evaluates to the same loss",
  deviceTest,
  async () => {
    using folder = folderWithReviews();
    const data = folder.file("reviews.jsonl");
    const options = tinyOptions({ model: folder.file("classifier"), data }, {
      steps: 40,
      heldOutFraction: 0.2,
    });
    const save = `${folder.path}/out`;
    const { steps, result } = await run(options, { save });
    assert.ok(steps.at(-1)!.loss < 0.2, `the loss falls from ln 2 to ${steps.at(-1)!.loss}`);
    const { loss, ms: _, ...scores } = result.heldOut.at(-1)!;
    assert.ok(loss < 0.3);
    assert.deepEqual(scores, {
      step: 40,
      tokens: scores.tokens,
      accuracy: 1,
      macroF1: 1,
      majorityShare: 0.5,
    });
    const config = JSON.parse(await Deno.readTextFile(`${save}/config.json`));
    assert.deepEqual(config.id2label, { 0: "calm", 1: "loud" });
    const lines = (await Deno.readTextFile(data)).split("\n");
    const heldOut = folder.file("held_out.jsonl", lines.slice(32).join("\n"));
    const again = await evaluate({ ...options, model: save, data: heldOut, adapter: null });
    // One sums on the device and one on the host.
    assertClose([again.loss], [result.heldOut.at(-1)!.loss], 1e-6, "loss");
    assert.equal(again.targets, 8);
    // Logits of 24 sequences are more than is read beside the loss.
    const large = await evaluate({
      ...options,
      microBatchSize: 24,
      model: save,
      data: heldOut,
      adapter: null,
    });
    for (const found of [again.scores, large.scores]) {
      assert.deepEqual(found, { accuracy: 1, macroF1: 1, majorityShare: 0.5 });
    }
  },
);

Deno.test(
  "a BERT for hidden tokens is given a classifier, starting from its own layers",
  deviceTest,
  async () => {
    using folder = folderWithReviews();
    const data = folder.file("reviews.jsonl");
    const [base, save] = [`${folder.path}/base`, `${folder.path}/out`];
    await run(tinyOptions({ model: folder.file("masked"), data }), { save: base });
    const options = tinyOptions({ model: base, data }, { task: "classify", steps: 40 });
    const { steps } = await run(options, { save });
    assert.ok(Math.abs(steps[0].loss - Math.LN2) < 0.05, "a new classifier knows nothing");
    assert.ok(steps.at(-1)!.loss < 0.3, `the loss falls to ${steps.at(-1)!.loss}`);
    const config = JSON.parse(await Deno.readTextFile(`${save}/config.json`));
    assert.deepEqual([config.architectures, config.id2label], [["BertForSequenceClassification"], {
      0: "calm",
      1: "loud",
    }]);
    const name = "bert.embeddings.word_embeddings.weight";
    using before = await openSafetensors(`${base}/model.safetensors`);
    await run({ ...options, steps: 1, learningRate: 0 }, { save });
    using after = await openSafetensors(`${save}/model.safetensors`);
    assert.deepEqual(await after.read(name), await before.read(name));
    await assert.rejects(
      run({ ...options, model: "gpt2-nano" }),
      /InputError: .*it is a gpt2, expected a bert/,
    );
  },
);

Deno.test(
  "adapters train the pooler that their base lacks, save it as peft does and bring it back",
  deviceTest,
  async () => {
    using folder = folderWithReviews();
    const data = folder.file("reviews.jsonl");
    const [base, save] = [`${folder.path}/base`, `${folder.path}/out`];
    await run(tinyOptions({ model: folder.file("masked"), data }), { save: base });
    const lora = { rank: 4, alpha: 8, dropout: 0, targets: "query-value" };
    for (const method of ["lora", "qlora-int8"]) {
      const options = tinyOptions({ model: base, data }, {
        task: "classify",
        steps: 40,
        learningRate: 0.01,
        heldOutFraction: 0.2,
        methods: [method],
        methodOptions: { [method]: lora },
      });
      const { result } = await run(options, { save });
      // A frozen pooler that nobody trained would be noise in the way.
      const head = 32 * 32 + 32 + 2 * 32 + 2;
      assert.equal(result.trainableParameters, head + 2 * 2 * 4 * 2 * 32);
      const config = JSON.parse(await Deno.readTextFile(`${save}/adapter_config.json`));
      assert.deepEqual(config.modules_to_save, ["pooler.dense", "classifier"]);
      if (method !== "lora") continue; // what eval adds the adapter to is not quantized
      const lines = (await Deno.readTextFile(data)).split("\n");
      const heldOut = folder.file("held_out.jsonl", lines.slice(32).join("\n"));
      const again = await evaluate({ ...options, model: base, data: heldOut, adapter: save });
      const { loss, ms: _, ...scores } = result.heldOut.at(-1)!;
      assertClose([again.loss], [loss], 1e-6, "loss");
      assert.deepEqual({ step: 40, tokens: scores.tokens, ...again.scores }, scores);
      const bare = evaluate({ ...options, model: base, data: heldOut, adapter: null });
      await assert.rejects(bare, /InputError: .*neither it nor an adapter has bert\.pooler\.dense\.weight/);
    }
  },
);

Deno.test("BERT predicts hidden tokens and goes on where a saved run stopped", deviceTest, async () => {
  using folder = folderWithReviews();
  const options = tinyOptions({ model: folder.file("masked"), data: folder.file("reviews.jsonl") });
  const save = `${folder.path}/out`;
  const whole = await run({ ...options, steps: 8 });
  await run(options, { save });
  const rest = await run({ ...options, model: save }, { continueSaved: true });
  assert.deepEqual(
    rest.steps.map(({ step, loss }) => [step, loss]),
    whole.steps.slice(4).map(({ step, loss }) => [step, loss]),
  );
});
