import assert from "node:assert/strict";
import { GraphBuilder, PersistentValues } from "../../../engine/graph/builder.ts";
import { elementCount } from "../../../engine/graph/types.ts";
import { modelOf } from "../../../engine/model/config.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import { OPTIMIZERS } from "../../../engine/passes/optimizer.ts";
import type { OptimizerOptions } from "../../../engine/passes/optimizers/contract.ts";
import { adafactorOptimizer } from "../../../engine/passes/optimizers/adafactor.ts";
import { adamw8bitOptimizer } from "../../../engine/passes/optimizers/adamw_8bit.ts";
import { buildStep, type StepSettings } from "../../../engine/passes/pipeline.ts";
import { planGraphs } from "../../../engine/plan/plan.ts";
import { plannedKernels } from "../../../engine/runtime/planned_kernels.ts";

const KERNELS = plannedKernels("gpu");

const ADAM = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 };
const ADAFACTOR = {
  eps1: 1e-30,
  eps2: 1e-3,
  clipThreshold: 1,
  decayRate: -0.8,
  scaleParameter: false,
  weightDecay: 0.01,
};

/** The step of gpt2-nano, or another preset, over 512 words, one sequence of 16 tokens. */
function stepOf(
  optimizer: string,
  optimizerOptions: OptimizerOptions,
  { preset = "gpt2-nano", ...changes }: Partial<StepSettings> & { preset?: string } = {},
) {
  return buildStep({
    model: modelOf({ ...PRESETS[preset], vocabularySize: 512 }),
    microBatchSize: 1,
    gradientAccumulationSteps: 1,
    sequenceLength: 16,
    methods: {},
    optimizer,
    optimizerOptions,
    clip: 1,
    dropout: 0,
    evaluate: false,
    ...changes,
  });
}

/** Nodes of the update without the norm, and bytes of state. */
function priceOf(optimizer: string, options: OptimizerOptions) {
  const { graphs, persistents } = stepOf(optimizer, options);
  const ops = graphs[0].nodes.filter(({ phase }) => phase === "update").map(({ op }) => op.name);
  return { ops, bytes: planGraphs(graphs, persistents, KERNELS).bytesByRole.optimizer };
}

// Matrices of gpt2-nano with C = 128: embeddings [512, C] and [128, C]; in each of four layers [C, 3C], [C,
// C], [C, 4C] and [4C, C]: 868 352 parameters, all in tensors of 4096 or more. Vectors: 6912. State begins at
// multiples of 256 bytes, which takes no padding here.
const MATRICES = 868_352;
const VECTORS = 6912;

const EMBEDDINGS = (512 + 128) * 128;

Deno.test("price of AdamW and of 8-bit AdamW, which keeps embeddings in f32 unless told otherwise", () => {
  assert.deepEqual(priceOf("adamw", ADAM), {
    ops: ["global_norm", "adamw"],
    bytes: 7_002_112, // 8 · (MATRICES + VECTORS)
  });
  assert.deepEqual(priceOf("adamw8bit", ADAM), {
    ops: ["global_norm", "adamw_8bit", "adamw"],
    bytes: 2_308_096, // (2 + 8/256) · (MATRICES − EMBEDDINGS) + 8 · (VECTORS + EMBEDDINGS)
  });
  assert.equal((2 + 8 / 256) * (MATRICES - EMBEDDINGS) + 8 * (VECTORS + EMBEDDINGS), 2_308_096);
  assert.deepEqual(priceOf("adamw8bit", { ...ADAM, quantizeEmbeddings: true }), {
    ops: ["global_norm", "adamw_8bit", "adamw"],
    bytes: 1_819_136, // (2 + 8/256) · MATRICES + 8 · VECTORS
  });
  assert.equal((2 + 8 / 256) * MATRICES + 8 * VECTORS, 1_819_136);
});

Deno.test("price of Adafactor: a number for each row and column of a matrix, each element of a vector", () => {
  assert.deepEqual(priceOf("adafactor", ADAFACTOR), {
    ops: ["global_norm", "adafactor"],
    // 4 · (512 + C + 128 + C + 4 · (4C + 2C + 5C + 5C) + VECTORS)
    bytes: 64_000,
  });
  assert.equal(
    priceOf("adafactor", { ...ADAFACTOR, beta1: 0.9 }).bytes,
    64_000 + 4 * (MATRICES + VECTORS),
  );
});

Deno.test("optimizers decay matrices only: norms, biases and embeddings have no weight decay", () => {
  for (
    const [optimizer, options] of [["adamw", ADAM], ["adamw8bit", ADAM], ["adafactor", ADAFACTOR]] as const
  ) {
    const { graphs, parameters } = stepOf(optimizer, options);
    const decayed = parameters.filter(({ spec }) => spec.decay).map(({ master }) => master);
    const kept = parameters.filter(({ spec }) => !spec.decay).map(({ master }) => master);
    assert.ok(decayed.length > 0 && kept.length > 0);
    for (
      const node of graphs[0].nodes.filter(({ op }) => ["adamw_8bit", "adamw", "adafactor"].includes(op.name))
    ) {
      const masters = node.inputs.filter((value) => decayed.includes(value) || kept.includes(value));
      assert.deepEqual(
        node.attrs.weightDecay,
        masters.map((value) => (decayed.includes(value) ? options.weightDecay : 0)),
      );
    }
  }
});

