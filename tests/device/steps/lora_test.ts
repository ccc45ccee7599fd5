import assert from "node:assert/strict";
import { openSafetensors, openWeights } from "../../../engine/formats/safetensors.ts";
import { buildEvaluation } from "../../../engine/passes/pipeline.ts";
import { planGraphs } from "../../../engine/plan/plan.ts";
import { Session } from "../../../engine/runtime/session.ts";
import { loadAdapter } from "../../../engine/train/adapters.ts";
import { DataFeed } from "../../../engine/train/data_feed.ts";
import { stepMethods } from "../../../engine/train/methods.ts";
import { prepare } from "../../../engine/train/prepare.ts";
import { trainingBatches } from "../../../engine/train/sequences.ts";
import { loadWeights } from "../../../engine/train/weights.ts";
import { evaluate } from "../../../engine/train/evaluate.ts";
import { train, type TrainExtras } from "../../../engine/train/train.ts";
import type { TrainOptions } from "../../../engine/train/options.ts";
import { fixtureOptions, gpt2Fixture } from "../../support/gpt2_fixture.ts";
import { assertClose } from "../../support/numerics.ts";
import { deviceTest, deviceTestOf, sharedDevice } from "../../support/with_device.ts";

const FOLDER = `${import.meta.dirname}/../../fixtures/peft_gpt2/`;
const expected = JSON.parse(await Deno.readTextFile(`${FOLDER}expected.json`));

const options: TrainOptions = fixtureOptions(await gpt2Fixture(), {
  model: `${FOLDER}base`,
  data: `${FOLDER}tokens.u16`,
  methods: ["lora"],
  methodOptions: { lora: { rank: 4, alpha: 8, targets: ["c_attn"] } },
  learningRate: 1e-2,
  optimizerOptions: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 },
  sequenceLength: expected.sequenceLength,
  microBatchSize: expected.batchSize,
  steps: expected.steps,
});

async function lossesOf(extras: TrainExtras, changes: Partial<TrainOptions> = {}): Promise<number[]> {
  const losses: number[] = [];
  await train({ ...options, ...changes }, { onStep: ({ loss }) => losses.push(loss) }, extras);
  return losses;
}

async function evaluationLoss(model: string, adapter: string | null): Promise<number> {
  const { loss } = await evaluate({
    model,
    adapter,
    data: `${FOLDER}held_out.u16`,
    tokenizer: "model",
    sequenceLength: expected.sequenceLength,
    microBatchSize: 3,
    heldOutWindows: expected.evaluationWindows,
    seed: 0,
  });
  return loss;
}

Deno.test("LoRA from peft's initial adapter follows peft's losses", deviceTest, async () => {
  const losses = await lossesOf({ adapter: `${FOLDER}adapter_initial` });
  assertClose(losses, expected.runs.lora.losses, 1e-5, "loss");
});

Deno.test("adapters trained by peft evaluate here to peft's loss, rsLoRA included", deviceTest, async () => {
  const base = await evaluationLoss(`${FOLDER}base`, null);
  assertClose([base], [expected.baseEvaluationLoss], 1e-6, "base");
  for (const [run, folder] of [["lora", "adapter"], ["rslora", "adapter_rslora"]]) {
    const loss = await evaluationLoss(`${FOLDER}base`, `${FOLDER}${folder}`);
    assertClose([loss], [expected.runs[run].evaluationLossAfter], 1e-5, run);
  }
});

