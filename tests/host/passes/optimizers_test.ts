import assert from "node:assert/strict";
import { modelOf } from "../../../engine/model/config.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import type { OptimizerOptions } from "../../../engine/passes/optimizer.ts";
import { adafactorSchedule } from "../../../engine/passes/optimizers/adafactor.ts";
import { buildStep } from "../../../engine/passes/pipeline.ts";
import { planGraphs } from "../../../engine/plan/plan.ts";
import { DEFAULT_TARGET } from "../../../engine/runtime/device.ts";

const ADAM = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 };
const ADAFACTOR = {
  eps1: 1e-30,
  eps2: 1e-3,
  clipThreshold: 1,
  decayRate: -0.8,
  scaleParameter: false,
  weightDecay: 0.01,
};

/** The step of gpt2-nano over 512 words, one sequence of 16 tokens. */
function stepOf(optimizer: string, optimizerOptions: OptimizerOptions) {
  return buildStep({
    model: modelOf({ ...PRESETS["gpt2-nano"], vocabularySize: 512 }),
    microBatchSize: 1,
    gradientAccumulationSteps: 1,
    sequenceLength: 16,
    methods: {},
    optimizer,
    optimizerOptions,
    clip: 1,
    dropout: 0,
    evaluate: false,
  });
}

/** Nodes of the update without the norm, and bytes of state. */
function priceOf(optimizer: string, options: OptimizerOptions) {
  const { graphs, persistents } = stepOf(optimizer, options);
  const ops = graphs[0].nodes.filter(({ phase }) => phase === "update").map(({ op }) => op.name);
  return { ops, bytes: planGraphs(graphs, persistents, DEFAULT_TARGET).bytesByRole.optimizer };
}

// Matrices of gpt2-nano with C = 128: embeddings [512, C] and [128, C]; in each of four layers [C, 3C], [C, C], [C, 4C] and
// [4C, C]: 868 352 parameters, all in tensors of 4096 or more. Vectors: 6912. State begins at multiples of 256 bytes, which
// takes no padding here.
const MATRICES = 868_352;
const VECTORS = 6912;

Deno.test("price of AdamW and of 8-bit AdamW", () => {
  assert.deepEqual(priceOf("adamw", ADAM), {
    ops: ["global_norm", "adamw"],
    bytes: 7_002_112, // 8 · (MATRICES + VECTORS)
  });
  assert.deepEqual(priceOf("adamw8bit", ADAM), {
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

Deno.test("optimizers decay matrices only, and 8-bit AdamW keeps small tensors in f32", () => {
  for (const [optimizer, options] of [["adamw8bit", ADAM], ["adafactor", ADAFACTOR]] as const) {
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
      if (node.op.name === "adamw_8bit") assert.ok(masters.every((value) => value.shape.length === 2));
      if (node.op.name === "adamw") assert.ok(masters.every((value) => value.shape.length === 1));
    }
  }
});

Deno.test("adafactorSchedule() follows the learning rate, or its own relative step", () => {
  const options = { decayRate: -0.8, relativeStep: false, warmupInit: false };
  assert.deepEqual(adafactorSchedule(1, options, 0.003), { beta2: 0, step: 0.003 });
  assert.deepEqual(adafactorSchedule(32, options, 0.002), { beta2: 1 - 1 / 16, step: 0.002 });
  // As transformers.optimization.Adafactor._get_lr.
  const relative = { ...options, relativeStep: true };
  assert.equal(adafactorSchedule(1, relative, 0.003).step, 0.01);
  assert.equal(adafactorSchedule(1e6, relative, 0.003).step, 0.001);
  const warm = { ...relative, warmupInit: true };
  assert.equal(adafactorSchedule(7, warm, 0.003).step, 7e-6);
  assert.equal(adafactorSchedule(1e6, warm, 0.003).step, 0.001);
});
