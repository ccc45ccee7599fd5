import assert from "node:assert/strict";
import type { Dtype } from "../../../engine/graph/types.ts";
import {
  IGNORED_TARGET,
  linearCrossEntropy,
  linearCrossEntropyGrad,
} from "../../../kernels/cross_entropy.ts";
import { checkKernel, type TestInput } from "../../support/check_op.ts";
import { seededIntegers } from "../../support/seeded.ts";
import { isLongRun } from "../../support/long_run.ts";
import { deviceTest, deviceTestOf } from "../../support/with_device.ts";
import type { KernelChanges } from "../../support/kernel_changes.ts";

interface Case {
  rows: number;
  channels: number;
  vocabulary: number;
  chunkRows: number;
  transposedWeight?: boolean;
  bias?: boolean;
  priors?: boolean;
  dtype?: Dtype;
  logitCap?: number;
}

/** Targets of which every fifth is ignored, but for a single one. */
function targetsOf(rows: number, vocabulary: number): TestInput {
  const data = seededIntegers(rows, vocabulary, 7).map((target, n) => n % 5 === 2 ? IGNORED_TARGET : target);
  return { shape: [rows], dtype: "i32", data };
}

function inputsOf(
  { rows, channels, vocabulary, transposedWeight = true, bias, dtype = "f32" }: Case,
): TestInput[] {
  return [
    { shape: [rows, channels], dtype },
    { shape: transposedWeight ? [vocabulary, channels] : [channels, vocabulary], dtype },
    targetsOf(rows, vocabulary),
    { shape: [1], data: [3.5] },
    ...(bias ? [{ shape: [vocabulary], dtype: "f32" as const }] : []),
  ];
}

async function checkForward(test: Case, target: KernelChanges = {}): Promise<number> {
  const { chunkRows, transposedWeight = true, bias = false } = test;
  const attrs = { chunkRows, transposedWeight, bias, logitCap: test.logitCap };
  const terms = Math.max(test.channels, test.rows);
  const [loss] = await checkKernel(linearCrossEntropy, inputsOf(test), attrs, {
    target,
    terms,
    skipOutputs: [1],
  });
  return loss[0];
}

async function checkGradient(test: Case, target: KernelChanges = {}): Promise<Float64Array[]> {
  const { chunkRows, transposedWeight = true, bias = false, priors = false } = test;
  const inputs = inputsOf(test);
  const { rows, channels, vocabulary } = test;
  return await checkKernel(
    linearCrossEntropyGrad,
    [
      ...inputs,
      ...(priors ? [{ shape: inputs[1].shape }] : []),
      ...(priors && bias ? [{ shape: [vocabulary] }] : []),
    ],
    {
      chunkRows,
      transposedWeight,
      bias,
      inputGrad: true,
      weightGrad: true,
      biasGrad: bias,
      weightPrior: priors,
      biasPrior: priors && bias,
      logitCap: test.logitCap,
    },
    {
      target,
      terms: Math.max(channels, rows, vocabulary),
      // Logits, and where parts of the input's gradient meet: workspaces.
      skipOutputs: [0, 2].map((after) => (bias ? 4 : 3) + after),
      what: `gradient ${JSON.stringify(test)}`,
    },
  );
}

const CASES: Case[] = [
  { rows: 1, channels: 1, vocabulary: 1, chunkRows: 1 },
  { rows: 7, channels: 5, vocabulary: 2, chunkRows: 7, bias: true },
  { rows: 33, channels: 30, vocabulary: 61, chunkRows: 32, bias: true, priors: true },
  { rows: 50, channels: 32, vocabulary: 1001, chunkRows: 32 },
  { rows: 70, channels: 16, vocabulary: 129, chunkRows: 32, transposedWeight: false, bias: true },
  { rows: 64, channels: 24, vocabulary: 64, chunkRows: 1000, transposedWeight: false, priors: true },
  { rows: 33, channels: 30, vocabulary: 61, chunkRows: 32, logitCap: 2 },
];
/**
 * In f16, and in forms beside the adapter's own, what differs is loads and
 * stores: vectors, single numbers, both layouts.
 */
