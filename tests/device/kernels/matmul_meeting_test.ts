// Products in f16 whose terms are split over the binding limit.
import assert from "node:assert/strict";
import type { Dtype } from "../../../engine/graph/types.ts";
import { attentionGrad } from "../../../kernels/attention.ts";
import { attendReference } from "../../../kernels/attention_reference.ts";
import { attentionAttrs, qkvInput } from "../../support/attention_cases.ts";
import { checkKernel, type TestInput } from "../../support/check_op.ts";
import { FAMILIES } from "../../support/matmul_checks.ts";
import { matmulProbe, type ProbeAttrs } from "../../support/matmul_probe.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { deviceTestOf } from "../../support/with_device.ts";
import type { KernelChanges } from "../../support/kernel_changes.ts";

/** One rounding to f16, relative to the largest result. */
const ONE_ROUNDING = 2 ** -11;

/**
 * Numbers of around 1 along the first half of the terms and of around −1 along the second: partial sums are
 * hundreds, of which f16 keeps halves, and what they come to is small.
 */
function cancelling(terms: number, others: number, termsFirst: boolean): TestInput {
  const noise = seededNumbers(terms * others, 7);
  const data = noise.map((x, i) => {
    const term = termsFirst ? Math.floor(i / others) : i % terms;
    return (term < terms / 2 ? 1 : -1) + x / 8;
  });
  return { shape: termsFirst ? [terms, others] : [others, terms], data, dtype: "f16" };
}

/**
 * On buffers, and where parts are read from a scratch texture of four rows, in which not all terms have room.
 */
const TARGETS: (readonly [string, KernelChanges])[] = [
  FAMILIES.buffers,
  ["this adapter's small texture's", { scratchBytes: 65536 }],
  FAMILIES.workgroup,
];

for (const [family, target] of TARGETS) {
  const options = await deviceTestOf("f16");
  Deno.test(`${family} product in f16 rounds once, however often its terms are split`, options, async () => {
    const limit = { ...target, maxStorageBufferBindingSize: 4096 };
    // In vectors and in single numbers; C alone, added to, and with all that an epilogue adds. A row of x
    // alone passes the limit in the last one.
    for (const [m, n, k] of [[12, 20, 1200], [5, 7, 1531], [3, 5, 2100]]) {
      const f16: Dtype = "f16";
      const ones: TestInput = {
        shape: [m, k],
        data: seededNumbers(m * k, 3).map((x) => 1 + x / 16),
        dtype: f16,
      };
      const attrs: ProbeAttrs = {
        m,
        n,
        k,
        a: { ld: k },
        b: { ld: n },
        c: { ld: n },
        output: { shape: [m, n], dtype: f16 },
        meeting: true,
      };
      const b = cancelling(k, n, true);
      const check = { target: limit, allowed: 1.1 * ONE_ROUNDING, skipOutputs: [1] };
      await checkKernel(matmulProbe, [ones, b], attrs, check);
      const prior: TestInput = { shape: [m, n], dtype: f16 };
      await checkKernel(matmulProbe, [ones, b, prior], { ...attrs, accumulate: true }, check);
      const bias: TestInput = { shape: [n] };
      await checkKernel(matmulProbe, [ones, b, bias, prior], {
        ...attrs,
        bias: true,
        residual: true,
        alpha: 0.5,
      }, check);
      // Where there is nowhere to meet, nothing is rounded in silence.
      await assert.rejects(
        checkKernel(matmulProbe, [ones, b], { ...attrs, meeting: false }, check),
        /Cannot split the terms of matmul_probe: .* expected somewhere to meet in f32/,
      );
    }
  });

  Deno.test(`${family} product in f16 stores strided batches that have met`, options, async () => {
    const limit = { ...target, maxStorageBufferBindingSize: 4096 };
    const [B, H, T] = [2, 3, 260];
    for (const [m, D] of [[8, 4], [5, 3]]) {
      // As the gradient of values: A stored [k, m], heads side by side in the
      // rows of C, which begins behind other columns.
      const [ld, offset] = [2 * H * D, H * D];
      await checkKernel(matmulProbe, [
        { ...cancelling(T, m, true), shape: [1, T, m] },
        { shape: [B, T, H * D], data: seededNumbers(B * T * H * D, 5).map((x) => 1 + x / 16), dtype: "f16" },
        { shape: [B, m, ld], dtype: "f16" },
      ], {
        m,
        n: D,
        k: T,
        batch: [B, H],
        a: { ld: m, transposed: true, strides: [0, 0] },
        b: { ld: H * D, strides: [T * H * D, D] },
        c: { ld, offset, strides: [m * ld, D] },
        output: { shape: [B, m, ld], dtype: "f16" },
        accumulate: true,
        meeting: true,
      }, {
        target: { ...limit, maxStorageBufferBindingSize: 2048 },
        allowed: 1.1 * ONE_ROUNDING,
        skipOutputs: [1],
      });
    }
  });
}

Deno.test("gradients of grouped heads in f16 meet in f32", await deviceTestOf("f16"), async () => {
  // Four heads on one: the gradients that two of them give cancel those of the others.
  const attrs = attentionAttrs({ batch: 2, sequence: 12, heads: 4, kvHeads: 1, headSize: 4, causal: true });
  const { batch, sequence, heads, headSize } = attrs;
  const rows = batch * sequence;
  const qkv = qkvInput(attrs, "f16");
  const numbers = Float64Array.from(
    seededNumbers(rows * qkv.shape[1], 1),
    (x, i) => Math.f16round(i % qkv.shape[1] < heads * headSize ? x / 4096 : x),
  );
  const dO = Float64Array.from(
    seededNumbers(rows * heads * headSize, 2),
    (x, i) => (Math.floor(i / headSize) % heads < 2 ? 512 : -512) + x,
  );
  const probabilities = Float64Array.from(
    attendReference(numbers, undefined, attrs).probabilities,
    Math.f16round,
  );
  const [dqkv] = await checkKernel(
    attentionGrad,
    [
      { ...qkv, data: numbers },
      { shape: [batch, heads, sequence, sequence], dtype: "f16", data: probabilities },
      { shape: [rows, heads * headSize], dtype: "f16", data: dO },
    ],
    attrs,
    { skipOutputs: [0, 1, 2] },
  );
  // dv alone: no rounded intermediate goes into it.
  const first = (heads + 1) * headSize;
  const expected: number[] = [], actual: number[] = [];
  for (let b = 0; b < batch; b++) {
    for (let key = 0; key < sequence; key++) {
      for (let d = 0; d < headSize; d++) {
        let sum = 0;
        for (let h = 0; h < heads; h++) {
          for (let query = 0; query < sequence; query++) {
            const p = probabilities[((b * heads + h) * sequence + query) * sequence + key];
            sum += p * Math.f16round(dO[((b * sequence + query) * heads + h) * headSize + d]);
          }
        }
        expected.push(sum);
        actual.push(dqkv[(b * sequence + key) * qkv.shape[1] + first + d]);
      }
    }
  }
  const largest = Math.max(...expected.map(Math.abs));
  assert.ok(largest < 20, `the heads cancel: ${largest}`);
  actual.forEach((value, i) =>
    assert.ok(
      Math.abs(value - expected[i]) <= 1.1 * ONE_ROUNDING * largest,
      `dv ${i}: ${value}, expected ${expected[i]}`,
    )
  );
});
