import assert from "node:assert/strict";
import { openSafetensors } from "../../../engine/formats/safetensors.ts";
import { readModelConfig } from "../../../engine/model/config.ts";
import { evaluate } from "../../../engine/train/evaluate.ts";
import { computeLogits } from "../../../engine/train/logits.ts";
import type { TrainOptions } from "../../../engine/train/options.ts";
import { train, type TrainExtras } from "../../../engine/train/train.ts";
import { fixtureOptions, languageModelFixture } from "../../support/model_fixture.ts";
import { assertClose } from "../../support/numerics.ts";
import { deviceTest, runsF16 } from "../../support/with_device.ts";

async function lossesOf(options: TrainOptions, extras: TrainExtras = {}): Promise<number[]> {
  const losses: number[] = [];
  await train(options, { onStep: ({ loss }) => losses.push(loss) }, extras);
  return losses;
}

const fixtures = await Promise.all(["llama_tiny", "qwen2_tiny"].map(languageModelFixture));

for (const fixture of fixtures) {
  const { modelType } = fixture.model.config as { modelType: string };

  Deno.test(`logits of ${modelType} are those of transformers`, deviceTest, async () => {
    const { batchSize: microBatchSize, sequenceLength, modelFolder } = fixture;
    const tokens = fixture.tokens.subarray(0, microBatchSize * sequenceLength);
    const logits = await computeLogits(modelFolder, { tokens }, { microBatchSize, sequenceLength });
    const expected = await fixture.logits();
    // Two correct f32 forward passes differ by a few roundings of 6e-8 in each of some twenty sums.
    assertClose(logits.subarray(0, expected.length), expected, 1e-5, "logits");
  });

  Deno.test(`20 AdamW steps of ${modelType} follow PyTorch's losses`, deviceTest, async () => {
    // PyTorch decays all parameters in this run, we exempt norms, biases and embeddings: 20 steps at rate
    // 1e-3 and decay 0.01 make those smaller by 2e-4, of which a tenth shows in the loss.
    assertClose(await lossesOf(fixtureOptions(fixture)), fixture.expected.runs.adamw.losses, 1e-4, "loss");
  });
}

Deno.test(
  "Llama 3's stretched rotations, a tied head and heads of their own width give transformers' logits",
  deviceTest,
  async () => {
    const folder = `${import.meta.dirname}/../../fixtures/llama3_rope/`;
    using expected = await openSafetensors(`${folder}expected.safetensors`);
    const tokens = new Int32Array((await expected.readBytes("input_ids")).buffer);
    const [microBatchSize, sequenceLength] = expected.info("input_ids").shape;
    const logits = await computeLogits(`${folder}model`, { tokens }, { microBatchSize, sequenceLength });
    assertClose(logits, await expected.read("logits"), 1e-5, "logits");
  },
);

Deno.test(
  "Llama trains with every method: checkpointing bit for bit, flash attention and f16 nearly so",
  deviceTest,
  async (t) => {
    const run = (methods: string[]) => lossesOf(fixtureOptions(fixtures[0], { methods, clip: 1, steps: 5 }));
    const plain = await run([]);
    assert.deepEqual(await run(["checkpoint"]), plain);
    // The same sums in another order.
    assertClose(await run(["flash"]), plain, 1e-6, "flash");
    if (!await runsF16(t)) return;
    // f16 has 11 bits: single roundings of 5e-4, averaged over the batch.
    assertClose(await run(["fp16", "flash", "checkpoint"]), plain, 2e-3, "f16");
  },
);

Deno.test(
  "LoRA on query and value alone follows peft, and its trained adapter evaluates to peft's loss",
  deviceTest,
  async () => {
    const folder = `${import.meta.dirname}/../../fixtures/peft_llama/`;
    const expected = JSON.parse(await Deno.readTextFile(`${folder}expected.json`));
    const losses = await lossesOf(
      fixtureOptions(fixtures[0], {
        model: `${folder}base`,
        data: `${folder}tokens.u16`,
        methods: ["lora"],
        methodOptions: { lora: { rank: 4, alpha: 8 } },
        learningRate: 1e-2,
        optimizerOptions: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 },
        sequenceLength: expected.sequenceLength,
        microBatchSize: expected.batchSize,
      }),
      { adapter: `${folder}adapter_initial` },
    );
    assertClose(losses, expected.runs.lora.losses, 1e-5, "loss");
    const { loss } = await evaluate({
      model: `${folder}base`,
      adapter: `${folder}adapter`,
      data: `${folder}held_out.u16`,
      tokenizer: "model",
      sequenceLength: expected.sequenceLength,
      microBatchSize: 3,
      heldOutWindows: expected.evaluationWindows,
      seed: 0,
    });
    assertClose([loss], [expected.runs.lora.evaluationLossAfter], 1e-5, "held-out loss");
  },
);

Deno.test(
  "a trained Llama is saved under the names it was read by, and gives the next loss again",
  deviceTest,
  async () => {
    const folder = await Deno.makeTempDir();
    try {
      const options = fixtureOptions(fixtures[1], { steps: 3 });
      const losses = await lossesOf({ ...options, steps: 4 });
      await train(options, {}, { save: folder });
      using saved = await openSafetensors(`${folder}/model.safetensors`);
      using original = await openSafetensors(`${fixtures[1].modelFolder}/model.safetensors`);
      assert.deepEqual(saved.names().sort(), original.names().sort());
      assert.deepEqual(await readModelConfig(folder), fixtures[1].model.config);
      const continued = await lossesOf({ ...options, model: folder, steps: 1 }, { continueSaved: true });
      assert.deepEqual(continued, losses.slice(3));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