Deno.test(
  "an adapter saved here is peft's to the byte layout, reloads, and merges to the same loss",
  deviceTest,
  async () => {
    const folder = await Deno.makeTempDir();
    try {
      await lossesOf({ adapter: `${FOLDER}adapter_initial`, save: `${folder}/adapter` });
      using ours = await openSafetensors(`${folder}/adapter/adapter_model.safetensors`);
      using theirs = await openSafetensors(`${FOLDER}adapter/adapter_model.safetensors`);
      assert.deepEqual(ours.names().sort(), theirs.names().sort());
      for (const name of theirs.names()) {
        assert.deepEqual(ours.info(name).shape, theirs.info(name).shape);
        // 20 steps at rate 1e-2 amplify roundings: AdamW divides by roots of tiny second moments.
        assertClose(await ours.read(name), await theirs.read(name), 2e-3, name);
      }
      const unmerged = await evaluationLoss(`${FOLDER}base`, `${folder}/adapter`);
      assertClose(
        [unmerged],
        [expected.runs.lora.evaluationLossAfter],
        1e-4,
        "evaluation of the saved adapter",
      );
      await lossesOf({ adapter: `${folder}/adapter`, save: `${folder}/merged`, merge: true }, {
        learningRate: 0,
        steps: 1,
      });
      assertClose(
        [await evaluationLoss(`${folder}/merged`, null)],
        [unmerged],
        1e-6,
        "evaluation of the merged model",
      );
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

Deno.test(
  "LoRA+ moves B faster than A by its ratio, and is refused where no rate is a parameter's own",
  deviceTest,
  async () => {
    const folder = await Deno.makeTempDir();
    try {
      const adapterAfter = async (plusRatio: number) => {
        const save = `${folder}/${plusRatio}`;
        const methodOptions = { lora: { ...options.methodOptions.lora, plusRatio } };
        await lossesOf({ adapter: `${FOLDER}adapter_initial`, save }, { methodOptions, steps: 1 });
        return await openSafetensors(`${save}/adapter_model.safetensors`);
      };
      using plain = await adapterAfter(1);
      using plus = await adapterAfter(4);
      for (const name of plain.names()) {
        // B starts at zero, so one step of four times the rate is four times the step.
        const expected = (await plain.read(name)).map((x) => (name.includes("lora_B") ? 4 * x : x));
        assertClose(await plus.read(name), expected, 1e-6, name);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
    const methodOptions = { lora: { ...options.methodOptions.lora, plusRatio: 4 } };
    await assert.rejects(lossesOf({}, { methodOptions, optimizer: "sgd" }), /LoRA\+.*sgd.*adamw/);
  },
);

Deno.test(
  "adapters are switched over one base in one session, and give each its own loss",
  deviceTest,
  async () => {
    const { gpu, pipelines } = await sharedDevice();
    const prepared = await prepare({ ...options, data: `${FOLDER}held_out.u16` });
    const { lora } = stepMethods(options, prepared.model);
    const { graph, persistents, parameters, inputs } = buildEvaluation({
      model: prepared.model,
      microBatchSize: 4,
      sequenceLength: options.sequenceLength,
      methods: { lora },
    });
    const session = await Session.open(gpu, planGraphs([graph], persistents, gpu.kernels), { pipelines });
    try {
      using base = (await openWeights(`${FOLDER}base`))!;
      await loadWeights(session, parameters, base);
      const feed = new DataFeed(session, inputs, {
        batch: 4,
        sequence: options.sequenceLength,
        vocabularySize: prepared.model.config.vocabularySize,
      });
      trainingBatches(prepared.split.training, options).next(4, feed);
      feed.upload();
      const lossWith = async (adapter: string) => {
        await loadAdapter(session, parameters, `${FOLDER}${adapter}`);
        await session.run();
        return new Float32Array(await session.read(inputs.loss))[0] / feed.targets.length;
      };
      const initial = await lossWith("adapter_initial");
      assertClose([initial], [expected.baseEvaluationLoss], 1e-5, "B = 0");
      assertClose([await lossWith("adapter")], [expected.runs.lora.evaluationLossAfter], 1e-5, "trained");
      assert.equal(await lossWith("adapter_initial"), initial, "and back");
    } finally {
      session.close();
    }
  },
);

for (const changes of [{}, { methods: ["fp16"], optimizer: "adamw8bit" }]) {
  const what = "methods" in changes ? "fp16 with 8-bit AdamW" : "f32";
  Deno.test(
    `a saved run continues to the losses of one that was not interrupted, ${what}`,
    await deviceTestOf("methods" in changes ? "f16" : "f32"),
    async () => {
      const folder = await Deno.makeTempDir();
      try {
        const plain = { methods: [], learningRate: 1e-3, shuffle: true, ...changes };
        const whole = await lossesOf({}, { ...plain, steps: 8 });
        const first = await lossesOf({ save: folder }, { ...plain, steps: 5 });
        const rest = await lossesOf({ continueSaved: true }, { ...plain, model: folder, steps: 3 });
        assert.deepEqual([...first, ...rest], whole);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  );
}
