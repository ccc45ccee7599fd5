import assert from "node:assert/strict";
import type { Dtype } from "../../../engine/graph/types.ts";
import { attention, attentionGrad } from "../../../kernels/attention.ts";
import { attendReference } from "../../../kernels/attention_reference.ts";
import type { AttentionAttrs } from "../../../kernels/attention_shapes.ts";
import {
  ATTENTION_CASES,
  attentionAttrs,
  attentionCaseName,
  packedSegments,
  qkvInput,
  WINDOWED_CASES,
} from "../../support/attention_cases.ts";
import type { StepBlock } from "../../../kernels/step_block.ts";
import { checkKernel } from "../../support/check_op.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { isLongRun } from "../../support/long_run.ts";
import { deviceTest, deviceTestOf } from "../../support/with_device.ts";
import type { KernelChanges } from "../../support/kernel_changes.ts";

interface Variant {
  name: string;
  target: KernelChanges;
}
/** The row kernels have three forms; each runs on any adapter. */
const FORMS: Variant[] = [
  { name: "this adapter's form", target: {} },
  { name: "one row per workgroup", target: { kind: "gpu", subgroupSize: 0 } },
  { name: "one row per invocation", target: { kind: "software", subgroupSize: 0 } },
];

/**
 * In f16, and in forms beside the adapter's own, what differs is loads and
 * stores: of vectors, and of single numbers.
 */
const FEW_CASES = [ATTENTION_CASES[4], ATTENTION_CASES[6]];
const DROPOUT = { probability: 0.3, stream: 5 };

async function checkForward(attrs: AttentionAttrs, dtype: Dtype, target: KernelChanges) {
  const inputs = [qkvInput(attrs, dtype), ...(attrs.segments ? [packedSegments(attrs)] : [])];
  const terms = Math.max(attrs.sequence, attrs.headSize);
  return await checkKernel(attention, inputs, attrs, { target, terms, what: attentionCaseName(attrs) });
}

async function checkGradient(attrs: AttentionAttrs, dtype: Dtype, target: KernelChanges) {
  const qkv = qkvInput(attrs, dtype);
  const rounded = Float64Array.from(
    seededNumbers(qkv.shape[0] * qkv.shape[1], 1),
    dtype === "f16" ? Math.f16round : Math.fround,
  );
  const segments = attrs.segments ? Float64Array.from(packedSegments(attrs).data!) : undefined;
  const { batch, sequence, heads, headSize } = attrs;
  const { probabilities, slopes } = attendReference(rounded, segments, attrs);
  const scores = { shape: [batch, heads, sequence, sequence], dtype };
  const inputs = [
    { ...qkv, data: rounded },
    { ...scores, data: probabilities },
    { shape: [batch * sequence, heads * headSize], dtype },
    ...(attrs.scoreCap === undefined ? [] : [{ ...scores, data: slopes }]),
  ];
  const terms = Math.max((sequence * heads) / attrs.kvHeads, headSize);
  await checkKernel(attentionGrad, inputs, { ...attrs, segments: false }, {
    target,
    terms,
    // Where the sums of grouped heads meet: workspace.
    skipOutputs: [2],
    what: `${attentionCaseName(attrs)}, gradient`,
  });
}

for (const dtype of ["f32", "f16"] as const) {
  const options = await deviceTestOf(dtype);
  for (const { name, target } of FORMS) {
    const own = Object.keys(target).length === 0;
    Deno.test(`attention matches its reference in ${dtype}: ${name}`, options, async () => {
      for (const partial of isLongRun || (dtype === "f32" && own) ? ATTENTION_CASES : FEW_CASES) {
        for (const segments of [false, true]) {
          // Packing and dropout together: two kinds of zeros that must not be taken for each other.
          const attrs = attentionAttrs({ ...partial, segments, dropout: segments ? DROPOUT : null });
          await checkForward(attrs, dtype, target);
          await checkGradient(attrs, dtype, target);
        }
      }
    });
  }
}

for (const dtype of ["f32", "f16"] as const) {
  const options = await deviceTestOf(dtype);
  for (const { name, target } of FORMS) {
    Deno.test(`attention over windows, of capped scores, matches in ${dtype}: ${name}`, options, async () => {
      for (const partial of isLongRun || dtype === "f32" ? WINDOWED_CASES : [WINDOWED_CASES[0]]) {
        for (const segments of [false, true]) {
          const attrs = attentionAttrs({ ...partial, segments, dropout: segments ? DROPOUT : null });
          await checkForward(attrs, dtype, target);
          await checkGradient(attrs, dtype, target);
        }
      }
    });
  }
}

Deno.test("attention over a window needs a causal mask and a key", () => {
  for (const attrs of [{ window: 2, causal: false }, { window: 0 }, { window: 1.5 }]) {
    const whole = attentionAttrs({ sequence: 4, ...attrs });
    const { shape } = qkvInput(whole);
    assert.throws(() => attention.inferTypes([{ shape, dtype: "f32" }], whole), RangeError);
  }
});

Deno.test("attention of a query that sees no key is zero", deviceTest, async () => {
  const attrs = attentionAttrs({ sequence: 16, segments: true });
  const [o] = await checkForward(attrs, "f32", {});
  const lastRow = o.slice(15 * 16, 16 * 16); // 2 heads of 8; the last eighth of the sequence is padding
  assert.deepEqual(lastRow, new Float64Array(16));
});

Deno.test(
  "attention drops other probabilities in every step, micro-step and stream, and about as many as asked",
  deviceTest,
  async () => {
    const attrs = attentionAttrs({ sequence: 64, causal: false, dropout: DROPOUT });
    const dropped = async (step: Partial<StepBlock>, stream: number) => {
      const [, , kept] = await checkKernel(attention, [qkvInput(attrs)], {
        ...attrs,
        dropout: { ...DROPOUT, stream },
      }, {
        step,
        skipOutputs: [0, 1, 2],
      });
      return kept.map((p) => p === 0 ? 1 : 0);
    };
    const draws = [
      await dropped({}, 5),
      await dropped({ seed: 1 }, 5),
      await dropped({ stepIndex: 1 }, 5),
      await dropped({ microStepIndex: 1 }, 5),
      await dropped({}, 6),
    ];
    draws.forEach((draw, i) => {
      // 2·2·64·64 draws: four standard deviations are 0.014.
      const share = draw.reduce((a, b) => a + b) / draw.length;
      assert.ok(Math.abs(share - 0.3) < 0.015, `draw ${i} drops ${share}`);
      for (const other of draws.slice(i + 1)) assert.notDeepEqual(draw, other);
    });
  },
);

Deno.test("attention splits values that pass the binding limit", deviceTest, async () => {
  const attrs = attentionAttrs({ sequence: 40, heads: 3, headSize: 4 });
  // Probabilities take 2·3·40·40·4 = 38 400 bytes, so they need several bindings of 16 384.
  await checkForward(attrs, "f32", { maxStorageBufferBindingSize: 16384 });
  await checkGradient(attrs, "f32", { maxStorageBufferBindingSize: 16384 });
});
