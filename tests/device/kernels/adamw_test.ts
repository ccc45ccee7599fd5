import { adamw, type AdamWAttrs, adamwReference } from "../../../kernels/adamw.ts";
import { NEUTRAL_STEP } from "../../../kernels/step_block.ts";
import { checkKernel, type KernelCheck } from "../../support/check_op.ts";
import { assertClose, tolerance } from "../../support/numerics.ts";
import { readOptimizerFixture } from "../../support/optimizer_fixture.ts";
import { runOptimizer } from "../../support/run_optimizer.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { deviceTest } from "../../support/with_device.ts";
import { KERNEL_KINDS } from "../../../kernels/kernel_set.ts";

const STEP = { ...NEUTRAL_STEP, learningRate: 0.01, biasCorrection1: 0.19, sqrtBiasCorrection2: 0.045 };
const HYPER = { beta1: 0.9, beta2: 0.999, eps: 1e-8 };
/** Sizes around a vector and a block of 2048, with and without a scalar rest. */
const SIZES = [1, 3, 4, 13, 2044, 2047, 2048, 2049, 2052, 5000];

function check(
  sizes: readonly number[],
  clip: readonly number[],
  settings: KernelCheck = {},
) {
  const inputs = sizes.flatMap((size, i) => {
    const shape = [size];
    const numbers = (seed: number, scale = 1) => ({ shape, data: seededNumbers(size, seed, scale) });
    // After so many tensors their numbers come again.
    const seed = i % 140;
    const v = { shape, data: seededNumbers(size, 900 + seed).map((x) => x * x) };
    return [
      numbers(4 * seed + 2),
      numbers(4 * seed + 3, 3),
      numbers(4 * seed + 4, 0.5),
      v,
    ];
  });
  const attrs = { ...HYPER, weightDecay: sizes.map((_, i) => i % 2 ? 0.1 : 0) };
  const op = {
    ...adamw,
    reference: (inputs: Float64Array[], attrs: AdamWAttrs) => {
      adamwReference(inputs, attrs, STEP);
      return [];
    },
  };
  return checkKernel(op, [{ shape: [4], data: clip }, ...inputs], attrs, { step: STEP, ...settings });
}

Deno.test("adamw agrees with the reference, alone and over many tensors", deviceTest, async () => {
  for (const kind of KERNEL_KINDS) {
    for (const size of SIZES) await check([size], [1, 0.7, 0, 0], { target: { kind } });
    await check(SIZES, [1, 0.7, 0, 0], { target: { kind } });
  }
});

Deno.test("adamw changes nothing where a gradient was not finite", deviceTest, async () => {
  await check(SIZES, [0, 0, 1, 0], { allowed: 0 });
});

Deno.test(
  "adamw covers more tensors than one table holds, and tensors larger than a binding",
  deviceTest,
  async () => {
    await check(Array.from({ length: 530 }, (_, i) => i % 140 % 9 + 1), [1, 1, 0, 0]);
    for (const maxStorageBufferBindingSize of [8192, 16384, 65536]) {
      await check([...SIZES, 20_001], [1, 1, 0, 0], { target: { maxStorageBufferBindingSize } });
    }
  },
);

Deno.test("adamw agrees with torch.optim.AdamW over ten steps", deviceTest, async () => {
  const fixture = await readOptimizerFixture<
    { lr: number; betas: [number, number]; eps: number; weightDecay: number }
  >("adamw");
  for (const [run, { lr, betas: [beta1, beta2], eps, weightDecay }] of Object.entries(fixture.runs)) {
    const attrs = { beta1, beta2, eps, weightDecay: fixture.tensors.map(() => weightDecay) };
    await runOptimizer(adamw, attrs, fixture, {
      stateCount: 2,
      stepBlock: (step) => ({
        learningRate: lr,
        biasCorrection1: 1 - beta1 ** (step + 1),
        sqrtBiasCorrection2: Math.sqrt(1 - beta2 ** (step + 1)),
      }),
      onStep: (step, name, w, [m, v]) => {
        const allowed = tolerance("f32", step + 1); // both round in every step
        assertClose(w, fixture.after(run, name, step), allowed, `${run} ${name} after step ${step}`);
        if (step < fixture.steps - 1) return;
        assertClose(m, fixture.state(run, "exp_avg", name), allowed, `${run} ${name} m`);
        assertClose(v, fixture.state(run, "exp_avg_sq", name), allowed, `${run} ${name} v`);
      },
    });
  }
});
