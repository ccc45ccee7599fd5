import assert from "node:assert/strict";
import { resolveSettings } from "../../../suites/resolve_settings.ts";
import { cheapestFits, largestMicroBatch } from "../../../suites/fit.ts";
import { fakeEngine } from "./fake_engine.ts";
import { run, sweep, withSuite } from "./command_line.ts";

const MODEL = ["--model", "fake", "--data", "words"];

Deno.test("train --json prints a line a step and a last line with done, memory and speed", async () => {
  const { code, out, err } = await run("train", ...MODEL, "--steps", "3", "--held-out", "0.1", "--json");
  assert.equal(code, 0, err);
  const lines = out.split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(lines.slice(0, 3).map(({ step }) => step), [0, 1, 2]);
  for (const key of ["step", "loss", "tokens", "ms", "bytes"]) {
    assert.equal(typeof lines[0][key], "number", key);
  }
  const last = lines[3];
  assert.equal(last.done, true);
  assert.equal(last.plannedPeakBytes, 4 * 2 ** 20);
  assert.equal(last.bookedPeakBytes, 4 * 2 ** 20);
  assert.deepEqual(Object.keys(last.bytesByRole).sort(), [
    "activations",
    "gradients",
    "inputs",
    "masterWeights",
    "optimizer",
    "weights",
    "workspace",
  ]);
  assert.ok(last.tokensPerSecond > 0 && last.heldOutLoss > 0 && last.dispatchesPerStep === 10);
  assert.ok(last.observedPeakBytes === null || last.observedPeakBytes >= 0);
  assert.equal(err, "", "with --json, nothing else is said");
  const without = (await run("train", ...MODEL, "--steps", "2", "--json")).out.split("\n");
  assert.equal(JSON.parse(without.at(-1)!).heldOutLoss, null);
  assert.deepEqual([last.unigramLoss, JSON.parse(without.at(-1)!).unigramLoss], [3.25, null]);
  const classify = [...MODEL, "--steps", "2", "--held-out", "0.1", "--task", "classify", "--json"];
  const { accuracy, macroF1, majorityShare } = JSON.parse(
    (await run("train", ...classify)).out.split("\n").at(-1)!,
  );
  assert.deepEqual([accuracy, macroF1, majorityShare], [0.75, 0.7, 0.625]);
});

Deno.test("train says how it goes on standard error and sums up on standard output; --quiet keeps still", async () => {
  const { code, out, err } = await run("train", ...MODEL, "--steps", "2", "--held-out", "0.1");
  assert.equal(code, 0);
  assert.match(err, /step 1\/2: loss 5\.0000/);
  assert.match(out, /1000 parameters\npeak memory 4\.00 MiB planned/);
  assert.match(out, /held-out loss \d\.\d{4} \(a histogram of the targets has 3\.2500\)$/m);
  assert.equal((await run("train", ...MODEL, "--steps", "2", "--quiet")).err, "");
});

Deno.test("train ends with 1 and the reason where the run fails, with 2 where the input is wrong", async () => {
  const lost = await run("train", "--model", "fake-device-lost", "--data", "words", "--json");
  assert.deepEqual([lost.code, lost.err], [1, "The device was lost: it was unplugged"]);
  const broken = await run("train", "--model", "fake-throws", "--data", "words", "--json");
  assert.equal(broken.code, 1);
  assert.match(broken.err, /A mistake in the engine\n\s+at /, "a mistake of ours comes with its stack");
  const wrong = await run("train", ...MODEL, "--methods", "flash");
  assert.deepEqual([wrong.code, wrong.out], [2, ""]);
  assert.match(wrong.err, /method flash is not implemented/);
});

Deno.test("plan --json prints bytes by role; with --memory the largest batch and the cheapest methods", async () => {
  const plain = JSON.parse((await run("plan", "--model", "fake", "--batch-size", "8", "--json")).out);
  assert.equal(plain.peakBytes, 8 * 2 ** 20);
  assert.equal(plain.bytesByRole.activations, 8 * 2 ** 20);
  assert.deepEqual([plain.parameters, plain.trainableParameters, plain.steadyBytes], [1000, 1000, 2 ** 20]);
  const { memory } = JSON.parse(
    (await run("plan", "--model", "fake", "--batch-size", "8", "--memory", "5MiB", "--json")).out,
  );
  assert.equal(memory.fits, false);
  assert.equal(memory.largestMicroBatchSize, 5);
  assert.equal(memory.cheapest[0].microBatchSize, 4, "two micro-steps cost less than checkpointing");
  const text = (await run("plan", "--model", "fake", "--batch-size", "8", "--memory", "0.25MiB")).out;
  assert.match(
    text,
    /Does not fit in 256 KiB\nNot even one sequence fits with these methods\nNo combination of methods fits/,
  );
  const wrong = await run("plan", "--model", "fake", "--memory", "24GB");
  assert.deepEqual([wrong.code, wrong.err], [
    2,
    'Cannot read "24GB" as bytes: expected a number with a unit, as 512MiB or 24GiB',
  ]);
});

