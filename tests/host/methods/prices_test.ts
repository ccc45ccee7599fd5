import assert from "node:assert/strict";
import { type BytesByRole, elementCount, ROLES } from "../../../engine/graph/types.ts";
import { modelOf } from "../../../engine/model/config.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import type { StepMethods, StepSettings } from "../../../engine/passes/pipeline.ts";
import type { LoraSettings } from "../../../engine/passes/lora.ts";
import { planStep } from "../../../engine/train/trainer.ts";
import { plannedKernels } from "../../../engine/runtime/planned_kernels.ts";

const KERNELS = plannedKernels("gpu");

// Every figure below is a literal. Beside it stands the formula it was checked against, with the letters
//
//   B 8 sequences, T 128 tokens, N = B·T = 1024, C 128 channels, H 4 heads, F 512, V 512 words, L 4 layers
//   NC = 4·N·C = 524 288 bytes: one f32 activation of C channels
//   P = 875 264 parameters, of which M = 868 352 in the 18 matrices (2
//   embeddings, 4 a layer) and 6912 in vectors
//
// Values are multiples of 256 bytes here unless a formula rounds them.

/** gpt2-nano over 512 words. */
function settings(methods: StepMethods, changes: Partial<StepSettings> = {}): StepSettings {
  return {
    model: modelOf({ ...PRESETS["gpt2-nano"], vocabularySize: 512 }),
    microBatchSize: 8,
    gradientAccumulationSteps: 1,
    sequenceLength: 128,
    methods,
    optimizer: "adamw",
    optimizerOptions: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 },
    clip: 1,
    dropout: 0,
    evaluate: false,
    ...changes,
  };
}

interface Price {
  /** Nodes of each graph: the step, or the micro-step and the update. */
  nodes: number[];
  bytes: BytesByRole;
}

/** What the planner says. */
function priceOf(...args: Parameters<typeof settings>): Price {
  const { graphs, plan } = planStep(settings(...args), KERNELS);
  return { nodes: graphs.graphs.map(({ nodes }) => nodes.length), bytes: plan.bytesByRole };
}

const LORA: LoraSettings = {
  rank: 8,
  alpha: 16,
  dropout: 0,
  targetModules: ["attn.c_attn"],
  rankStabilized: false,
};

const PLAIN: Price = {
  // 32 forward: 1 reset of the loss, 2 embeddings, 7 a layer, 1 final norm. 57 backward: 1 head and loss, 2
  // of the final norm, 13 a layer, 2 embeddings. 2 of the update: norm and AdamW. GELU and its gradient are
  // none: products have them.
  nodes: [91],
  bytes: {
    weights: 3_501_056, // 4·P
    masterWeights: 0,
    gradients: 262_144, // 4·V·C: when the most is alive, the backward pass has come no further than the head
    optimizer: 7_002_112, // 8·P
    // A layer keeps 16 NC (two normed inputs, qkv 3, attention's output, the residual stream twice, 4 before
    // and 4 after GELU), the probabilities 4·B·H·T² and 4·4N of norm statistics. Then the embeddings' sum and
    // the final norm: 2 NC + 8N.
    activations: 43_065_344, // L·(16 NC + 2 097 152 + 16 384) + 2 NC + 8192
    // Logits of one chunk, here of all rows: 4·N·V; gradient of the final norm NC; losses of rows 4N; the
    // loss 256; parameters of kernels 256 KiB; a readback of 256.
    workspace: 2_888_192, // 2 097 152 + NC + 4096 + 256 + 262 144 + 256
    inputs: 20_736, // tokens, targets, positions and two sort orders 4N each; the step block 256
  },
};

Deno.test("price of plain training", () => {
  assert.deepEqual(priceOf({}), PLAIN);
});

Deno.test("price of packing: a segment for every token, and nothing else", () => {
  assert.deepEqual(priceOf({}, { packed: true }), {
    ...PLAIN,
    bytes: { ...PLAIN.bytes, inputs: 24_832 }, // 20 736 + 4N
  });
});

Deno.test("price of accumulation: a gradient of every parameter, activations of one sequence", () => {
  assert.deepEqual(priceOf({}, { microBatchSize: 1, gradientAccumulationSteps: 8 }), {
    nodes: [89, 3], // the update is a graph of its own: norm, AdamW, zeroing
    bytes: {
      ...PLAIN.bytes,
      gradients: 3_501_056, // 4·P
      activations: 5_383_168, // 43 065 344 ÷ 8
      workspace: 590_848, // (2 097 152 + NC + 4096) ÷ 8 + 256 + 262 144 + 256
      inputs: 2816, // 5·4N ÷ 8 + 256
    },
  });
});

