import assert from "node:assert/strict";
import { GraphBuilder } from "../../../engine/graph/builder.ts";
import type { Dispatch, Located } from "../../../engine/graph/launch.ts";
import type { Graph } from "../../../engine/graph/graph.ts";
import { elementCount, type Value } from "../../../engine/graph/types.ts";
import { verifyGraph } from "../../../engine/graph/verify.ts";
import { modelOf } from "../../../engine/model/config.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import { appendBackward } from "../../../engine/passes/autodiff.ts";
import { fuseGelu } from "../../../engine/passes/gelu_fusion.ts";
import type { StepMethods } from "../../../engine/passes/pipeline.ts";
import { planGraphs } from "../../../engine/plan/plan.ts";
import { plannedKernels } from "../../../engine/runtime/planned_kernels.ts";
import { planStep } from "../../../engine/train/trainer.ts";
import { gelu } from "../../../kernels/elementwise.ts";
import { linear, linearInputGrad } from "../../../kernels/linear.ts";
import { linearGelu, linearInputGradGelu } from "../../../kernels/linear_gelu.ts";
import { contents, interpret, type Memory } from "../../support/interpret.ts";
import { seededNumbers } from "../../support/seeded.ts";
import type { KernelSet } from "../../../kernels/kernel_set.ts";
import { kernelsFor } from "../../../kernels/kernel_sets.ts";

const KERNELS = plannedKernels("gpu");

const PLAIN = { transposedWeight: false, bias: false, residual: false };
const GELU = { approximation: "tanh" } as const;
/** Rows and channels; the inside of the block is four times as wide. */
const [N, C] = [16, 8];

/** The second half of a feed-forward block: from h, the first product, to what comes out. */
type SecondHalf = (builder: GraphBuilder, h: Value, w2: Value) => Value;

const usual: SecondHalf = (builder, h, w2) =>
  builder.call(linear, [builder.call(gelu, [h], GELU)[0], w2], PLAIN)[0];

/** A feed-forward block and its gradients, as autodiff leaves it and with its fusions; both verify. */
function bothGraphs(secondHalf: SecondHalf): { apart: Graph; fused: Graph } {
  const builder = new GraphBuilder();
  const declare = (name: string, shape: number[]) =>
    builder.persistents.declare(name, { shape, dtype: "f32" }, "weights");
  const [x, w1, w2, dy] = [
    declare("x", [N, C]),
    declare("w1", [C, 4 * C]),
    declare("w2", [4 * C, C]),
    declare("dy", [N, C]),
  ];
  const [h] = builder.call(linear, [x, w1], PLAIN);
  const y = secondHalf(builder, h, w2);
  const accumulators = new Map([[y, dy]]);
  const gradients = appendBackward(builder, { loss: y, trainable: [x, w1, w2], accumulators });
  const { builder: fused, current } = fuseGelu(builder);
  const outputs = [y, ...gradients.values()];
  const graphs = {
    apart: builder.finish("apart", outputs),
    fused: fused.finish("fused", outputs.map(current)),
  };
  for (const graph of Object.values(graphs)) verifyGraph(graph, graph.name);
  return graphs;
}

const opsOf = ({ nodes }: Graph) => nodes.map(({ op }) => op.name);

function persistentsOf({ nodes }: Graph): Value[] {
  return [...new Set(nodes.flatMap(({ inputs }) => inputs).filter(({ persistent }) => persistent))];
}

/** Outputs by the f64 references; persistent values of one name hold the same numbers in every graph. */
function run(graph: Graph): Float64Array[] {
  const memory: Memory = new Map(
    persistentsOf(graph).map((value) => [
      value.id,
      seededNumbers(elementCount(value), value.name.charCodeAt(0) + value.name.charCodeAt(1), 2),
    ]),
  );
  interpret(graph, memory);
  return graph.outputs.map((value) => contents(memory, value));
}

function arenaBytes(graph: Graph): number {
  const { buffers } = planGraphs([graph], persistentsOf(graph), KERNELS);
  return buffers.filter(({ kind }) => kind === "arena").reduce((sum, { bytes }) => sum + bytes, 0);
}

Deno.test("GELU fusion leaves two nodes less in a block, the same bytes and the same numbers", () => {
  const { apart, fused } = bothGraphs(usual);
  assert.deepEqual(opsOf(apart), [
    ...["linear", "gelu", "linear"],
    ...["linear_weight_grad", "linear_input_grad", "gelu_grad", "linear_weight_grad", "linear_input_grad"],
  ]);
  assert.deepEqual(opsOf(fused), [
    ...["linear_gelu", "linear"],
    ...["linear_weight_grad", "linear_input_grad_gelu", "linear_weight_grad", "linear_input_grad"],
  ]);
  assert.deepEqual(run(fused), run(apart));
  // At the gradient by what GELU gave: y [N, C], its weight's gradient [4C, C], h
  // and the result, both [N, 4C].
  assert.equal(arenaBytes(apart), 5632);
  assert.equal(arenaBytes(fused), 5632);
});