Deno.test("cheapestFits() keeps what was asked for and prefers what slows least", async () => {
  const config = resolveSettings({ model: "fake", data: "words", effectiveBatchSize: 1 });
  const half = 0.5 * 2 ** 20; // one sequence cannot be split: only checkpointing halves it
  const [full, adapters] = await cheapestFits(config, half, fakeEngine);
  assert.deepEqual([full.methods, full.optimizer, full.gradientAccumulationSteps], [
    ["checkpoint"],
    "adamw",
    1,
  ]);
  assert.equal(full.expectedSlowdown, 0.2);
  assert.deepEqual(adapters.methods, ["checkpoint", "lora"]);
  const [kept] = await cheapestFits({ ...config, methods: ["fp16"] }, 2 ** 20, fakeEngine);
  assert.deepEqual(kept.methods, ["fp16"]);
  assert.deepEqual(await cheapestFits(config, 1000, fakeEngine), []);
});

Deno.test("largestMicroBatch() is the last that fits", async () => {
  const config = resolveSettings({ model: "fake", data: "words" });
  for (const size of [1, 2, 3, 7, 64, 100]) {
    assert.equal(await largestMicroBatch(config, size * 2 ** 20 + 5, fakeEngine), size);
  }
  assert.equal(await largestMicroBatch(config, 2 ** 20 - 1, fakeEngine), 0);
  assert.equal(await largestMicroBatch(config, 7 * 2 ** 20, fakeEngine), 7, "exactly");
  const most = [65_535, 65_536, 65_537, 1e9].map((size) =>
    largestMicroBatch(config, size * 2 ** 20, fakeEngine)
  );
  assert.deepEqual(await Promise.all(most), [65_535, 65_536, 65_536, 65_536]);
});

Deno.test("eval prints loss and perplexity, or accuracy and F1 where there are labels", async () => {
  const { code, out } = await run("eval", "--model", "fake", "--data", "words", "--json");
  assert.equal(code, 0);
  assert.deepEqual(JSON.parse(out), { loss: 2, perplexity: Math.exp(2), targets: 100, tokens: 100 });
  const classify = await run("eval", "--model", "fake", "--data", "words", "--task", "classify");
  assert.equal(
    classify.out,
    "loss 2.0000, accuracy 0.7500, macro F1 0.7000 (the most frequent label has 0.6250), over 100 targets",
  );
  assert.equal((await run("eval", "--model", "fake")).code, 2);
});

Deno.test("doctor describes the adapter, or says what is missing and ends with 1", async () => {
  const { code, out } = await run("doctor", "--json");
  assert.equal(code, 0);
  const { ok, adapter, tier, problems } = JSON.parse(out);
  assert.deepEqual([ok, adapter.name, tier], [true, "fake adapter", "software"]);
  assert.ok(problems.some((problem: string) => /No shader-f16: mixed precision/.test(problem)));
  const text = await run("doctor");
  assert.match(text.out, /^adapter {9}fake adapter, software$/m);
  for (const line of text.out.split("\n")) assert.ok(line.length <= 80, line);
});

Deno.test("validate says what a suite runs, and ends with 2 where it is wrong", () =>
  withSuite(`${sweep()}quick: { phases: { batch-size: { seeds: [1] } } }\n`, async ({ suite }) => {
    const { code, out } = await run("validate", suite);
    assert.equal(code, 0);
    assert.match(
      out,
      /is valid: a sweep\n {2}software: 6 cells in batch-size\n {2}software --quick: 3 cells in batch-size/,
    );
    await Deno.writeTextFile(suite, sweep().replace("kind: batch-sweep", "kind: batch"));
    const wrong = await run("validate", suite);
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /suite\.yaml:5:11: phases\[0\]\.kind: got "batch"/);
    assert.equal((await run("validate")).code, 2);
  }));

Deno.test("report and compare pass on runs and rules; compare ends with 1 where a rule is broken", () =>
  withSuite("", async ({ out }) => {
    const reported = await run("report", "a", "b", "--out", out);
    assert.deepEqual([reported.code, reported.out], [0, `${out}/index.html`]);
    assert.equal(await Deno.readTextFile(`${out}/index.html`), "<p>a b</p>");
    assert.equal((await run("compare", "a", "b", "--out", out)).code, 0);
    const broken = await run("compare", "a", "b", "--out", out, "--fail-on", "x<1");
    assert.deepEqual([broken.code, broken.err], [1, "broken: x<1"]);
    assert.equal((await run("compare", "a")).code, 2);
  }));
