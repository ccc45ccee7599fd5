import assert from "node:assert/strict";
import { InputError } from "../../../engine/input_error.ts";
import { OPTIMIZERS } from "../../../engine/passes/optimizer.ts";
import type { Optimizer } from "../../../engine/passes/optimizers/contract.ts";
import { trainOn } from "../../../engine/train/train.ts";
import type { TrainOptions } from "../../../engine/train/options.ts";
import { tinyOptions } from "../../support/tiny_options.ts";
import { deviceTest, sharedDevice } from "../../support/with_device.ts";

/** Plain descent whose rate falls with the root of time: nothing in the engine knows of it. */
const rootDescent: Optimizer = {
  append: (builder, updates, clip) =>
    OPTIMIZERS.sgd.append(builder, updates, clip, { momentum: 0, weightDecay: 0 }),
  stepFields: ({ t, learningRate }, { factor }) => ({
    learningRate: (Number(factor) * learningRate) / Math.sqrt(t),
  }),
};

/** What a new optimizer adds to the engine besides its file. */
function inTheTable<T>(line: Record<string, Optimizer>, work: () => Promise<T>): Promise<T> {
  const table = OPTIMIZERS as Record<string, Optimizer>;
  Object.assign(table, line);
  return work().finally(() => Object.keys(line).forEach((name) => delete table[name]));
}

async function lossesOf(changes: Partial<TrainOptions>): Promise<number[]> {
  const losses: number[] = [];
  const options = tinyOptions({ model: "gpt2-pico", data: "moby-dick" }, { steps: 3, clip: 0, ...changes });
  await trainOn(await sharedDevice(), options, { onStep: ({ loss }) => losses.push(loss) });
  return losses;
}

Deno.test(
  "an optimizer of one file and one line trains, at the rates that it asks for",
  deviceTest,
  async () => {
    const sgd = { optimizer: "sgd", optimizerOptions: { momentum: 0, weightDecay: 0 } };
    const own = { optimizer: "rootDescent", optimizerOptions: { factor: 2 }, learningRate: 0.05 };
    const found = await inTheTable({ rootDescent }, () => lossesOf(own));
    const atRate = await lossesOf({ ...sgd, learningRate: 0.1 });
    // The first update is SGD's at twice the rate, the second one's at less.
    assert.deepEqual(found.slice(0, 2), atRate.slice(0, 2));
    assert.notEqual(found[2], atRate[2]);
    assert.ok(found[2] < found[0], `losses ${found}`);
    await assert.rejects(lossesOf(own), InputError);
  },
);

Deno.test("rates of a parameter's own are for optimizers that say they have them", deviceTest, async () => {
  const own = {
    optimizer: "rootDescent",
    optimizerOptions: { factor: 1 },
    methods: ["lora"],
    methodOptions: { lora: { rank: 2, alpha: 4, plusRatio: 4 } },
  };
  await assert.rejects(
    inTheTable({ rootDescent }, () => lossesOf(own)),
    /^InputError: Cannot combine plusRatio 4 \(LoRA\+\) with rootDescent: only adamw has a rate/,
  );
  const able = { ...rootDescent, hasRateFactors: true };
  assert.equal((await inTheTable({ rootDescent: able }, () => lossesOf(own))).length, 3);
});
