import assert from "node:assert/strict";
import type { Target } from "../../../engine/graph/op.ts";
import type { Dtype } from "../../../engine/graph/types.ts";
import { attendReference, EMPTY_LOGSUMEXP } from "../../../kernels/attention_reference.ts";
import type { AttentionAttrs } from "../../../kernels/attention_shapes.ts";
import { flashAttention, flashAttentionGrad } from "../../../kernels/flash_attention.ts";
import {
  attentionAttrs,
  attentionCaseName,
  packedSegments,
  qkvInput,
} from "../../support/attention_cases.ts";
import { checkKernel } from "../../support/check_op.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { deviceTest, deviceTestOf, isLongRun } from "../../support/with_device.ts";

/** The kernels have two forms; the one for GPUs runs on any adapter. */
const FORMS: { name: string; target: Partial<Target> }[] = [
  { name: "this adapter's form", target: {} },
  { name: "tiles in workgroup memory", target: { software: false } },
];
const DROPOUT = { probability: 0.3, stream: 5 };
/**
 * Sizes around tiles of 32 and 64. Few head sizes, because each is a text of its own, and a text takes a software adapter
 * seconds to compile.
 */
const CASES: (Partial<AttentionAttrs> & { sequence: number })[] = [
  { sequence: 1, headSize: 5, heads: 1 },
  { sequence: 13, headSize: 5, heads: 3 },
  { sequence: 31, headSize: 20 },
  { sequence: 32, headSize: 20, heads: 3, kvHeads: 1 },
  { sequence: 33, headSize: 20, heads: 4, kvHeads: 2 },
  { sequence: 70, headSize: 20, causal: false },
  { sequence: 129, headSize: 20, batch: 1 },
];
/** What differs in f16 is loads, stores and, on subgroups, two gradient kernels instead of one. */
const HALF_CASES: typeof CASES = [{ sequence: 33, headSize: 20, heads: 4, kvHeads: 2 }];
const HEAD_SIZES = isLongRun ? [1, 64, 80, 128] : [1, 64, 128];

function casesOf(dtype: Dtype, { software }: Partial<Target>): typeof CASES {
  if (isLongRun) return CASES;
  if (dtype === "f16") return HALF_CASES;
  // Beside a software adapter's own form the other one has single numbers, groups of heads and several tiles.
  return software === false ? [CASES[1], CASES[4], CASES[6]] : CASES;
}

async function checkForward(attrs: AttentionAttrs, dtype: Dtype, target: Partial<Target>) {
  const inputs = [qkvInput(attrs, dtype), ...(attrs.segments ? [packedSegments(attrs)] : [])];
  const terms = Math.max(attrs.sequence, attrs.headSize);
  return await checkKernel(flashAttention, inputs, attrs, { target, terms, what: attentionCaseName(attrs) });
}

async function checkGradient(
  attrs: AttentionAttrs,
  dtype: Dtype,
  target: Partial<Target>,
): Promise<Float64Array[]> {
  const { batch, sequence, heads, headSize } = attrs;
  const qkv = qkvInput(attrs, dtype);
  const round = dtype === "f16" ? Math.f16round : Math.fround;
  const data = Float64Array.from(seededNumbers(qkv.shape[0] * qkv.shape[1], 1), round);
  const packed = attrs.segments ? packedSegments(attrs) : undefined;
  const forward = attendReference(data, packed && Float64Array.from(packed.data!), attrs);
  const inputs = [
    { ...qkv, data },
    { shape: [batch * sequence, heads * headSize], dtype, data: forward.o },
    { shape: [batch, heads, sequence], data: forward.logsumexp },
    { shape: [batch * sequence, heads * headSize], dtype },
    ...(packed ? [packed] : []),
  ];
  return await checkKernel(flashAttentionGrad, inputs, attrs, {
    target,
    terms: Math.max((sequence * heads) / attrs.kvHeads, headSize),
    what: `${attentionCaseName(attrs)}, gradient`,
  });
}

for (const dtype of ["f32", "f16"] as const) {
  const options = await deviceTestOf(dtype);
  for (const { name, target } of FORMS) {
    Deno.test(`flash_attention matches its reference in ${dtype}: ${name}`, options, async () => {
      for (const partial of casesOf(dtype, target)) {
        for (const segments of [false, true]) {
          const attrs = attentionAttrs({ ...partial, segments, dropout: segments ? DROPOUT : null });
          await checkForward(attrs, dtype, target);
          await checkGradient(attrs, dtype, target);
        }
      }
    });
  }
}

Deno.test(
  "flash_attention matches its reference for the smallest and the usual head sizes",
  deviceTest,
  async () => {
    for (const { target } of FORMS) {
      for (const headSize of target.software === false && !isLongRun ? [64] : HEAD_SIZES) {
        const attrs = attentionAttrs({ sequence: 37, headSize, heads: 2, kvHeads: 1, batch: 1 });
        await checkForward(attrs, "f32", target);
        await checkGradient(attrs, "f32", target);
      }
    }
  },
);

Deno.test(
  "flash_attention matches its reference where workgroups have the memory of any device",
  deviceTest,
  async () => {
    const target = { software: false, maxComputeWorkgroupStorageSize: 16384 };
    for (const partial of isLongRun ? [...CASES, { sequence: 70, headSize: 128 }] : [CASES[4]]) {
      for (const segments of [false, true]) {
        const attrs = attentionAttrs({ ...partial, segments, dropout: segments ? DROPOUT : null });
        await checkForward(attrs, "f32", target);
        await checkGradient(attrs, "f32", target);
      }
    }
  },
);

Deno.test("flash_attention of a query that sees no key is zero", deviceTest, async () => {
  const attrs = attentionAttrs({ sequence: 16, headSize: 20, segments: true });
  for (const { target } of FORMS) {
    const [o, logsumexp] = await checkForward(attrs, "f32", target);
    assert.deepEqual(o.slice(15 * 40, 16 * 40), new Float64Array(40)); // the last eighth is padding
    assert.equal(logsumexp[15], Math.fround(EMPTY_LOGSUMEXP));
  }
});

Deno.test("flash_attention splits values that pass the binding limit", deviceTest, async () => {
  const attrs = attentionAttrs({ sequence: 13, headSize: 5, heads: 3, batch: 3 });
  for (const { target } of FORMS) {
    // A sequence of qkv takes 13·45·4 = 2340 bytes; the windows start in the middle of 256 bytes.
    await checkForward(attrs, "f32", { ...target, maxStorageBufferBindingSize: 4096 });
    await checkGradient(attrs, "f32", { ...target, maxStorageBufferBindingSize: 4096 });
  }
});

Deno.test("flash_attention gives the same bits in every run", deviceTest, async () => {
  const attrs = attentionAttrs({ sequence: 129, headSize: 20, heads: 4, kvHeads: 2 });
  for (const { target } of FORMS) {
    const first = await checkGradient(attrs, "f32", target);
    assert.deepEqual(await checkGradient(attrs, "f32", target), first);
  }
});
