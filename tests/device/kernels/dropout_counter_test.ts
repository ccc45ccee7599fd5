import assert from "node:assert/strict";
import { type Command, u32, whole } from "../../../engine/graph/launch.ts";
import { defineOp } from "../../../kernels/define_op.ts";
import type { OpDefinition } from "../../../engine/graph/op.ts";
import { attention } from "../../../kernels/attention.ts";
import { dropout, type DropoutAttrs } from "../../../kernels/dropout.ts";
import { flashAttention } from "../../../kernels/flash_attention.ts";
import { FLASH_PARAMS } from "../../../kernels/flash/text.ts";
import { dropoutKeep, RANDOM_WGSL } from "../../../kernels/random.ts";
import { NEUTRAL_STEP } from "../../../kernels/step_block.ts";
import { attentionAttrs } from "../../support/attention_cases.ts";
import { checkKernel } from "../../support/check_op.ts";
import { assertClose } from "../../support/numerics.ts";
import { deviceTest } from "../../support/with_device.ts";

// No test can hold 2³⁴ elements: kernels run on few, told that these are far behind others.

/** An op whose launches have other numbers in their uniform block. */
function told<Attrs>(
  op: OpDefinition<Attrs>,
  change: (words: number[], kernel: string) => void,
): OpDefinition<Attrs> {
  return {
    ...op,
    lower: (context) =>
      op.lower(context).map((command): Command => {
        if (!("kernel" in command)) return command;
        const words = command.params.map(({ value }) => value);
        change(words, command.kernel.name);
        return { ...command, params: command.params.map((word, i) => ({ ...word, value: words[i] >>> 0 })) };
      }),
  };
}

Deno.test("counters of groups are 64-bit numbers on the device", deviceTest, async () => {
  const edges = [0, 1, 3, 2 ** 16 - 1, 2 ** 16, 2 ** 16 + 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 2, 2 ** 32 - 1];
  const rows = edges.flatMap((a) => edges.flatMap((b) => edges.map((c) => [a, b, c])));
  const counters = defineOp({
    name: "counters",
    inferTypes: ([{ shape }]) => [{ shape: [2 * shape[0]], dtype: "u32" }],
    lower: ({ inputs: [numbers], outputs: [counters] }) => [{
      kernel: {
        name: "counters",
        code: `${RANDOM_WGSL}
@group(0) @binding(0) var<storage, read_write> numbers: array<u32>;
@group(0) @binding(1) var<storage, read_write> counters: array<u32>;
struct Params { count: u32 }
@group(1) @binding(0) var<uniform> params: Params;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.count) { return; }
  let counter = counter_at(numbers[3u * id.x], numbers[3u * id.x + 1u], numbers[3u * id.x + 2u]);
  counters[2u * id.x] = counter.x;
  counters[2u * id.x + 1u] = counter.y;
}`,
        entryPoint: "main",
        writes: [1],
      },
      bindings: [whole(numbers), whole(counters)],
      params: [u32(numbers.shape[0])],
      workgroups: [Math.ceil(numbers.shape[0] / 64), 1, 1],
    }],
    reference: ([numbers]) => {
      const words = new Float64Array(numbers.length / 3 * 2);
      for (let n = 0; n < numbers.length / 3; n++) {
        const [a, b, c] = [0, 1, 2].map((i) => BigInt(numbers[3 * n + i]));
        const counter = BigInt.asUintN(64, a * b + c);
        words[2 * n] = Number(counter & 0xffffffffn);
        words[2 * n + 1] = Number(counter >> 32n);
      }
      return [words];
    },
  });
  await checkKernel(counters, [{ shape: [rows.length, 3], dtype: "u32", data: rows.flat() }], {}, {
    allowed: 0,
  });
});

Deno.test("dropout draws other numbers for elements past 2³⁴", deviceTest, async () => {
  const attrs: DropoutAttrs = { probability: 0.5, stream: 3 };
  for (const size of [512, 511]) {
    // The window begins 64 groups before the low word ends.
    const first = 4 * (2 ** 32 - 64);
    const far = told(dropout, (words) => [words[4], words[5]] = [2 ** 32 - 64, 0]);
    const ones = { shape: [size], data: new Float64Array(size).fill(1) };
    const [got] = await checkKernel(far, [ones], attrs, { skipOutputs: [0] });
    got.forEach((y, i) => assert.equal(y, dropoutKeep(NEUTRAL_STEP, 3, first + i, 0.5) ? 2 : 0, `${i}`));
  }
});

Deno.test("attention and flash attention drop the same past 2³⁴ probabilities", deviceTest, async () => {
  const probability = 0.5, stream = 5;
  // Groups per row 2 and 3; rows of single numbers and of vectors. Group 2³² is one of theirs.
  for (const [sequence, heads] of [[8, 2], [9, 2]]) {
    const attrs = attentionAttrs({
      batch: 2,
      sequence,
      heads,
      kvHeads: heads,
      headSize: 4,
      causal: true,
      segments: false,
      dropout: { probability, stream },
    });
    const groups = Math.ceil(sequence / 4);
    const sequencesBefore = Math.floor((2 ** 32 - 1) / (heads * sequence * groups));
    const firstRow = sequencesBefore * heads * sequence;
    assert.ok((firstRow + 2 * heads * sequence) * groups > 2 ** 32 && firstRow * groups < 2 ** 32);
    const qkv = { shape: [2 * sequence, 3 * heads * 4] };
    const plain = told(attention, (words, kernel) => {
      if (kernel === "attention_softmax") words[1] += firstRow;
    });
    // Without a scratch texture, whose place would come first in the block.
    const check = { target: { scratchBytes: 0 }, skipOutputs: [0, 1, 2] };
    const [o, probabilities, dropped] = await checkKernel(plain, [qkv], attrs, check);
    const keeps = new Set<boolean>();
    probabilities.forEach((p, i) => {
      const [row, key] = [Math.floor(i / sequence), i % sequence];
      const keep = dropoutKeep(NEUTRAL_STEP, stream, 4 * (firstRow + row) * groups + key, probability);
      keeps.add(keep);
      assert.equal(dropped[i], keep ? 2 * p : 0, `row ${row}, key ${key}`);
    });
    assert.equal(keeps.size, 2);
    const flash = told(
      flashAttention,
      (words) => words[FLASH_PARAMS.indexOf("firstBatch")] += sequencesBefore,
    );
    const [flashO] = await checkKernel(flash, [qkv], attrs, { skipOutputs: [0, 1] });
    assertClose(flashO, o, 1e-5, "flash attention");
  }
});
