import assert from "node:assert/strict";
import { InputError } from "../../../engine/input_error.ts";
import { engine } from "../../../suites/engine.ts";
import { parseFlags } from "../../../suites/cli/flags.ts";
import { train } from "../../../suites/cli/commands/train.ts";
import { configFromFlags } from "../../../suites/cli/train_flags.ts";
import { main } from "../../bench/gpu_against_torch.ts";
import { compareGpu, gpuComparisonText, type Side, type SidedRun } from "../../bench/gpu_comparison.ts";
import { ENGINE_VARIANTS, parseGpuCase, readTraining, trainFlags } from "../../bench/gpu_step.ts";

const CASE = parseGpuCase("gpt2:b4:t1024");

function run(side: Side, variant: string, ms: number[], more: Record<string, unknown> = {}): SidedRun {
  const [dtype, attention] = variant.split("-");
  const medianMs = [...ms].sort((a, b) => a - b)[ms.length >> 1];
  const times = { ms, medianMs, tokensPerSecond: 1000 * 4096 / medianMs, loss: [] };
  return { side, round: 0, run: { case: CASE.name, dtype, attention, ...times, ...more } };
}

Deno.test("parseGpuCase() reads a model and its sizes, and refuses what has none", () => {
  assert.deepEqual(CASE, { name: "gpt2:b4:t1024", model: "gpt2", batchSize: 4, sequenceLength: 1024 });
  for (const text of ["gpt2", "gpt2:b4", "gpt2:b0:t8", "gpt2:4:8", "gpt2:b4:t8:f32-naive", "matmul"]) {
    assert.throws(() => parseGpuCase(text), InputError, text);
  }
});

Deno.test("trainFlags() asks for what the variant says, in one micro-batch", () => {
  for (const [variant, methods] of Object.entries(ENGINE_VARIANTS)) {
    const parsed = parseFlags(train.spec, trainFlags(CASE, variant, { steps: 15, warmup: 5 }))!;
    const config = configFromFlags(parsed, engine);
    assert.deepEqual([...config.methods].sort(), [...methods].sort());
    assert.equal(config.microBatchSize, 4);
    assert.equal(config.gradientAccumulationSteps, 1);
    assert.equal(config.sequenceLength, 1024);
    assert.equal(config.steps, 20);
    assert.equal(config.clip, 1);
  }
});

Deno.test("readTraining() takes the median without the warm-up, and refuses a run that ended early", () => {
  const summary = { done: true, plannedPeakBytes: 10, bookedPeakBytes: 20, observedPeakBytes: null };
  const lines = [900, 100, 300, 200].map((ms, step) => JSON.stringify({ step, ms, loss: 4 - step }));
  const output = [...lines, JSON.stringify(summary), ""].join("\n");
  const times = readTraining(output, CASE, "f16-flash", { steps: 3, warmup: 1 });
  assert.deepEqual(times.ms, [100, 300, 200]);
  assert.equal(times.medianMs, 200);
  assert.equal(times.tokensPerSecond, 4 * 1024 / 0.2);
  assert.deepEqual(times.loss, [4, 3, 2, 1]);
  assert.deepEqual([times.dtype, times.attention, times.plannedPeakBytes], ["f16", "flash", 10]);
  assert.throws(() => readTraining(output, CASE, "f16-flash", { steps: 4, warmup: 1 }), /took 4 steps/);
  assert.throws(
    () => readTraining(lines.join("\n"), CASE, "f16-flash", { steps: 3, warmup: 0 }),
    /did not finish/,
  );
});

const RUNS = [
  run("threefold", "f32-naive", [30, 31, 32], {
    plannedPeakBytes: 3e9,
    bookedPeakBytes: 4e9,
    dispatchesPerStep: 500,
  }),
  run("torch", "f32-eager", [10, 10, 10], { peakBytes: 6e9, reservedBytes: 7e9, observedBytes: 8e9 }),
  run("torch", "f16-sdpa", [5, 5, 5], { peakBytes: 2e9 }),
  run("threefold", "f32-naive", [28, 29, 30], { plannedPeakBytes: 3e9, bookedPeakBytes: 5e9 }),
  { side: "torch", round: 0, run: { case: CASE.name, dtype: "bf16", attention: "sdpa", error: "no bf16" } },
] satisfies SidedRun[];

Deno.test("compareGpu() puts rounds together and divides ours by each of PyTorch's", () => {
  const { rows, ratios, missing } = compareGpu(RUNS);
  assert.deepEqual(rows.map(({ variant }) => variant), ["f32-naive", "f32-eager", "f16-sdpa"]);
  assert.equal(rows[0].medianMs, 30);
  assert.deepEqual(rows[0].roundMs, [31, 29]);
  assert.equal(rows[0].heldBytes, 5e9);
  assert.equal(rows[0].tokensPerSecond, 1000 * 4096 / 30);
  assert.deepEqual(ratios.map(({ torch, time, peak }) => [torch, time.estimate, peak]), [
    ["f32-eager", 3, 0.5],
    ["f16-sdpa", 6, 1.5],
  ]);
  assert.deepEqual(missing, [{ side: "torch", variant: "bf16-sdpa", reason: "no bf16" }]);
});

Deno.test("compareGpu() compares nothing where a side is missing", () => {
  const alone = compareGpu(RUNS.filter(({ side }) => side === "threefold"));
  assert.deepEqual(alone.ratios, []);
  const text = gpuComparisonText(CASE.name, alone);
  assert.doesNotMatch(text, /÷/);
  assert.match(text, /threefold f32-naive +30\.0/);
});

Deno.test("gpuComparisonText() fits 80 columns, four variants of PyTorch beside three of the engine's", () => {
  const counted = { plannedPeakBytes: 21_345e6, bookedPeakBytes: 31_345e6, observedPeakBytes: 41_345e6 };
  const text = gpuComparisonText(
    CASE.name,
    compareGpu([
      ...["f32-naive", "f32-flash", "f16-flash"].flatMap((variant) => {
        const once = run("threefold", variant, [812.3, 813, 814], { ...counted, dispatchesPerStep: 1234 });
        return [once, once];
      }),
      ...["f32-eager", "f32-sdpa", "bf16-sdpa", "f16-sdpa"].flatMap((variant) => {
        const once = run("torch", variant, [61.2, 61.3, 65], {
          peakBytes: 31_345e6,
          reservedBytes: 41_345e6,
        });
        return [once, once];
      }),
    ]),
  );
  for (const line of text.split("\n")) assert.ok(line.length <= 80, `${line.length}: ${line}`);
  assert.match(text, /f16-flash +13\.3 12\.5–13\.3/);
  assert.match(text, /Peak ÷ PyTorch's\n +f32-eager.*\nf32-naive +0\.681/);
});

Deno.test("bench:gpu ends with 2 for wrong usage, before anything runs", async () => {
  const { error } = console;
  const said: string[] = [];
  console.error = (text: string) => said.push(text);
  try {
    assert.equal(await main([]), 2);
    assert.equal(await main(["gpt2:b4"]), 2);
    assert.equal(await main(["gpt2:b4:t8", "--torch", "f64-sdpa"]), 2);
    assert.equal(await main(["gpt2:b4:t8", "--steps", "0"]), 2);
    assert.equal(await main(["gpt2:b4:t8", "--engine", "none", "--torch", "none"]), 2);
  } finally {
    console.error = error;
  }
  assert.match(said.join("\n"), /Missing CASE[^]*gpt2:b4[^]*f64-sdpa[^]*--steps is 0[^]*Nothing to run/);
});
