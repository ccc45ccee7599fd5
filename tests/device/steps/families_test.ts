// Every decoder beside GPT-2 and Llama against transformers: logits, 20 AdamW steps, and that each of its
// features matters to its fixture.
import assert from "node:assert/strict";
import { openWeights } from "../../../engine/formats/safetensors.ts";
import { type ModelConfig, modelOf, readModelConfig } from "../../../engine/model/config.ts";
import { computeLogits, LogitsProgram } from "../../../engine/train/logits.ts";
import type { TrainOptions } from "../../../engine/train/options.ts";
import { train, type TrainExtras } from "../../../engine/train/train.ts";
import { loadWeights } from "../../../engine/train/weights.ts";
import { fixtureOptions, languageModelFixture } from "../../support/model_fixture.ts";
import { assertClose } from "../../support/numerics.ts";
import { deviceTest, runsF16, sharedDevice } from "../../support/with_device.ts";

async function lossesOf(options: TrainOptions, extras: TrainExtras = {}): Promise<number[]> {
  const losses: number[] = [];
  await train(options, { onStep: ({ loss }) => losses.push(loss) }, extras);
  return losses;
}

/** A feature by the fields of a configuration without it, which must leave all parameters in place. */
type Features = Record<string, (config: ModelConfig) => object>;

const WINDOWS: Features = { "its windows": () => ({ window: 1000 }) };
const Q_NORM: Features = { "its norms of queries and keys": () => ({ qkNorm: null }) };
/** What each fixture has, by what its model is without it. */
const FAMILIES: Record<string, Features> = {
  qwen3: Q_NORM,
  qwen3_untied: { ...Q_NORM, ...WINDOWS, "one full layer": () => ({ layers: ["sliding", "sliding"] }) },
  mistral_window: WINDOWS,
  smollm3: { "its layers without rotations": () => ({ layers: null }) },
  olmo2: Q_NORM,
  phi3: {
    ...WINDOWS,
    "its scaled rotations": () => ({ rotaryScaling: null }),
    "channels that do not turn": () => ({ rotaryShare: 1, rotaryScaling: null }),
  },
  phi3_untied: {},
  gemma2: {
    ...WINDOWS,
    "capped scores": () => ({ scoreCap: null }),
    "capped logits": () => ({ logitCap: null }),
    "scaled embeddings": () => ({ scaledEmbedding: false }),
    "weights of norms less one": () => ({ normOnePlus: false }),
    "its own scale of scores": () => ({ queryScalar: null }),
    "GELU": () => ({ activation: "silu" }),
  },
  gemma3_text: {
    ...Q_NORM,
    ...WINDOWS,
    "rotations of its own in layers with windows": () => ({ slidingRotaryBase: null }),
    "stretched rotations in full layers": () => ({ rotaryScaling: null }),
  },
  gpt_neox: {
    "parallel branches": () => ({ parallel: false }),
    "channels that do not turn": () => ({ rotaryShare: 0.8 }),
    "erf in GELU": () => ({ activation: "gelu_new" }),
  },
  gpt_neox_serial: { "branches one behind the other": () => ({ parallel: true }) },
  opt: {},
};

for (const [name, features] of Object.entries(FAMILIES)) {
  const fixture = await languageModelFixture(`families/${name}`);
  const { batchSize: microBatchSize, sequenceLength, modelFolder, model: { config } } = fixture;
  const tokens = fixture.tokens.subarray(0, microBatchSize * sequenceLength);

  Deno.test(
    `${name}: logits are those of transformers, and others without each of its features`,
    deviceTest,
    async () => {
      const expected = await fixture.logits();
      const logitsOf = async (changes: object) => {
        const { gpu } = await sharedDevice();
        const changed = modelOf({ ...config, ...changes } as ModelConfig);
        const program = await LogitsProgram.open(gpu, { model: changed, microBatchSize, sequenceLength });
        using weights = (await openWeights(modelFolder))!;
        const wanted = new Set(changed.parameters.map(({ name }) => name));
        const source = {
          ...{ path: weights.path, has: weights.has.bind(weights), info: weights.info.bind(weights) },
          read: weights.read.bind(weights),
          chunks: weights.chunks.bind(weights),
          names: () => weights.names().filter((name) => wanted.has(name)),
        };
        try {
          await loadWeights(program.session, program.parameters, source as unknown as typeof weights);
          return (await program.compute({ tokens })).subarray(0, expected.length);
        } finally {
          program.close();
        }
      };
      assertClose(await logitsOf({}), expected, 1e-5, "logits");
      for (const [feature, without] of Object.entries(features)) {
        const logits = await logitsOf(without(config));
        assert.throws(() => assertClose(logits, expected, 1e-4, "logits"), `without ${feature}`);
      }
    },
  );

  Deno.test(`${name}: 20 AdamW steps follow PyTorch's losses`, deviceTest, async () => {
    // Both decay matrices of linear layers alone.
    assertClose(await lossesOf(fixtureOptions(fixture)), fixture.expected.runs.adamw.losses, 1e-5, "loss");
  });
}

for (const name of ["gemma2", "gemma3_text", "phi3", "gpt_neox"]) {
  Deno.test(
    `${name} trains with every method: checkpointing bit for bit, flash attention, f16 and both nearly so`,
    deviceTest,
    async (t) => {
      const fixture = await languageModelFixture(`families/${name}`);
      const run = (methods: string[]) => lossesOf(fixtureOptions(fixture, { methods, clip: 1, steps: 4 }));
      const plain = await run([]);
      assert.deepEqual(await run(["checkpoint"]), plain);
      // The same sums in another order.
      assertClose(await run(["flash"]), plain, 1e-6, "flash");
      if (!await runsF16(t)) return;
      // f16 has 11 bits: single roundings of 5e-4, averaged over the batch.
      assertClose(await run(["fp16"]), plain, 2e-3, "f16");
      assertClose(await run(["fp16", "flash", "checkpoint"]), plain, 2e-3, "f16 and flash");
    },
  );
}

Deno.test(
  "Gemma 3's text model within the whole one gives the logits of the one alone",
  deviceTest,
  async () => {
    const alone = await languageModelFixture("families/gemma3_text");
    const { batchSize: microBatchSize, sequenceLength } = alone;
    const tokens = alone.tokens.subarray(0, microBatchSize * sequenceLength);
    const logits = await computeLogits(`${alone.folder}../gemma3_whole/model`, { tokens }, {
      microBatchSize,
      sequenceLength,
    });
    const expected = await alone.logits();
    assertClose(logits.subarray(0, expected.length), expected, 1e-5, "logits");
  },
);

Deno.test(
  "what was trained is saved under the names it was read by, the text model of a whole one alone",
  deviceTest,
  async () => {
    for (const name of ["phi3", "gpt_neox", "gemma3_whole"]) {
      const folder = await Deno.makeTempDir();
      try {
        const fixture = await languageModelFixture("families/gemma3_text");
        const model = `${fixture.folder}../${name}/model`;
        await train(fixtureOptions(fixture, { model, steps: 1 }), {}, { save: folder });
        const source = name === "gemma3_whole" ? fixture.modelFolder : model;
        using saved = (await openWeights(folder))!;
        using original = (await openWeights(source))!;
        assert.deepEqual(saved.names().sort(), original.names().sort());
        assert.deepEqual(await readModelConfig(folder), await readModelConfig(source));
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    }
  },
);
