import assert from "node:assert/strict";
import { InputError } from "../../../engine/input_error.ts";
import { evaluate } from "../../../engine/train/evaluate.ts";
import { train, type TrainExtras } from "../../../engine/train/train.ts";
import type { TrainOptions } from "../../../engine/train/options.ts";
import { fixtureOptions, gpt2Fixture } from "../../support/gpt2_fixture.ts";
import { assertClose } from "../../support/numerics.ts";
import { deviceTest } from "../../support/with_device.ts";

// Adapters that peft wrote with fourteen settings: alphas, rsLoRA, patterns, single layers, modules by expression.

const FIXTURES = `${import.meta.dirname}/../../fixtures/`;
const SETTINGS = `${FIXTURES}peft_settings/`;
const expected: {
  batchSize: number;
  sequenceLength: number;
  learningRate: number;
  adapters: Record<string, { base: string; heldOutLoss: number; losses: number[] }>;
} = JSON.parse(await Deno.readTextFile(`${SETTINGS}expected.json`));
const fixture = await gpt2Fixture();

function options(base: string, lora: Record<string, unknown> = {}): TrainOptions {
  return fixtureOptions(fixture, {
    model: `${FIXTURES}peft_${base}/base`,
    data: `${FIXTURES}peft_${base}/tokens.u16`,
    methods: ["lora"],
    methodOptions: { lora },
    learningRate: expected.learningRate,
    optimizerOptions: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 },
    sequenceLength: expected.sequenceLength,
    microBatchSize: expected.batchSize,
    steps: 5,
  });
}

async function lossesOf(base: string, extras: TrainExtras, lora: Record<string, unknown> = {}) {
  const losses: number[] = [];
  await train(options(base, lora), { onStep: ({ loss }) => losses.push(loss) }, extras);
  return losses;
}

async function heldOutLoss(base: string, adapter: string): Promise<number> {
  const { loss } = await evaluate({
    model: `${FIXTURES}peft_${base}/base`,
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
    assertClose([await heldOutLoss(base, SETTINGS + name)], [before], 1e-5, "held-out loss");
    assertClose(await lossesOf(base, { adapter: SETTINGS + name }), losses, 1e-5, "losses");
  });
}

Deno.test(
  "an adapter that training went on with is saved with the settings that it came with",
  deviceTest,
  async () => {
    const folder = await Deno.makeTempDir();
    const keys = [
      ["r", "lora_alpha", "use_rslora", "lora_dropout", "target_modules", "fan_in_fan_out", "rank_pattern"],
      ["alpha_pattern", "exclude_modules", "layers_to_transform", "layers_pattern"],
    ].flat();
    try {
      for (const name of ["gpt2_rslora_patterns", "llama_layers_pattern", "llama_regex", "llama_excluded"]) {
        const { base } = expected.adapters[name];
        const first = await lossesOf(base, { adapter: SETTINGS + name, save: `${folder}/${name}` });
        const config = (path: string) =>
          Deno.readTextFile(`${path}/adapter_config.json`).then((text) => JSON.parse(text));
        const [ours, theirs] = [await config(`${folder}/${name}`), await config(SETTINGS + name)];
        for (const key of keys) assert.deepEqual(ours[key] ?? null, theirs[key] ?? null, `${name}: ${key}`);
        // The saved adapter goes on where it stood: its first loss is below the one it started from.
        const [again] = await lossesOf(base, { adapter: `${folder}/${name}` });
        assert.ok(again < first[0], `${name}: ${again} after training, ${first[0]} before`);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

Deno.test(
  "settings that contradict the adapter's folder are refused, those that agree are not",
  deviceTest,
  async () => {
    const adapter = `${SETTINGS}llama_rslora`;
    const refused = (lora: Record<string, unknown>, ...parts: string[]) =>
      assert.rejects(lossesOf("llama", { adapter }, lora), (error: Error) => {
        assert.ok(error instanceof InputError, String(error));
        for (const part of [adapter, ...parts]) assert.ok(error.message.includes(part), error.message);
        return true;
      });
    await refused({ rank: 4 }, "rank 4", "adapter_config.json has r 8");
    await refused({ alpha: 32 }, "alpha 32", "lora_alpha 16");
    await refused({ dropout: 0.1 }, "dropout 0.1", "lora_dropout 0");
    await refused({ rankStabilized: false }, "rankStabilized false", "use_rslora true");
    await refused({ targets: "all-linear" }, 'targets "all-linear"', 'target_modules ["q_proj","v_proj"]');
    const agreeing = { rank: 8, alpha: 16, dropout: 0, rankStabilized: true, targets: "query-value" };
    assertClose(
      await lossesOf("llama", { adapter }, agreeing),
      expected.adapters.llama_rslora.losses,
      1e-5,
      "losses",
    );
  },
);

Deno.test("an adapter for matrices that the model does not have is refused by name", deviceTest, async () => {
  const error = await lossesOf("llama", { adapter: `${SETTINGS}gpt2_alpha` }).catch((error) => error);
  assert.ok(error instanceof InputError);
  assert.match(
    error.message,
    /gpt2_alpha.*it adapts transformer\.h\.0\.attn\.c_attn, which is not supported/,
  );
});
