import assert from "node:assert/strict";
import { trainOn } from "../../engine/train/train.ts";
import type { TrainOptions } from "../../engine/train/options.ts";
import { methodById, optimizerById } from "../../suites/methods.ts";
import { isLongRun, longDeviceTest } from "../support/long_run.ts";
import { sharedDevice } from "../support/with_device.ts";
import { defaults } from "../support/setting_defaults.ts";

// What each method promises of the result, on a real text: gpt2-nano over the bytes of Moby-Dick. Minutes on
// a software adapter, so only with THREEFOLD_LONG=1. Short runs over fixtures hold the same promises every
// time: see steps/ and combinations_test.ts.

interface Outcome {
  losses: number[];
  heldOut: number;
}

const finished = new Map<string, Promise<Outcome>>();

/** One run; each is made once. */
function run(methods: string[], optimizer = "adamw", changes: Partial<TrainOptions> = {}): Promise<Outcome> {
  const options: TrainOptions = {
    model: "gpt2-nano",
    data: "moby-dick",
    tokenizer: "bytes",
    heldOutFraction: 0.05,
    heldOutWindows: 16,
    sequenceLength: 128,
    microBatchSize: 4,
    gradientAccumulationSteps: 1,
    methods,
    methodOptions: Object.fromEntries(methods.map((id) => [id, defaults(methodById(id).settings)])),
    optimizer,
    optimizerOptions: defaults(optimizerById(optimizer).settings) as TrainOptions["optimizerOptions"],
    learningRate: 1e-3,
    schedule: "constant",
    warmupSteps: 10,
    clip: 1,
    dropout: 0,
    steps: 20,
    evaluateEvery: 0,
    seed: 0,
    shuffle: true,
    ...changes,
  };
  const key = JSON.stringify(options);
  if (!finished.has(key)) finished.set(key, trainOnce(options));
  return finished.get(key)!;
}

async function trainOnce(options: TrainOptions): Promise<Outcome> {
  const losses: number[] = [];
  const device = await sharedDevice();
  const { heldOut } = await trainOn(device, options, { onStep: ({ loss }) => losses.push(loss) });
  return { losses, heldOut: heldOut.at(-1)!.loss };
}

/** Largest relative difference of two series. */
function difference(actual: readonly number[], expected: readonly number[]): number {
  assert.equal(actual.length, expected.length);
  return Math.max(...actual.map((loss, i) => Math.abs(loss / expected[i] - 1)));
}

/** Says the figure, and fails where it is above the promise or not a number. */
function promise(what: string, value: number, allowed: number): void {
  console.log(`${what}: ${value.toExponential(2)}, promised ${allowed}`);
  assert.ok(value <= allowed, `${what}: ${value}, promised ${allowed}`);
}

Deno.test("checkpointing gives bit-identical losses, dropout included", longDeviceTest, async () => {
  const changes = { dropout: 0.1 };
  const plain = await run([], "adamw", changes);
  assert.deepEqual(await run(["checkpoint"], "adamw", changes), plain);
});

Deno.test("flash attention stays within 1e-5 of usual attention for 20 steps", longDeviceTest, async () => {
  const [flash, plain] = [await run(["flash"]), await run([])];
  promise("flash, largest relative difference of 20 losses", difference(flash.losses, plain.losses), 1e-5);
});

Deno.test("8 × 1 sequences give the losses of 1 × 8", longDeviceTest, async () => {
  const whole = await run([], "adamw", { microBatchSize: 8 });
  const parts = await run([], "adamw", { microBatchSize: 1, gradientAccumulationSteps: 8 });
  promise("8 × 1 against 1 × 8, 20 losses", difference(parts.losses, whole.losses), 1e-5);
});

const STEPS = { steps: 200 };

Deno.test(
  "200 steps in f32 learn something: what the next two are compared with",
  longDeviceTest,
  async () => {
    const { losses, heldOut } = await run([], "adamw", STEPS);
    console.log(
      `f32 AdamW: first loss ${losses[0].toFixed(4)}, held out after 200 steps ${heldOut.toFixed(4)}`,
    );
    // Bytes of this text have an entropy of 3.08 nats one by one: below that, context is used.
    assert.ok(heldOut < 3, `held-out loss ${heldOut}`);
  },
);

Deno.test("mixed precision ends within 2 % of the held-out loss of f32", {
  ...longDeviceTest,
  // A loss scaled by 65536 tells nothing where there is no f16.
  ignore: !isLongRun || !(await sharedDevice()).gpu.kernels.target.shaderF16,
}, async () => {
  const [half, full] = [await run(["fp16"], "adamw", STEPS), await run([], "adamw", STEPS)];
  promise("fp16, relative difference of held-out loss", Math.abs(half.heldOut / full.heldOut - 1), 0.02);
});

Deno.test("8-bit AdamW ends within 2 % of the held-out loss of AdamW", longDeviceTest, async () => {
  const [eight, full] = [await run([], "adamw8bit", STEPS), await run([], "adamw", STEPS)];
  const difference = Math.abs(eight.heldOut / full.heldOut - 1);
  promise("8-bit AdamW, relative difference of held-out loss", difference, 0.02);
});