Deno.test("price of checkpointing: layers run twice but for their last product; one layer's inside at a time", () => {
  assert.deepEqual(priceOf({ checkpoint: { every: 1, selective: false } }), {
    nodes: [115], // 91 + 6·L
    bytes: {
      ...PLAIN.bytes,
      // The most is alive in the backward pass of the first layer's feed-forward,
      // when all later gradients exist: 3 layers of 4·198 272, the final norm's
      // 1024, the head's 4·V·C, the second product's 4·(F·C + C).
      gradients: 2_905_088,
      // The layer's input and all of its inside: 16 NC and the probabilities.
      activations: 10_502_144, // 16 NC + 2 097 152 + 16 384
      // dy NC + 256 + 2·262 144 + 256: recomputation has dispatches too. 2048 of
      // the arena lie between values.
      workspace: 1_051_136,
    },
  });
});

Deno.test("price of checkpointing every second layer: half the kept inputs, two layers' insides", () => {
  assert.deepEqual(priceOf({ checkpoint: { every: 2, selective: false } }), {
    nodes: [117], // 91 + (7 + 6)·2
    bytes: {
      ...PLAIN.bytes,
      gradients: 2_112_000, // as above with 2 layers of 4·198 272
      activations: 21_004_288, // 2·(16 NC + 2 097 152 + 16 384)
      workspace: 1_051_136,
    },
  });
});

Deno.test("price of selective checkpointing: attention alone runs twice, and no probabilities are kept", () => {
  assert.deepEqual(priceOf({ checkpoint: { every: 1, selective: true } }), {
    nodes: [95], // 91 + L
    bytes: { ...PLAIN.bytes, activations: 34_676_736 }, // 43 065 344 − L·4·B·H·T²
  });
});

Deno.test("price of mixed precision: half the activations, two bytes more a matrix element", () => {
  assert.deepEqual(priceOf({ fp16: true }), {
    nodes: [109], // 91 + 18 working copies
    bytes: {
      ...PLAIN.bytes,
      weights: 1_764_352, // 2·M + 4·6912
      masterWeights: 3_473_408, // 4·M
      activations: 21_569_536, // (43 065 344 − 73 728) ÷ 2 + 73 728: statistics of the nine norms stay f32
      workspace: 2_626_048, // the final norm's gradient is f16: NC ÷ 2 less
    },
  });
});

Deno.test("price of flash attention: a logsumexp a row instead of probabilities", () => {
  assert.deepEqual(priceOf({ flash: true }), {
    nodes: [91],
    bytes: { ...PLAIN.bytes, activations: 34_742_272 }, // 43 065 344 − L·(4·B·H·T² − 4·B·H·T)
  });
});

Deno.test("price of LoRA: state of the adapters alone, and no activations for gradients of frozen weights", () => {
  assert.deepEqual(priceOf({ lora: LORA }), {
    // Forward 32 + 3·L. Backward: head 1, final norm 1; a layer 5 input gradients and 4 of the adapter; 3
    // more to reach the layer below, which the first does not. Update 2.
    nodes: [93],
    bytes: {
      ...PLAIN.bytes,
      weights: 3_566_592, // 4·P + 4·16 384: R·(C + 3C) a layer
      gradients: 0, // none exists yet when the most is alive, at the head
      optimizer: 131_072, // 8·16 384
      // A layer keeps 10 NC (normed input, qkv 3, residual stream 2, before GELU 4), the probabilities and
      // x·Aᵀ 4·N·R; the final norm NC; statistics of all norms but the first, 8·8N.
      activations: 30_081_024, // L·(10 NC + 2 097 152 + 32 768) + NC + 65 536
    },
  });
});

Deno.test("price of LoRA over an f16 base: frozen matrices have no master", () => {
  assert.deepEqual(priceOf({ lora: LORA, fp16: true }), {
    nodes: [101], // 93 + 8 working copies of adapters
    bytes: {
      ...PLAIN.bytes,
      weights: 1_797_120, // 2·M + 4·6912 + 2·16 384
      masterWeights: 65_536, // 4·16 384
      gradients: 0,
      optimizer: 131_072,
      activations: 15_073_280, // (30 081 024 − 65 536) ÷ 2 + 65 536
      workspace: 2_626_048,
    },
  });
});

Deno.test("price of a base in NF4: 4 bits a weight, 8 a block of 64, 32 a block of 16 384", () => {
  const quantize = { format: "nf4", quantBlockSize: 64, doubleQuantization: true } as const;
  assert.deepEqual(priceOf({ lora: LORA, quantize }), {
    nodes: [101], // as LoRA, and 2·L: products of codes have no GELU
    bytes: {
      ...priceOf({ lora: LORA }).bytes,
      // A layer: codes 196 608 ÷ 2, absmax 196 608 ÷ 64, four nested absmax of
      // 256 (12 or 20 bytes, rounded). Then tables 1280 (272 f32, rounded);
      // embeddings 4·81 920, vectors 4·6912 and adapters 4·16 384 stay f32.
      weights: 831_744, // L·(98 304 + 3072 + 1024) + 1280 + 327 680 + 27 648 + 65 536
    },
  });
});

