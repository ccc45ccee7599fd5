import assert from "node:assert/strict";
import { adamw, type AdamWAttrs, adamwReference } from "../../../kernels/adamw.ts";
import { attention, attentionGrad } from "../../../kernels/attention.ts";
import { linearCrossEntropyGrad } from "../../../kernels/cross_entropy.ts";
import { add, gelu, geluGrad } from "../../../kernels/elementwise.ts";
import { globalNorm } from "../../../kernels/global_norm.ts";
import { layerNorm, layerNormInputGrad, layerNormParameterGrad } from "../../../kernels/layer_norm.ts";
import { refreshWorkingCopy } from "../../../kernels/working_copy.ts";
import { NEUTRAL_STEP } from "../../../kernels/step_block.ts";
import type { OpDefinition } from "../../../engine/graph/op.ts";
import type { Dtype } from "../../../engine/graph/types.ts";
import { checkKernel, type KernelCheck, type TestInput } from "../../support/check_op.ts";
import { seededIntegers, seededNumbers } from "../../support/seeded.ts";
import { deviceTestOf, sharedDevice } from "../../support/with_device.ts";
import type { KernelChanges } from "../../support/kernel_changes.ts";

/**
 * Operands read where they lie, through a texture of four rows (so that
 * dispatches are split), and through a large one.
 */
const TARGETS: KernelChanges[] = [{ scratchBytes: 0 }, { scratchBytes: 2 ** 16 }, { scratchBytes: 2 ** 25 }];

/** Checks an op on each target, against its reference and bit for bit against the first. */
async function checkAll<Attrs>(
  op: OpDefinition<Attrs>,
  inputs: readonly TestInput[],
  attrs: Attrs,
  check: KernelCheck = {},
): Promise<void> {
  const compared = (outputs: Float64Array[]) => outputs.filter((_, i) => !check.skipOutputs?.includes(i));
  const runs: Float64Array[][] = [];
  for (const target of TARGETS) {
    runs.push(compared(await checkKernel(op, inputs, attrs, { ...check, target })));
  }
  for (const run of runs.slice(1)) assert.deepEqual(run, runs[0], op.name);
}

for (const dtype of ["f32", "f16"] as const satisfies Dtype[]) {
  const options = await deviceTestOf(dtype);
  // Several windows of the small texture, the last one no whole row of it.
  const many = { shape: [3, 5204], dtype };
  const rows = { shape: [300, 36], dtype };
  const columns = { shape: [36], dtype };
  const perRow = { shape: [300] };

  Deno.test(`elementwise kernels of ${dtype} have the same bits however they read`, options, async () => {
    await checkAll(gelu, [many], { approximation: "tanh" });
    await checkAll(geluGrad, [many, many], { approximation: "erf" });
    await checkAll(add, [many, many], {});
    if (dtype === "f16") await checkAll(refreshWorkingCopy, [{ ...many, dtype: "f32" }, many], {});
  });

  Deno.test(`layer norm of ${dtype} has the same bits however it reads`, options, async () => {
    await checkAll(layerNorm, [rows, columns, columns], { eps: 1e-5 }, { terms: 36 });
    const rstd = { ...perRow, data: seededNumbers(300, 5).map((x) => 1 + x * x) };
    await checkAll(layerNormInputGrad, [rows, columns, perRow, rstd, rows], { prior: false }, { terms: 36 });
    await checkAll(layerNormInputGrad, [rows, columns, perRow, rstd, rows, rows], { prior: true }, {
      terms: 36,
    });
    await checkAll(layerNormParameterGrad, [rows, perRow, rstd, rows], { priorW: false, priorB: false }, {
      terms: 300,
      skipOutputs: [2],
    });
  });

  Deno.test(`attention of ${dtype} has the same bits however it reads`, options, async () => {
    const attrs = {
      batch: 2,
      sequence: 52,
      heads: 3,
      kvHeads: 3,
      headSize: 12,
      causal: true,
      softmaxScale: 12 ** -0.5,
      segments: false,
      dropout: null,
    };
    const qkv = { shape: [104, 108], dtype };
    const probabilities = { shape: [2, 3, 52, 52], dtype, data: causalProbabilities(6, 52) };
    await checkAll(attention, [qkv], attrs, { terms: 52 });
    await checkAll(attentionGrad, [qkv, probabilities, { shape: [104, 36], dtype }], attrs, { terms: 52 });
  });
}

/** Matrices whose rows are uniform over the keys that a query sees. */
function causalProbabilities(matrices: number, sequence: number): Float64Array {
  return Float64Array.from({ length: matrices * sequence ** 2 }, (_, i) => {
    const [row, key] = [Math.floor(i / sequence) % sequence, i % sequence];
    return key <= row ? 1 / (row + 1) : 0;
  });
}

Deno.test("cross-entropy has the same bits however it reads", await deviceTestOf("f32"), async () => {
  // Small enough that no product's terms are split, as partial sums would round otherwise.
  await checkAll(linearCrossEntropyGrad, [
    { shape: [40, 20] },
    { shape: [132, 20] },
    { shape: [40], dtype: "i32", data: seededIntegers(40, 132, 3) },
    { shape: [1], data: [0] },
  ], {
    chunkRows: 40,
    transposedWeight: true,
    bias: false,
    inputGrad: true,
    weightGrad: true,
    biasGrad: false,
    weightPrior: false,
    biasPrior: false,
  }, { terms: 132, skipOutputs: [3] });
});

Deno.test("optimizers agree with their references however they read", await deviceTestOf("f32"), async () => {
  const step = { ...NEUTRAL_STEP, learningRate: 0.01, biasCorrection1: 0.19, sqrtBiasCorrection2: 0.045 };
  const op = {
    ...adamw,
    reference: (inputs: Float64Array[], attrs: AdamWAttrs) => {
      adamwReference(inputs, attrs, step);
      return [];
    },
  };
  const sizes = [9001, 12, 20_000, 2048, 7];
  const tensors = sizes.flatMap((size, i): TestInput[] => {
    const shape = [size];
    return [{ shape }, { shape, scale: 3 }, { shape }, {
      shape,
      data: seededNumbers(size, i + 1).map((x) => x * x),
    }];
  });
  const attrs = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: sizes.map((_, i) => i % 2 ? 0.1 : 0) };
  await checkAll(op, [{ shape: [4], data: [1, 0.7, 0, 0] }, ...tensors], attrs, { step });
  await checkAll(globalNorm, sizes.map((size) => ({ shape: [size] })), { maxNorm: 1 }, {
    terms: 32_000,
    skipOutputs: [1],
  });
});

Deno.test(
  "Mesa's software adapter reads through the texture, no other one",
  await deviceTestOf("f32"),
  async () => {
    const { gpu: { adapter, kernels } } = await sharedDevice();
    assert.equal(kernels.scratch !== null, /llvmpipe|lavapipe/i.test(adapter.name));
  },
);
