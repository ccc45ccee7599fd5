import assert from "node:assert/strict";
import type { Dtype } from "../../../engine/graph/types.ts";
import { attendReference, EMPTY_LOGSUMEXP } from "../../../kernels/attention_reference.ts";
import type { AttentionAttrs } from "../../../kernels/attention_shapes.ts";
import { flashAttention, flashAttentionGrad } from "../../../kernels/flash_attention.ts";
import { type WorkgroupShape, workgroupShapes, workgroupTile } from "../../../kernels/flash/workgroup.ts";
import {
  attentionAttrs,
  attentionCaseName,
  packedSegments,
  qkvInput,
  WINDOWED_CASES,
} from "../../support/attention_cases.ts";
import { checkKernel } from "../../support/check_op.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { isLongRun } from "../../support/long_run.ts";
import { deviceTest, deviceTestOf, sharedDevice } from "../../support/with_device.ts";
import { changed, type KernelChanges } from "../../support/kernel_changes.ts";

type Case = Partial<AttentionAttrs> & { sequence: number };

const ANY_DEVICE: KernelChanges = { kind: "gpu", maxComputeWorkgroupStorageSize: 16384 };
/** The kernels have two forms; the one for GPUs runs on any adapter. */
const FORMS: { name: string; target: KernelChanges }[] = [
  { name: "this adapter's form", target: {} },
  { name: "tiles in workgroup memory", target: { kind: "gpu" } },
  ...(isLongRun ? [{ name: "tiles in the workgroup memory of any device", target: ANY_DEVICE }] : []),
];
const PACKED = { segments: true, dropout: { probability: 0.3, stream: 5 } };
/**
 * Sizes around tiles of 32 and 64. Few head sizes, because each is a text of its own, and a text takes a
 * software adapter seconds to compile.
 */
const CASES: Case[] = [
  { sequence: 1, headSize: 5, heads: 1 },
  { sequence: 13, headSize: 5, heads: 3 },
  { sequence: 31, headSize: 20 },
  { sequence: 32, headSize: 20, heads: 3, kvHeads: 1 },
  { sequence: 33, headSize: 20, heads: 4, kvHeads: 2 },
  { sequence: 70, headSize: 20, causal: false },
  { sequence: 129, headSize: 20, batch: 1 },
];
/** What differs in f16 is loads, stores and, on subgroups, two gradient kernels instead of one. */
const HALF_CASES: Case[] = [CASES[4]];
const HEAD_SIZES = isLongRun ? [1, 64, 80, 128] : [1, 64, 128];

/** Every shape that the rules choose, with a head size and the memory for which all kernels take it. */
const SHAPES: { shape: WorkgroupShape; target: KernelChanges; headSize: number }[] = [
  { shape: { rows: 64, down: 8 }, target: { kind: "gpu" }, headSize: 64 },
  { shape: { rows: 64, down: 16 }, target: { kind: "gpu" }, headSize: 132 },
  { shape: { rows: 32, down: 8 }, target: ANY_DEVICE, headSize: 20 },
];

/** As they are, and of packed documents with dropout. */
function plainAndPacked(cases: readonly Case[]): Case[] {
  return cases.flatMap((attrs) => [attrs, { ...attrs, ...PACKED }]);
}

function casesOf(dtype: Dtype, { kind }: KernelChanges): Case[] {
  if (isLongRun) return plainAndPacked(CASES);
  if (kind !== "gpu") return plainAndPacked(dtype === "f16" ? HALF_CASES : CASES);
  // Beside a software adapter's own form the other one has single numbers and
  // groups of heads here, several tiles below.
  return dtype === "f16" ? HALF_CASES : [CASES[1], ...plainAndPacked([CASES[4]])];
}

async function checkForward(attrs: AttentionAttrs, dtype: Dtype, target: KernelChanges) {
  const inputs = [qkvInput(attrs, dtype), ...(attrs.segments ? [packedSegments(attrs)] : [])];
  const terms = Math.max(attrs.sequence, attrs.headSize);
  return await checkKernel(flashAttention, inputs, attrs, { target, terms, what: attentionCaseName(attrs) });
}

async function checkGradient(
  attrs: AttentionAttrs,
  dtype: Dtype,
  target: KernelChanges,
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
        const attrs = attentionAttrs(partial);
        await checkForward(attrs, dtype, target);
        await checkGradient(attrs, dtype, target);
      }
    });
  }
}

for (const dtype of ["f32", "f16"] as const) {
  const options = await deviceTestOf(dtype);
  for (const { name, target } of FORMS) {
    Deno.test(`flash_attention over windows, of capped scores, in ${dtype}: ${name}`, options, async () => {
      const [small, large] = WINDOWED_CASES;
      const few = dtype === "f16" ? [{ ...small, ...PACKED }] : target.kind ? [small, large] : WINDOWED_CASES;
      for (const partial of isLongRun ? plainAndPacked(WINDOWED_CASES) : few) {
        const attrs = attentionAttrs(partial);
        await checkForward(attrs, dtype, target);
        await checkGradient(attrs, dtype, target);
      }
    });
  }
}

Deno.test(
  "flash_attention matches its reference for the smallest and the usual head sizes",
  deviceTest,
  async () => {
    for (const { target } of isLongRun ? FORMS : [FORMS[0]]) {
      for (const headSize of HEAD_SIZES) {
        const attrs = attentionAttrs({ sequence: 37, headSize, heads: 2, kvHeads: 1, batch: 1 });
        await checkForward(attrs, "f32", target);
        await checkGradient(attrs, "f32", target);
      }
    }
  },
);

for (const { shape, target, headSize } of SHAPES) {
  const limits = changed((await sharedDevice()).gpu.kernels, target).target;
  const fits = (shape: WorkgroupShape) => {
    const { invocations, workgroupBytes } = workgroupTile(headSize, shape);
    return invocations <= limits.maxComputeInvocationsPerWorkgroup &&
      workgroupBytes(2) <= limits.maxComputeWorkgroupStorageSize;
  };
  const { rows, down } = shape;
  Deno.test({
    name: `flash_attention matches its reference in workgroups of 16 × ${down} that walk ${rows} rows`,
    ...deviceTest,
    ignore: !fits(shape),
    async fn() {
      for (const sums of [1, 2]) assert.deepEqual(workgroupShapes(headSize, sums).find(fits), shape);
      const causal = { sequence: 70, headSize, kvHeads: 1, batch: 1 };
      const full = { ...causal, causal: false };
      const few = rows === 32 ? [{ ...full, ...PACKED }] : [causal];
      for (const partial of isLongRun ? plainAndPacked([causal, full]) : few) {
        const attrs = attentionAttrs(partial);
        await checkForward(attrs, "f32", target);
        await checkGradient(attrs, "f32", target);
      }
    },
  });
}

Deno.test("flash_attention of a query that sees no key is zero", deviceTest, async () => {
  const attrs = attentionAttrs({ sequence: 16, headSize: 20, ...PACKED });
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
