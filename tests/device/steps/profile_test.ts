import assert from "node:assert/strict";
import { join } from "node:path";
import { train, type TrainOptions } from "../../../mod.ts";

const OPTIONS: TrainOptions = {
  model: "gpt2-pico",
  data: "moby-dick",
  tokenizer: "bytes",
  heldOutFraction: 0,
  sequenceLength: 16,
  microBatchSize: 1,
  gradientAccumulationSteps: 1,
  methods: [],
  methodOptions: {},
  optimizer: "adamw",
  optimizerOptions: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 },
  learningRate: 1e-3,
  schedule: "constant",
  warmupSteps: 0,
  clip: 1,
  dropout: 0,
  steps: 2,
  evaluateEvery: 0,
  heldOutWindows: 0,
  seed: 1,
  shuffle: false,
};

Deno.test("a profile spoils nothing that is saved", async () => {
  const folder = await Deno.makeTempDir({ prefix: "profile-" });
  try {
    const [plain, profiled] = ["plain", "profiled"].map((name) => join(folder, name));
    await train(OPTIONS, {}, { save: plain });
    const { profile, profiling } = await train(OPTIONS, {}, { save: profiled, profile: true });
    assert.ok(profile!.some(({ flops }) => flops > 0));
    assert.ok(profiling!.wallMs > 0);
    for (const name of ["model.safetensors", "training_state.safetensors"]) {
      const [expected, actual] = await Promise.all(
        [plain, profiled].map((saved) => Deno.readFile(join(saved, name))),
      );
      assert.ok(expected.length > 1000 && expected.every((byte, i) => byte === actual[i]), name);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
