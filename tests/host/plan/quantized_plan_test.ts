import assert from "node:assert/strict";
import { byteLength } from "../../../engine/graph/types.ts";
import { modelOf } from "../../../engine/model/config.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import type { QuantizeSettings } from "../../../engine/passes/quantize_base.ts";
import { planStep } from "../../../engine/train/trainer.ts";
import { plannedKernels } from "../../../engine/runtime/planned_kernels.ts";

const KERNELS = plannedKernels("gpu");

/** Weights of gpt2's linear layers, and their output rows. */
const WEIGHTS = 12 * 12 * 768 * 768;
const ROWS = 12 * (3 + 1 + 4 + 1) * 768;

/** Bytes of everything that stores gpt2's quantized weights, the tables apart, and of the tables. */
function storageBytes(quantize: QuantizeSettings): { weights: number; tables: number } {
  const { graphs, plan } = planStep({
    model: modelOf(PRESETS.gpt2),
    microBatchSize: 1,
    gradientAccumulationSteps: 1,
    sequenceLength: 64,
    methods: {
      lora: { rank: 8, alpha: 8, dropout: 0, targetModules: ["attn.c_attn"], rankStabilized: false },
      quantize,
    },
    optimizer: "adamw",
    optimizerOptions: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 },
    clip: 0,
    dropout: 0,
    evaluate: false,
  }, KERNELS);
  const sum = (pattern: RegExp) =>
    graphs.persistents.filter(({ name }) => pattern.test(name)).reduce(
      (bytes, value) => bytes + byteLength(value),
      0,
    );
  const names = [...plan.persistents.keys()].map(({ name }) => name);
  assert.ok(
    !names.some((name) => /h\.\d+\.(attn|mlp)\.c_\w+\.weight$/.test(name)),
    "no dense copy is planned",
  );
  return { weights: sum(/\.(codes|absmax|nested_absmax)$/), tables: sum(/^dequantization_tables$/) };
}

Deno.test("NF4 with double quantization stores gpt2's linear weights in 4.127 bits each", () => {
  const { weights, tables } = storageBytes({ format: "nf4", quantBlockSize: 64, doubleQuantization: true });
  // 4 bits of code, 8 of 64 weights' absmax, 32 of 16384 weights' nested absmax; 48 offsets of 4 bytes.
  assert.equal(weights, WEIGHTS * (4 + 8 / 64 + 32 / (64 * 256)) / 8 + 48 * 4);
  assert.equal((8 * weights / WEIGHTS).toFixed(3), "4.127");
  assert.equal(tables, 1088);
});

Deno.test("NF4 with f32 absmax values stores them in 4.5 bits each", () => {
  const { weights } = storageBytes({ format: "nf4", quantBlockSize: 64, doubleQuantization: false });
  assert.equal(weights, WEIGHTS * (4 + 32 / 64) / 8 + 48 * 4);
});

Deno.test("int8 stores them in 8 bits each and 32 a row", () => {
  const { weights } = storageBytes({ format: "int8", quantBlockSize: 64, doubleQuantization: true });
  assert.equal(weights, WEIGHTS + 4 * ROWS + 48 * 4);
});
