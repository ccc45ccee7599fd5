import assert from "node:assert/strict";
import { openSafetensors } from "../../../engine/formats/safetensors.ts";
import { InputError } from "../../../engine/input_error.ts";
import type { TrainOptions } from "../../../engine/train/options.ts";
import { train, type TrainExtras } from "../../../engine/train/train.ts";
import type { Settings } from "../../../results/settings.ts";
import { resolveSettings } from "../../../suites/resolve_settings.ts";
import { TemporaryFolder } from "../../host/formats/temporary_folder.ts";
import { fixtureOptions, languageModelFixture } from "../../support/model_fixture.ts";
import { assertClose } from "../../support/numerics.ts";
import { deviceTest, runsF16 } from "../../support/with_device.ts";

const ADAM = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 };

const fixture = await languageModelFixture("adamw_8bit_llama");
const runs: Record<string, { losses: number[]; lossesF64: number[] }> =
  JSON.parse(await Deno.readTextFile(`${fixture.folder}expected.json`)).runs;

function options(changes: Partial<TrainOptions> = {}): TrainOptions {
  return fixtureOptions(fixture, { optimizer: "adamw8bit", ...changes });
}

const whole = { optimizerOptions: { ...ADAM, quantizeEmbeddings: true } };

async function lossesOf(options: TrainOptions, extras: TrainExtras = {}): Promise<number[]> {
  const losses: number[] = [];
  await train(options, { onStep: ({ loss }) => losses.push(loss) }, extras);
  return losses;
}

/** Largest distance between two lists of losses. */
const distance = (a: readonly number[], b: readonly number[]) =>
  Math.max(...a.map((loss, i) => Math.abs(loss - b[i])));

/**
 * How many learning rates AdamW can move a weight in so many steps without decay, whatever the gradients.
 * With c1 and c2 the bias corrections of step t, it moves c2/c1 · |m| / √v then, and by Cauchy and Schwarz
 * |m| ≤ (1 − β1) · Σ β1^j |g| ≤ (1 − β1) / √(1 − β2) · √(Σ (β1²/β2)^j) · √v, the sums over the t gradients
 * so far.
 */
function longestWay(steps: number): number {
  const { beta1, beta2 } = ADAM;
  let [way, sum] = [0, 0];
  for (let t = 1; t <= steps; t++) {
    sum += (beta1 ** 2 / beta2) ** (t - 1);
    const correction = Math.sqrt(1 - beta2 ** t) / (1 - beta1 ** t);
    way += correction * (1 - beta1) / Math.sqrt(1 - beta2) * Math.sqrt(sum);
  }
  return way;
}

/** Weights of the embeddings after a run, by name. */
async function embeddingsAfter(settings: Settings): Promise<Map<string, Float32Array>> {
  using folder = new TemporaryFolder();
  await train(resolveSettings(settings), {}, { save: folder.path });
  using saved = await openSafetensors(folder.file("model.safetensors"));
  const tables = saved.names().filter((name) => /embed.*\.weight$/i.test(name) && !/norm/i.test(name));
  return new Map(await Promise.all(tables.map(async (name) => [name, await saved.read(name)] as const)));
}

/** Most learning rates that a weight of each table is away from where it started. */
async function waysOf(settings: Settings & { learningRate: number }): Promise<Map<string, number>> {
  const before = await embeddingsAfter({
    ...settings,
    optimizerOptions: {},
    optimizer: "adamw",
    steps: 1,
    learningRate: 0,
  });
  const after = await embeddingsAfter({ ...settings, optimizer: "adamw8bit" });
  return new Map(
    [...after].map(([name, weights]) => {
      const way = weights.reduce((most, w, i) => Math.max(most, Math.abs(w - before.get(name)![i])), 0);
      return [name, way / settings.learningRate];
    }),
  );
}

const PRESETS = [
  { model: "llama-nano", data: "moby-dick", tokenizer: "bpe512", steps: 40, tables: 1 },
  { model: "bert-nano", data: "random", steps: 25, tables: 3 },
];

for (const { tables, ...run } of PRESETS) {
  Deno.test(
    `8-bit AdamW moves no embedding of ${run.model} further than AdamW can, unless it quantizes them`,
    deviceTest,
    async () => {
      const settings = { ...run, sequenceLength: 32, effectiveBatchSize: 2, learningRate: 1e-3, seed: 1 };
      const ways = await waysOf(settings);
      assert.equal(ways.size, tables);
      // A weight below 0.25 rounds to 2^-27 in each step, a hundred-thousandth of a learning rate.
      const most = longestWay(run.steps) * 1.001;
      for (const [name, way] of ways) {
        assert.ok(way <= most, `${name}: ${way} learning rates, allowed ${most}`);
      }
      // What docs and help say of the option: thousands of learning rates here, of which a tenth would do.
      const jumps = Math.max(...(await waysOf({ ...settings, ...whole })).values());
      assert.ok(jumps > 100, `${jumps} learning rates with embeddings in 8 bits`);
    },
  );
}