/** Names of the parameters that an op updates, over one or two graphs. */
function updatedBy(op: string, { graphs, parameters }: ReturnType<typeof stepOf>): string[] {
  const updates = graphs.flatMap(({ nodes }) => nodes).filter((node) => node.op.name === op);
  const inputs = updates.flatMap(({ inputs }) => inputs);
  return parameters.filter(({ master }) => inputs.includes(master)).map(({ spec }) => spec.name);
}

// Layers are wide enough that every matrix has 4096 elements, BERT's table of two token types apart.
const TABLES = {
  "gpt2-nano": ["transformer.wte.weight", "transformer.wpe.weight"],
  "llama-nano": ["model.embed_tokens.weight"],
  "bert-nano": ["word", "position", "token_type"].map((what) => `bert.embeddings.${what}_embeddings.weight`),
  "bert-nano-mlm": ["word", "position", "token_type"].map((what) =>
    `bert.embeddings.${what}_embeddings.weight`
  ),
};

for (const [preset, tables] of Object.entries(TABLES)) {
  Deno.test(`8-bit AdamW of ${preset} keeps embeddings, vectors and small matrices in f32`, () => {
    const ways: Partial<StepSettings>[] = [
      {},
      { gradientAccumulationSteps: 2 },
      { methods: { fp16: true } },
      { methods: { optimizerInBackward: true }, clip: 0 },
    ];
    for (const changes of ways) {
      const step = stepOf("adamw8bit", ADAM, { preset, ...changes });
      const specs = step.parameters.map(({ spec }) => spec);
      const names = (some: typeof specs) => some.map(({ name }) => name);
      assert.deepEqual(names(specs.filter(({ embedding }) => embedding)), tables);
      const quantized = specs.filter((spec) =>
        !tables.includes(spec.name) && elementCount(spec) >= 4096 && spec.shape.length > 1
      );
      assert.deepEqual(updatedBy("adamw_8bit", step), names(quantized));
      assert.deepEqual(updatedBy("adamw", step), names(specs.filter((spec) => !quantized.includes(spec))));
      const all = stepOf("adamw8bit", { ...ADAM, quantizeEmbeddings: true }, { preset, ...changes });
      assert.deepEqual(
        updatedBy("adamw_8bit", all),
        names(specs.filter((spec) => elementCount(spec) >= 4096 && spec.shape.length > 1)),
      );
    }
  });
}

Deno.test("8-bit AdamW takes tensors from 4096 elements on, not of 4095", () => {
  for (const [elements, ops] of [[4095, ["adamw"]], [4096, ["adamw_8bit"]]] as const) {
    const builder = new GraphBuilder(new PersistentValues());
    const declare = (name: string, shape: number[]) =>
      builder.persistents.declare(name, { shape, dtype: "f32" }, "weights");
    const master = declare("w", [elements]);
    const spec = { name: "w", shape: [elements], init: { kind: "constant", value: 0 }, decay: true } as const;
    const parameter = { spec, value: master, master, trainable: true };
    const update = { parameter, gradient: declare("g", [elements]) };
    adamw8bitOptimizer.append(builder, [update], declare("clip", [4]), ADAM);
    assert.deepEqual(builder.nodes.map(({ op }) => op.name), ops);
  }
});

Deno.test("the step fields of Adafactor follow the learning rate, or its own relative step", () => {
  const options = { decayRate: -0.8, relativeStep: false, warmupInit: false };
  const { stepFields } = adafactorOptimizer;
  assert.deepEqual(stepFields({ t: 1, learningRate: 0.003 }, options), {
    adafactorBeta2: 0,
    adafactorStep: 0.003,
  });
  assert.deepEqual(stepFields({ t: 32, learningRate: 0.002 }, options), {
    adafactorBeta2: 1 - 1 / 16,
    adafactorStep: 0.002,
  });
  // As transformers.optimization.Adafactor._get_lr.
  const stepAt = (t: number, own: OptimizerOptions) =>
    stepFields({ t, learningRate: 0.003 }, own).adafactorStep;
  const relative = { ...options, relativeStep: true };
  assert.equal(stepAt(1, relative), 0.01);
  assert.equal(stepAt(1e6, relative), 0.001);
  const warm = { ...relative, warmupInit: true };
  assert.equal(stepAt(7, warm), 7e-6);
  assert.equal(stepAt(1e6, warm), 0.001);
});

Deno.test("the step fields of AdamW, in 8 bits too, correct the bias of both moments; SGD's are the rate alone", () => {
  for (const optimizer of ["adamw", "adamw8bit"]) {
    assert.deepEqual(
      OPTIMIZERS[optimizer].stepFields({ t: 2, learningRate: 0.5 }, { beta1: 0.5, beta2: 0.75 }),
      {
        learningRate: 0.5,
        biasCorrection1: 0.75,
        sqrtBiasCorrection2: Math.sqrt(0.4375),
      },
    );
  }
  assert.deepEqual(OPTIMIZERS.sgd.stepFields({ t: 2, learningRate: 0.5 }, {}), { learningRate: 0.5 });
});
