import { NEUTRAL_STEP } from "../../../kernels/step_block.ts";
import { sgd, type SgdAttrs, sgdReference } from "../../../kernels/sgd.ts";
import { checkKernel, type KernelCheck } from "../../support/check_op.ts";
import { assertClose, tolerance } from "../../support/numerics.ts";
import { readOptimizerFixture } from "../../support/optimizer_fixture.ts";
import { runOptimizer } from "../../support/run_optimizer.ts";
import { deviceTest } from "../../support/with_device.ts";
import { KERNEL_KINDS } from "../../../kernels/kernel_set.ts";

const STEP = { ...NEUTRAL_STEP, learningRate: 0.1 };
/** Sizes around a vector and a block of 2048, with and without a scalar rest. */
const SIZES = [1, 3, 4, 13, 2044, 2047, 2048, 2049, 2052, 5000];

function check(clip: readonly number[], attrs: Omit<SgdAttrs, "weightDecay">, settings: KernelCheck = {}) {
  const inputs = SIZES.flatMap((size) => {
    const shape = [size];
    return [
      { shape },
      { shape, scale: 3 },
      ...(attrs.momentum === 0 ? [] : [{ shape }]),
    ];
  });
  const op = {
    ...sgd,
    reference: (inputs: Float64Array[], attrs: SgdAttrs) => {
      sgdReference(inputs, attrs, STEP);
      return [];
    },
  };
  const weightDecay = SIZES.map((_, i) => i % 2 ? 0.1 : 0);
  return checkKernel(op, [{ shape: [4], data: clip }, ...inputs], { ...attrs, weightDecay }, {
    step: STEP,
    ...settings,
  });
}

Deno.test("sgd agrees with the reference, with and without momentum", deviceTest, async () => {
  for (const kind of KERNEL_KINDS) {
    for (const momentum of [0, 0.9]) await check([1, 0.7, 0, 0], { momentum }, { target: { kind } });
  }
});

Deno.test("sgd changes nothing where a gradient was not finite", deviceTest, async () => {
  await check([0, 0, 1, 0], { momentum: 0.9 }, { allowed: 0 });
});

Deno.test("sgd agrees with torch.optim.SGD over ten steps", deviceTest, async () => {
  const fixture = await readOptimizerFixture<{ lr: number; momentum: number; weightDecay: number }>("sgd");
  for (const [run, { lr, momentum, weightDecay }] of Object.entries(fixture.runs)) {
    const attrs = { momentum, weightDecay: fixture.tensors.map(() => weightDecay) };
    await runOptimizer(sgd, attrs, fixture, {
      stateCount: momentum === 0 ? 0 : 1,
      stepBlock: () => ({ learningRate: lr }),
      onStep: (step, name, w, [buffer]) => {
        const allowed = tolerance("f32", step + 1); // both round in every step
        assertClose(w, fixture.after(run, name, step), allowed, `${run} ${name} after step ${step}`);
        if (step < fixture.steps - 1 || !buffer) return;
        assertClose(buffer, fixture.state(run, "momentum_buffer", name), allowed, `${run} ${name} buffer`);
      },
    });
  }
});