Deno.test("GELU fusion keeps h for whoever else reads it, and adds to the gradient that it made", () => {
  const { apart, fused } = bothGraphs((builder, h, w2) => {
    const [y] = builder.call(linear, [h, w2], PLAIN);
    const [activated] = builder.call(gelu, [h], GELU);
    return builder.call(linear, [activated, w2, y], { ...PLAIN, residual: true })[0];
  });
  // Something stands between the product and GELU: that stays apart, its gradient does not.
  assert.deepEqual(opsOf(fused).slice(0, 3), ["linear", "linear", "gelu"]);
  assert.deepEqual(run(fused), run(apart));
  // The other reader of h adds its gradient to the fused one, in place.
  const [made] = fused.nodes.find(({ op }) => op === linearInputGradGelu)!.outputs;
  const added = fused.nodes.find(({ op, inputs }) => op === linearInputGrad && inputs[2] === made);
  assert.equal(added?.outputs[0].aliasOf, made);

  const swapped = bothGraphs((builder, h, w2) => {
    const [activated] = builder.call(gelu, [h], GELU);
    const [y] = builder.call(linear, [h, w2], PLAIN);
    return builder.call(linear, [activated, w2, y], { ...PLAIN, residual: true })[0];
  });
  assert.deepEqual(opsOf(swapped.fused).slice(0, 3), ["linear_gelu", "linear", "linear"]);
  assert.deepEqual(run(swapped.fused), run(swapped.apart));
});

Deno.test("GELU fusion leaves a gradient apart that two products add to, and the second GELU of one h", () => {
  const { apart, fused } = bothGraphs((builder, h, w2) => {
    const [first] = builder.call(gelu, [h], GELU);
    const [second] = builder.call(gelu, [h], { approximation: "erf" });
    const [y] = builder.call(linear, [first, w2], PLAIN);
    const [z] = builder.call(linear, [first, w2, y], { ...PLAIN, residual: true });
    return builder.call(linear, [second, w2, z], { ...PLAIN, residual: true })[0];
  });
  const count = (name: string) => opsOf(fused).filter((op) => op === name).length;
  assert.deepEqual([count("linear_gelu"), count("gelu")], [1, 1]);
  assert.deepEqual([count("linear_input_grad_gelu"), count("gelu_grad")], [1, 1]);
  assert.deepEqual(run(fused), run(apart));
});

/** How many ops of each kind a step of gpt2-nano has, by graph. */
function geluOps(methods: StepMethods): Record<string, number[]> {
  const { graphs: { graphs } } = planStep({
    model: modelOf({ ...PRESETS["gpt2-nano"], vocabularySize: 512 }),
    microBatchSize: 4,
    gradientAccumulationSteps: 1,
    sequenceLength: 128,
    methods,
    optimizer: "adamw",
    optimizerOptions: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 },
    clip: methods.optimizerInBackward ? 0 : 1,
    dropout: 0,
    evaluate: true,
  }, KERNELS);
  const names = ["linear_gelu", "gelu", "linear_input_grad_gelu", "gelu_grad"];
  return Object.fromEntries(
    graphs.map((graph) => [
      graph.name,
      names.map((name) => opsOf(graph).filter((op) => op === name).length),
    ]),
  );
}

Deno.test("every block of a model fuses GELU and its gradient, recomputed or not, in training and evaluation", () => {
  const evaluate = [4, 0, 0, 0];
  for (const methods of [{}, { fp16: true }, { flash: true }, { optimizerInBackward: true }]) {
    assert.deepEqual(geluOps(methods), { step: [4, 0, 4, 0], evaluate });
  }
  const recomputed = geluOps({ checkpoint: { every: 1, selective: false } });
  assert.deepEqual(recomputed, { step: [8, 0, 4, 0], evaluate });
});

Deno.test("LoRA on both sides of GELU keeps its gradient apart, products of codes all of it", () => {
  const lora = { rank: 8, alpha: 16, dropout: 0, rankStabilized: false };
  assert.deepEqual(geluOps({ lora: { ...lora, targetModules: ["c_fc", "c_proj"] } }), {
    step: [4, 0, 0, 4],
    evaluate: [4, 0, 0, 0],
  });
  const quantize = { format: "nf4", quantBlockSize: 64, doubleQuantization: true } as const;
  assert.deepEqual(geluOps({ lora: { ...lora, targetModules: ["c_attn"] }, quantize }), {
    step: [0, 4, 0, 4],
    evaluate: [0, 4, 0, 0],
  });
});

/** Kernels of the fused product [64, 1024] · [1024, 64], in order, and whether all read copies. */
function kernelsOf(kernels: KernelSet): { names: string[]; copies: boolean } {
  const located = (buffer: number, ...shape: number[]): Located => ({
    name: `value ${buffer}`,
    shape,
    dtype: "f32",
    buffer,
    byteOffset: 0,
    byteLength: 4 * elementCount({ shape }),
  });
  const commands = linearGelu.lower({
    inputs: [located(0, 64, 1024), located(1, 1024, 64)],
    outputs: [located(2, 64, 64), located(3, 64, 64)],
    attrs: { ...PLAIN, ...GELU },
    kernels,
  }) as Dispatch[];
  return {
    names: commands.map(({ kernel }) => kernel.name),
    copies: commands.every(({ copies }) => copies !== undefined),
  };
}

Deno.test("a product whose terms do not fit the scratch texture together stays in it, and GELU follows", () => {
  const software = plannedKernels("software");
  assert.deepEqual(kernelsOf(software), { names: ["linear_gelu"], copies: true });
  const { names, copies } = kernelsOf(kernelsFor("software", software.target, 2 ** 18));
  assert.ok(names.length > 2 && copies);
  assert.deepEqual([names[0], names.at(-1)], ["linear_gelu", "gelu_tanh"]);
  assert.deepEqual(kernelsOf(KERNELS).names, ["linear_gelu"]);
});