const FEW_CASES = [CASES[2], CASES[5], CASES[6]];
const FORMS: { name: string; target: KernelChanges }[] = [
  { name: "this adapter's form", target: {} },
  { name: "one row per workgroup", target: { kind: "gpu", subgroupSize: 0 } },
  { name: "one row per invocation", target: { kind: "software", subgroupSize: 0 } },
];
for (const dtype of ["f32", "f16"] as const) {
  const options = await deviceTestOf(dtype);
  for (const { name, target } of FORMS) {
    const own = Object.keys(target).length === 0;
    Deno.test(`linear_cross_entropy matches its reference in ${dtype}: ${name}`, options, async () => {
      for (const test of isLongRun || (dtype === "f32" && own) ? CASES : FEW_CASES) {
        await checkForward({ ...test, dtype }, target);
        await checkGradient({ ...test, dtype }, target);
      }
    });
  }
}

Deno.test(
  "linear_cross_entropy gives the same loss, to the bit, for any chunk size",
  deviceTest,
  async () => {
    const test = { rows: 97, channels: 16, vocabulary: 300, chunkRows: 97 };
    const whole = await checkForward(test);
    for (const chunkRows of [1, 32, 64]) {
      assert.equal(await checkForward({ ...test, chunkRows }), whole);
      assert.equal((await checkGradient({ ...test, chunkRows }))[0][0], whole);
    }
  },
);

Deno.test("linear_cross_entropy splits values that pass the binding limit", deviceTest, async () => {
  // The weight has 48 000 bytes, the logits 40 · 1000 · 4.
  const test = { rows: 40, channels: 12, vocabulary: 1000, chunkRows: 40, bias: true };
  await checkForward(test, { maxStorageBufferBindingSize: 16384 });
  await checkGradient(test, { maxStorageBufferBindingSize: 16384 });
});

Deno.test(
  "linear_cross_entropy scales gradients, not the loss, by step.gradientScale",
  deviceTest,
  async () => {
    const test: Case = { rows: 6, channels: 4, vocabulary: 9, chunkRows: 6 };
    const attrs = {
      chunkRows: 6,
      transposedWeight: true,
      bias: false,
      inputGrad: true,
      weightGrad: true,
      biasGrad: false,
      weightPrior: false,
      biasPrior: false,
    };
    const run = (gradientScale: number) =>
      checkKernel(linearCrossEntropyGrad, inputsOf(test), attrs, {
        step: { gradientScale },
        skipOutputs: gradientScale === 1 ? [3] : [1, 2, 3],
      });
    const [[loss, dx, dw], [scaledLoss, scaledDx, scaledDw]] = [await run(1), await run(1024)];
    assert.deepEqual(scaledLoss, loss);
    assert.deepEqual(scaledDx, dx.map((x) => 1024 * x));
    assert.deepEqual(scaledDw, dw.map((x) => 1024 * x));
  },
);

Deno.test("linear_cross_entropy of logits in the thousands is finite and exact", deviceTest, async () => {
  const inputs: TestInput[] = [
    { shape: [2, 1], data: [100, -100] },
    { shape: [3, 1], data: [90, -90, 89.9375] },
    { shape: [2], dtype: "i32", data: [1, 1] },
    { shape: [1], data: [0] },
  ];
  await checkKernel(linearCrossEntropy, inputs, { chunkRows: 2, transposedWeight: true, bias: false }, {
    skipOutputs: [1],
  });
});

Deno.test(
  "linear_cross_entropy_grad sums over a large vocabulary in parts on a GPU, for its last rows and terms too",
  deviceTest,
  async () => {
    // Two parts of 8196 and two terms more; chunks of three rows and of two.
    for (const transposedWeight of isLongRun ? [true, false] : [true]) {
      const test = { rows: 5, channels: 6, vocabulary: 16394, chunkRows: 3, transposedWeight };
      const [, split] = await checkGradient(test, { kind: "gpu", subgroupSize: 0 });
      assert.equal(split.length, 30);
    }
  },
);
