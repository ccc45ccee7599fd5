import assert from "node:assert/strict";
import { evaluate } from "../../../engine/train/evaluate.ts";
import { train, type TrainExtras } from "../../../engine/train/train.ts";
import type { TrainOptions } from "../../../engine/train/options.ts";
import { fixtureOptions, gpt2Fixture } from "../../support/gpt2_fixture.ts";
import { assertClose } from "../../support/numerics.ts";
import { deviceTest } from "../../support/with_device.ts";

// Adapters that peft wrote with fourteen settings: alphas, rsLoRA, patterns, single layers, expressions.

const FIXTURES = `${import.meta.dirname}/../../fixtures/`;
const SETTINGS = `${FIXTURES}peft_settings/`;
const expected: {
  batchSize: number;
  sequenceLength: number;
  learningRate: number;
  adapters: Record<string, { base: string; heldOutLoss: number; heldOutLossAfter: number; losses: number[] }>;
} = JSON.parse(await Deno.readTextFile(`${SETTINGS}expected.json`));
const fixture = await gpt2Fixture();

function options(base: string): TrainOptions {
  return fixtureOptions(fixture, {
    model: `${FIXTURES}peft_${base}/base`,
    data: `${FIXTURES}peft_${base}/tokens.u16`,
    methods: ["lora"],
    methodOptions: {},
    learningRate: expected.learningRate,
    optimizerOptions: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 },
    sequenceLength: expected.sequenceLength,
    microBatchSize: expected.batchSize,
    steps: 5,
  });
}

async function lossesOf(base: string, extras: TrainExtras) {
  const losses: number[] = [];
  await train(options(base), { onStep: ({ loss }) => losses.push(loss) }, extras);
  return losses;
}

async function heldOutLoss(model: string, base: string, adapter: string | null): Promise<number> {
  const { loss } = await evaluate({
    model,
    adapter,
    data: `${FIXTURES}peft_${base}/held_out.u16`,
    tokenizer: "model",
    sequenceLength: expected.sequenceLength,
    microBatchSize: 4,
    heldOutWindows: 4,
    seed: 0,
  });
  return loss;
}

for (const [name, { base, heldOutLoss: before, losses }] of Object.entries(expected.adapters)) {
  Deno.test(`training goes on with peft's adapter ${name} as peft does`, deviceTest, async () => {
    const loss = await heldOutLoss(`${FIXTURES}peft_${base}/base`, base, SETTINGS + name);
    assertClose([loss], [before], 1e-5, "held-out loss", 1);
    assertClose(await lossesOf(base, { adapter: SETTINGS + name }), losses, 1e-5, "losses", 1);
  });
}

Deno.test(
  "an adapter that training went on with is saved with its settings, and computes what peft's does",
  deviceTest,
  async () => {
    const folder = await Deno.makeTempDir();
    const keys = [
      ["r", "lora_alpha", "use_rslora", "lora_dropout", "target_modules", "fan_in_fan_out", "rank_pattern"],
      ["alpha_pattern", "exclude_modules", "layers_to_transform", "layers_pattern"],
    ].flat();
    try {
      for (const [name, { base, heldOutLossAfter: after }] of Object.entries(expected.adapters)) {
        await lossesOf(base, { adapter: SETTINGS + name, save: `${folder}/${name}` });
        const config = (path: string) =>
          Deno.readTextFile(`${path}/adapter_config.json`).then((text) => JSON.parse(text));
        const [ours, theirs] = [await config(`${folder}/${name}`), await config(SETTINGS + name)];
        for (const key of keys) assert.deepEqual(ours[key] ?? null, theirs[key] ?? null, `${name}: ${key}`);
        const loss = await heldOutLoss(`${FIXTURES}peft_${base}/base`, base, `${folder}/${name}`);
        assertClose([loss], [after], 1e-5, name, 1);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

Deno.test("an adapter with patterns is merged by the scale of each module", deviceTest, async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const name of ["gpt2_rslora_patterns", "llama_patterns_rslora"]) {
      const { base, heldOutLoss: before } = expected.adapters[name];
      const save = `${folder}/${name}`;
      const still = { ...options(base), learningRate: 0, steps: 1 };
      await train(still, {}, { adapter: SETTINGS + name, save, merge: true });
      assertClose([await heldOutLoss(save, base, null)], [before], 1e-5, name, 1);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
