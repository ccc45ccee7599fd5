import assert from "node:assert/strict";
import { GraphBuilder } from "../../../engine/graph/builder.ts";
import type { OpDefinition } from "../../../engine/graph/op.ts";
import { type Dtype, elementCount, type TensorType } from "../../../engine/graph/types.ts";
import { planGraphs } from "../../../engine/plan/plan.ts";
import { DEFAULT_TARGET } from "../../../engine/plan/reference_kernels.ts";
import { attention, attentionGrad } from "../../../kernels/attention.ts";
import { linearCrossEntropyGrad } from "../../../kernels/cross_entropy.ts";
import { linear, linearInputGrad } from "../../../kernels/linear.ts";
import { linearGelu, linearInputGradGelu } from "../../../kernels/linear_gelu.ts";
import { quantizedLinearInputGrad, quantizedTypes } from "../../../kernels/quantized_linear.ts";
import { attentionAttrs } from "../../support/attention_cases.ts";
import { kernelsFor } from "../../../kernels/kernel_sets.ts";

/**
 * Bytes of the smallest binding that an adapter may have as its largest, less
 * what windows are wider than what lies in them.
 */
const LEAST = 2 ** 27 - 512;

/** Workspaces in which parts meet, and the kernels that a GPU and a software adapter run. */
function planned<Attrs>(op: OpDefinition<Attrs>, inputs: readonly TensorType[], attrs: Attrs) {
  const builder = new GraphBuilder();
  const values = inputs.map((type, i) => builder.persistents.declare(`input${i}`, type, "inputs"));
  const outputs = builder.call(op, values, attrs);
  const graph = builder.finish("op", [outputs[0]]);
  const plans = [{}, { subgroupSize: 32 }, { maxStorageBufferBindingSize: 2 ** 31 - 4 }].map((limits) =>
    planGraphs([graph], builder.persistents.all(), kernelsFor("gpu", { ...DEFAULT_TARGET, ...limits }))
  );
  const bytes = new Set(plans.map(({ peakBytes }) => peakBytes));
  assert.equal(bytes.size, 1, "a plan does not depend on the adapter");
  return {
    meeting: outputs.filter(({ name, role }) => role === "workspace" && /meeting|dx_parts/.test(name))
      .map((value) => `${value.dtype} ${elementCount(value)}`),
    kernels: plans.slice(0, 2).map(({ programs }) =>
      programs.flatMap(({ commands }) => commands).flatMap((command) =>
        "kernel" in command ? [command.kernel.name] : []
      )
    ),
  };
}

/** Whether an op's terms come in parts, which must then meet in a workspace of `count` elements. */
function meets<Attrs>(
  op: OpDefinition<Attrs>,
  inputs: readonly TensorType[],
  attrs: Attrs,
  count: number,
): boolean {
  const { meeting, kernels } = planned(op, inputs, attrs);
  const summed = kernels.map((names) => names.includes("partial_sums"));
  if (meeting.length === 0) {
    assert.deepEqual(summed, [false, false], op.name);
    return false;
  }
  assert.deepEqual(meeting, [`f32 ${count}`], op.name);
  return summed.every((one) => one);
}

const matrix = (rows: number, columns: number, dtype: Dtype = "f16"): TensorType => ({
  shape: [rows, columns],
  dtype,
});

Deno.test("a weight in f16 past the least binding limit gives its products somewhere to meet", () => {
  // Rows of 1024 bytes: 131 072 of them are 2²⁷ bytes. A few below, all fit; from
  // there to the limit the workspace is not used.
  const [N, columns] = [3, 512];
  const plain = { bias: false, residual: false };
  const gelu = { approximation: "tanh" } as const;
  for (
    const [terms, planned, split] of [[131_071, false, false], [131_072, true, false], [
      131_073,
      true,
      true,
    ]] as const
  ) {
    const weight = matrix(terms, columns);
    assert.equal(2 * terms * columns > LEAST, planned);
    const forward = [matrix(N, terms), weight];
    const backward = [matrix(N, terms), weight];
    const h = matrix(N, columns);
    const all: [string, boolean][] = [
      ["linear", meets(linear, forward, { ...plain, transposedWeight: false }, N * columns)],
      [
        "linear_gelu",
        meets(linearGelu, forward, { ...plain, ...gelu, transposedWeight: false }, N * columns),
      ],
      ["input grad", meets(linearInputGrad, backward, { transposedWeight: true }, N * columns)],
      ["added to", meets(linearInputGrad, [...backward, h], { transposedWeight: true }, N * columns)],
      [
        "gelu grad",
        meets(linearInputGradGelu, [...backward, h], { ...gelu, transposedWeight: true }, N * columns),
      ],
    ];
    for (const [name, found] of all) assert.equal(found, split, `${name}, ${terms} terms`);
  }
  // The other way round columns are bound apart, and f32 meets in its result.
  const transposed = [matrix(N, columns), matrix(131_073, columns)];
  assert.deepEqual(planned(linear, transposed, { ...plain, transposedWeight: true }).meeting, []);
  const wide = [matrix(N, 131_073, "f32"), matrix(131_073, columns, "f32")];
  assert.deepEqual(planned(linear, wide, { ...plain, transposedWeight: false }).meeting, []);
});

Deno.test("so do codes, the head's gradient, attention over long sequences and grouped heads", () => {
  for (const [cOut, split] of [[131_071, false], [131_073, true]] as const) {
    const weight = {
      cIn: 1024,
      cOut,
      format: "int8" as const,
      quantBlockSize: 1024,
      doubleQuantization: false,
    };
    const inputs = [matrix(3, cOut), ...quantizedTypes(weight)];
    assert.equal(meets(quantizedLinearInputGrad, inputs, weight, 3 * 1024), split);
  }
  // So many rows and channels that a GPU does not split the vocabulary itself.
  const [rows, channels] = [512, 8448];
  for (const [vocabulary, split] of [[7943, false], [7945, true]] as const) {
    const inputs: TensorType[] = [
      matrix(rows, channels),
      matrix(vocabulary, channels),
      { shape: [rows], dtype: "i32" },
      { shape: [1], dtype: "f32" },
    ];
    const found = meets(linearCrossEntropyGrad, inputs, {
      chunkRows: rows,
      transposedWeight: true,
      bias: false,
      inputGrad: true,
      weightGrad: false,
      biasGrad: false,
      weightPrior: false,
      biasPrior: false,
    }, rows * channels);
    assert.equal(found, split);
  }
  const ofAttention = (sequence: number, kvHeads: number, gradientCount: number) => {
    const attrs = attentionAttrs({ batch: 1, sequence, heads: 2, kvHeads, headSize: 64, causal: true });
    const qkv = matrix(sequence, (2 + 2 * kvHeads) * 64);
    const scores: TensorType = { shape: [1, 2, sequence, sequence], dtype: "f16" };
    return [
      planned(attention, [qkv], attrs).meeting.length,
      meets(attentionGrad, [qkv, scores, matrix(sequence, 128)], attrs, gradientCount),
    ];
  };
  assert.deepEqual(ofAttention(512, 2, 0), [0, false]);
  assert.deepEqual(ofAttention(512, 1, 512 * 64), [0, true], "two heads of queries on one of keys");
  assert.deepEqual(ofAttention(8192, 2, 8192 * 128), [0, false], "scores of 2²⁷ bytes a head fit");
  assert.deepEqual(ofAttention(8256, 2, 8256 * 128), [0, true]);
});