Deno.test("price of a base in int8: a byte a weight, 4 a row", () => {
  const quantize = { format: "int8", quantBlockSize: 64, doubleQuantization: true } as const;
  assert.deepEqual(priceOf({ lora: LORA, quantize }), {
    nodes: [101], // as above
    bytes: {
      ...priceOf({ lora: LORA }).bytes,
      // A layer: codes 196 608; absmax 4·(3C + C + F + C); four unused nested
      // absmax of 256. The rest as with NF4.
      weights: 1_231_104, // L·(196 608 + 4608 + 1024) + 1280 + 327 680 + 27 648 + 65 536
    },
  });
});

Deno.test("price of whole logits, over 50 257 words: all rows of them instead of 256", () => {
  const changes = { model: modelOf({ ...PRESETS["gpt2-nano"], vocabularySize: 50_257 }) };
  const [chunked, whole] = [priceOf({}, changes), priceOf({ wholeLogits: true }, changes)];
  assert.deepEqual(chunked.nodes, [91]);
  assert.deepEqual(whole.nodes, [91]);
  // 4·256·50 260 + 4·24·256·C for parts of dx + NC + 4096 + 256 + 262 144 + 256;
  // rows of logits are a whole number of four
  assert.equal(chunked.bytes.workspace, 55_403_008);
  assert.equal(whole.bytes.workspace, 219_238_912); // with 4·1024·50 260 + 4·24·1024·C
  assert.deepEqual({ ...whole.bytes, workspace: 0 }, { ...chunked.bytes, workspace: 0 });
});

Deno.test("price of the optimizer in the backward pass, where weights and not activations decide", () => {
  // One sequence of 16 tokens: NC is 8192 bytes, and the probabilities of a layer 4096.
  const changes = { clip: 0, microBatchSize: 1, sequenceLength: 16 };
  const inputs = 1536; // five inputs of 64 bytes, rounded to 256 each; the step block 256
  assert.deepEqual(priceOf({}, changes), {
    nodes: [91],
    bytes: {
      ...PLAIN.bytes,
      gradients: 3_501_056, // 4·P: the most is alive at the end of the backward pass, when all gradients are
      activations: 0,
      workspace: 270_848, // dx NC + 256 + 262 144 + 256
      inputs,
    },
  });
  assert.deepEqual(priceOf({ optimizerInBackward: true }, changes), {
    nodes: [193], // 91 − 2 + 52 tensors · 2
    bytes: {
      ...PLAIN.bytes,
      // Head 4·V·C, of which the embedding's part is still to come, and the one
      // that is being applied, 4·(F·C + C).
      gradients: 524_800,
      // All layers but the output of the last; the embeddings' sum.
      activations: 544_768, // L·(16 NC + 4096 + 4·256) − NC + NC
      // dy NC + 256 + 4·262 144 + 256: more dispatches, with the parameters they have where most are needed,
      // on a CPU
      workspace: 1_057_280,
      inputs,
    },
  });
});

Deno.test("state of the optimizers, gpt2-nano", () => {
  const adafactor = { eps1: 1e-30, eps2: 1e-3, clipThreshold: 1, decayRate: -0.8 };
  const state = (optimizer: string, options: StepSettings["optimizerOptions"]) =>
    priceOf({}, { optimizer, optimizerOptions: options }).bytes.optimizer;
  assert.equal(state("adamw", PLAIN_OPTIONS), 7_002_112); // 8·P
  assert.equal(state("sgd", { momentum: 0, weightDecay: 0 }), 0);
  assert.equal(state("sgd", { momentum: 0.9, weightDecay: 0 }), 3_501_056); // 4·P
  // 2·L + 8·L ÷ 256 of the layers' 786 432; the embeddings, (512 + 128)·C, and
  // the vectors, smaller than 4096, 8·88 832
  assert.equal(state("adamw8bit", PLAIN_OPTIONS), 2_308_096);
  // 2·M + 8·M ÷ 256; the vectors 8·6912
  assert.equal(state("adamw8bit", { ...PLAIN_OPTIONS, quantizeEmbeddings: true }), 1_819_136);
  // 4·(rows + columns) of 18 matrices: 4·(640 + 256 + L·(512 + 256 + 640 + 640)); vectors 4·6912
  assert.equal(state("adafactor", adafactor), 64_000);
  assert.equal(state("adafactor", { ...adafactor, beta1: 0.9 }), 3_565_056); // and 4·P
});
const PLAIN_OPTIONS = settings({}).optimizerOptions;

Deno.test("planned bytes are the sum of their roles, and P is what the literals assume", () => {
  const { graphs, plan } = planStep(settings({}), KERNELS);
  const count = (least: number) =>
    graphs.parameters.filter(({ value }) => value.shape.length >= least)
      .reduce((sum, { value }) => sum + elementCount(value), 0);
  assert.equal(count(1), 875_264);
  assert.equal(count(2), 868_352);
  assert.equal(plan.peakBytes, ROLES.reduce((sum, role) => sum + PLAIN.bytes[role], 0));
});