Deno.test(
  "8-bit AdamW follows bitsandbytes with embeddings in 32 bits, as transformers trains",
  deviceTest,
  async () => {
    const { losses, lossesF64 } = runs.adamw8bit;
    // Roundings put moments half way between two codes on the one side or the other: f32 and f64 of the same
    // algorithm come this far apart, 1.6e-5, and so may two in f32. AdamW is forty times as far, embeddings
    // in 8 bits seven thousand times.
    const allowed = 2 * distance(losses, lossesF64);
    assert.ok(allowed < distance(losses, runs.adamw.losses) / 10, `${allowed} tells nothing apart`);
    const ours = distance(await lossesOf(options()), losses);
    assert.ok(ours <= allowed, `${ours} nats apart, allowed ${allowed}`);
    // Beyond ten steps the jumps of the other form are as large as rounding has it, and so are their losses.
    const quantized = await lossesOf(options(whole));
    const until = (some: readonly number[]) => some.slice(0, 10);
    const before = distance(until(quantized), until(runs.adamw8bitWhole.losses));
    assert.ok(before <= allowed, `embeddings in 8 bits: ${before} nats apart, allowed ${allowed}`);
    assert.ok(distance(quantized, losses) > 1000 * allowed, "embeddings in 8 bits train as those in 32");
  },
);

Deno.test(
  "8-bit AdamW in the backward pass gives bit-identical losses, with embeddings in f32 or not",
  deviceTest,
  async () => {
    for (const changes of [{}, whole]) {
      const inside = await lossesOf(options({ ...changes, methods: ["optimizer-in-backward"], steps: 6 }));
      assert.deepEqual(inside, await lossesOf(options({ ...changes, steps: 6 })));
    }
  },
);

Deno.test("8-bit AdamW refreshes the f16 copies of embeddings that AdamW updates", deviceTest, async (t) => {
  if (!await runsF16(t)) return;
  // f16 has 11 bits: single roundings of 5e-4, averaged over the batch.
  assertClose(await lossesOf(options({ methods: ["fp16"] })), runs.adamw8bit.losses, 2e-3, "loss");
});

Deno.test(
  "a saved run goes on with the moments it was saved with, and says so where others are asked for",
  deviceTest,
  async () => {
    const embedding = "model.embed_tokens.weight";
    const cases = [
      {
        saved: whole,
        asked: {},
        message:
          `the moments of ${embedding} are in 8 bits, expected f32; to go on with them, add --quantize-embeddings true`,
      },
      {
        saved: {},
        asked: whole,
        message:
          `the moments of ${embedding} are f32, expected 8 bits; to go on with them, leave out --quantize-embeddings`,
      },
    ];
    for (const { saved, asked, message } of cases) {
      using folder = new TemporaryFolder();
      const losses = await lossesOf(options({ ...saved, steps: 4 }));
      await train(options({ ...saved, steps: 3 }), {}, { save: folder.path });
      const next = { model: folder.path, steps: 1 };
      const extras = { continueSaved: true };
      assert.deepEqual(await lossesOf(options({ ...saved, ...next }), extras), losses.slice(3));
      await assert.rejects(lossesOf(options({ ...asked, ...next }), extras), (error) => {
        assert.ok(error instanceof InputError);
        const expected = `${message}, or start a new run from the weights with --fresh`;
        assert.equal(error.message, `${folder.file("training_state.safetensors")}: ${expected}`);
        return true;
      });
      // The weights are good for a new run, which begins with the first of the data.
      const fresh = await lossesOf(options({ ...asked, ...next }));
      assert.notDeepEqual(fresh, losses.slice(3));
    }
  },
);

Deno.test(
  "a saved run whose settings keep other state than those asked for is refused",
  deviceTest,
  async () => {
    using folder = new TemporaryFolder();
    const sgd = (momentum: number) =>
      options({ optimizer: "sgd", optimizerOptions: { momentum, weightDecay: 0 }, steps: 1 });
    await train(sgd(0), {}, { save: folder.path });
    const continued = lossesOf({ ...sgd(0.9), model: folder.path }, { continueSaved: true });
    await assert.rejects(
      continued,
      /training_state\.safetensors: it has no .*\.momentum_buffer, expected the state of sgd /,
    );
  },
);
