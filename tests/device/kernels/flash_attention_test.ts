import type { Target } from "../../../engine/graph/op.ts";
import type { Dtype } from "../../../engine/graph/types.ts";
import { attendReference } from "../../../kernels/attention_reference.ts";
import type { AttentionAttrs } from "../../../kernels/attention_shapes.ts";
import { flashAttention, flashAttentionGrad } from "../../../kernels/flash_attention.ts";
import {
  ATTENTION_CASES,
  attentionAttrs,
  attentionCaseName,
  packedSegments,
  qkvInput,
} from "../../support/attention_cases.ts";
import { checkKernel } from "../../support/check_op.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { deviceTest } from "../../support/with_device.ts";

/** The kernels have two forms; the one for GPUs runs on any adapter. */
const FORMS: { name: string; target: Partial<Target> }[] = [
  { name: "this adapter's form", target: {} },
  { name: "tiles in workgroup memory", target: { software: false } },
];
const DROPOUT = { probability: 0.3, stream: 5 };
const CASES = [
  ...ATTENTION_CASES,
  { sequence: 65, headSize: 128, heads: 1, batch: 1 },
  { sequence: 129, headSize: 44, heads: 2, kvHeads: 1, batch: 1 },
];

async function checkForward(attrs: AttentionAttrs, dtype: Dtype, target: Partial<Target>) {
  const inputs = [qkvInput(attrs, dtype), ...(attrs.segments ? [packedSegments(attrs)] : [])];
  const terms = Math.max(attrs.sequence, attrs.headSize);
  return await checkKernel(flashAttention, inputs, attrs, { target, terms, what: attentionCaseName(attrs) });
}

async function checkGradient(attrs: AttentionAttrs, dtype: Dtype, target: Partial<Target>) {
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
  for (const { name, target } of FORMS) {
    Deno.test(`flash_attention matches its reference in ${dtype}: ${name}`, deviceTest, async () => {
      for (const partial of CASES) {
        for (const segments of [false, true]) {
          const attrs = attentionAttrs({ ...partial, segments, dropout: segments ? DROPOUT : null });
          await checkForward(attrs, dtype, target);
          await checkGradient(attrs, dtype, target);
        }
      }
    });
  }
}
