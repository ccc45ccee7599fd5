// A form of storage is one declaration: bf16 in packed words, which no kernel knows of, works in products,
// flash attention, row kernels and elementwise ones, on GPUs' forms, from buffers and from copies.
import assert from "node:assert/strict";
import { GraphBuilder } from "../../../engine/graph/builder.ts";
import type { OpDefinition } from "../../../engine/graph/op.ts";
import { type Dtype, elementCount, type Value } from "../../../engine/graph/types.ts";
import { planGraphs } from "../../../engine/plan/plan.ts";
import { Session } from "../../../engine/runtime/session.ts";
import { gelu } from "../../../kernels/elementwise.ts";
import { flashAttention } from "../../../kernels/flash_attention.ts";
import { layerNorm } from "../../../kernels/layer_norm.ts";
import { linear } from "../../../kernels/linear.ts";
import { rmsNorm } from "../../../kernels/rms_norm.ts";
import { declareStorage } from "../../../kernels/storage_forms.ts";
import { attentionAttrs } from "../../support/attention_cases.ts";
import { changed, type KernelChanges } from "../../support/kernel_changes.ts";
import { assertClose } from "../../support/numerics.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { deviceTest, sharedDevice } from "../../support/with_device.ts";

const BF16 = "bf16" as Dtype;

declareStorage(BF16, {
  bytes: 2,
  element: (width) => {
    if (width === 1) throw new TypeError("Cannot bind single numbers of bf16: two lie in a word");
    return `vec${width / 2}<u32>`;
  },
  load: (stored) => `unpackBf16(${stored})`,
  store: (value) => `packBf16(${value})`,
  ofWords: (words) => `unpackBf16(${words})`,
  wgsl: `fn unpackBf16(words: vec2<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(vec4<u32>(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
}
fn packBf16(v: vec4<f32>) -> vec2<u32> {
  let bits = bitcast<vec4<u32>>(v);
  let rounded = bits + 0x7fffu + ((bits >> vec4<u32>(16u)) & vec4<u32>(1u));
  return (rounded.xz >> vec2<u32>(16u)) | (rounded.yw & vec2<u32>(0xffff0000u));
}
`,
});

/** The upper halves of numbers as f32, to the nearest even one. */
function packed(numbers: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(Float32Array.from(numbers).buffer);
  return Uint16Array.from(bits, (word) => (word + 0x7fff + ((word >>> 16) & 1)) >>> 16);
}

function unpacked(halves: Uint16Array): Float64Array {
  return Float64Array.from(new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer));
}

/** Forms of GPUs and of this adapter, which reads buffers, copies in part and copies whole. */
const CHANGES: KernelChanges[] = [
  { kind: "gpu" },
  { kind: "software", scratchBytes: 0 },
  { kind: "software", scratchBytes: 2 ** 16 },
  { kind: "software", scratchBytes: 2 ** 25 },
];

/** Checks the first output of an op, all of whose values are bf16 but for statistics. */
async function check<Attrs>(
  op: OpDefinition<Attrs>,
  shapes: readonly number[][],
  attrs: Attrs,
): Promise<void> {
  const { gpu, pipelines } = await sharedDevice();
  for (const changes of CHANGES) {
    const builder = new GraphBuilder();
    const inputs = shapes.map((shape, i) =>
      builder.persistents.declare(`input${i}`, { shape, dtype: BF16 }, "inputs")
    );
    const [output, ...others] = builder.call(op, inputs, attrs);
    const kernels = changed(gpu.kernels, changes);
    const plan = planGraphs([builder.finish("op", [output])], builder.persistents.all(), kernels);
    using session = asDisposable(await Session.open(gpu, plan, { arenaFill: 0x7fc00000, pipelines }));
    const data = inputs.map((value, i) => {
      const words = packed(seededNumbers(elementCount(value), i + 1));
      session.write(value, words);
      return unpacked(words);
    });
    await session.run();
    const got = unpacked(new Uint16Array(await session.read(output), 0, elementCount(output)));
    const [expected] = op.reference(data, attrs, { inputs, outputs: [output, ...others] });
    assertClose(got, expected, 2 ** -8, `${op.name} in bf16 ${JSON.stringify(changes)}`);
  }
}

function asDisposable(session: Session) {
  return {
    write: (value: Value, data: Uint16Array<ArrayBuffer>) => session.write(value, data),
    read: (value: Value) => session.read(value),
    run: () => session.run(),
    [Symbol.dispose]: () => session.close(),
  };
}

Deno.test("bf16 in packed words works in elementwise kernels", deviceTest, async () => {
  await check(gelu, [[7, 1204]], { approximation: "tanh" });
});

Deno.test("bf16 in packed words works in row kernels", deviceTest, async () => {
  await check(rmsNorm, [[300, 36], [36]], { eps: 1e-5 });
  await check(layerNorm, [[300, 36], [36], [36]], { eps: 1e-5 });
});

Deno.test("bf16 in packed words works in products", deviceTest, async () => {
  for (const transposedWeight of [false, true]) {
    const w = transposedWeight ? [40, 64] : [64, 40];
    await check(linear, [[36, 64], w], { transposedWeight, bias: false, residual: false });
  }
});

Deno.test("bf16 in packed words works in flash attention", deviceTest, async () => {
  const attrs = attentionAttrs({ sequence: 37, headSize: 16, heads: 4, kvHeads: 2, batch: 2 });
  await check(flashAttention, [[74, 128]], attrs);
});

Deno.test(
  "what cannot be bound is refused by its form, and what nobody declared by name",
  deviceTest,
  async () => {
    await assert.rejects(check(gelu, [[7, 3]], { approximation: "tanh" }), /two lie in a word/);
    const undeclared = "f8" as Dtype;
    const values = [0, 1].map((buffer) => ({
      name: "value",
      shape: [8],
      dtype: undeclared,
      buffer,
      byteOffset: 0,
      byteLength: 8,
    }));
    const { gpu: { kernels } } = await sharedDevice();
    const lower = () =>
      gelu.lower({ inputs: [values[0]], outputs: [values[1]], attrs: { approximation: "tanh" }, kernels });
    assert.throws(lower, /Cannot compute with f8: expected f32 or f16 or bf16/);
  },
);
