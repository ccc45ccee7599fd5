import assert from "node:assert/strict";
import type { CellRecord, Status } from "../../../results/record.ts";
import { decideLearningRates, rateBeyond } from "../../../suites/learning_rates.ts";
import { resolveSettings } from "../../../suites/resolve_settings.ts";
import { records, run, withSuite } from "./command_line.ts";

function record(
  learningRate: number,
  seed: number,
  loss: number,
  { status = "ok" as Status, optimizer = "adamw" } = {},
): CellRecord {
  const config = resolveSettings({
    model: "gpt2-nano",
    data: "moby-dick",
    tokenizer: "bytes",
    effectiveBatchSize: 4,
    learningRate,
    optimizer,
    seed,
  });
  const heldOut = status === "ok" ? [{ step: 4, tokens: 400, loss }] : [];
  return { id: `${optimizer}-${learningRate}-${seed}`, status, config, heldOut } as unknown as CellRecord;
}

Deno.test("the rate with the lowest mean held-out loss is decided, for each optimizer by itself", () => {
  const decided = decideLearningRates([
    record(1e-4, 1, 3),
    record(1e-3, 1, 2),
    record(1e-2, 1, 2.5),
    record(1e-3, 1, 3, { optimizer: "sgd" }),
    record(1e-2, 1, 2.9, { optimizer: "sgd" }),
    record(1e-1, 1, 2.8, { optimizer: "sgd" }),
  ]);
  assert.deepEqual(decided.map(({ optimizer, tuned }) => [optimizer, tuned.rate, tuned.effectiveBatchSize]), [
    ["adamw", 1e-3, 4],
    ["sgd", 0.1, 4],
  ]);
  const [adamw, sgd] = decided.map(({ decision }) => decision);
  assert.equal(adamw.name, "learningRate/adamw");
  assert.equal(adamw.value, 1e-3);
  assert.deepEqual(adamw.inputs, ["adamw-0.0001-1", "adamw-0.001-1", "adamw-0.01-1"]);
  assert.equal(adamw.figures["lr 0.01"].heldOutLoss, 2.5);
  assert.doesNotMatch(adamw.reason, /may do better/);
  assert.match(sgd.reason, /lr 0\.1 is the highest rate tried: a higher one may do better/);
});

Deno.test("of rates within the seed spread of the best, the lowest is decided", () => {
  const [{ tuned, decision }] = decideLearningRates([
    record(1e-4, 1, 2.9),
    record(1e-4, 2, 2.94),
    record(1e-3, 1, 2.01),
    record(1e-3, 2, 2.05),
    record(2e-3, 1, 2.00),
    record(2e-3, 2, 2.04),
  ]);
  assert.equal(tuned.rate, 1e-3); // 0.01 above the lowest, the spread is 0.04/√2
  assert.match(
    decision.reason,
    /lr 0\.001 is the lowest rate of adamw whose held-out loss, 2\.0300, is within the seed/,
  );
  assert.match(decision.reason, /lr 0\.002 is the highest rate tried/);
});

Deno.test("one spread above the best rate's loss is as good, two are not, at the edge", () => {
  const spread = 0.05 * Math.SQRT2;
  const chosen = (above: number) =>
    decideLearningRates([
      record(1e-3, 1, 1.95 + above),
      record(1e-3, 2, 2.05 + above),
      record(2e-3, 1, 1.95),
      record(2e-3, 2, 2.05),
    ])[0].tuned.rate;
  assert.deepEqual([chosen(spread * 0.999), chosen(spread * 1.001)], [1e-3, 2e-3]);
});

Deno.test("rateBeyond() goes on by the grid's own last step, of two rates or more", () => {
  const beyond = (...losses: [rate: number, loss: number][]) =>
    rateBeyond(losses.map(([rate, loss]) => record(rate, 1, loss)));
  assert.deepEqual(beyond([1e-3, 2], [4e-3, 3]), { from: 1e-3, to: 2.5e-4 });
  assert.deepEqual(beyond([1e-3, 3], [1.5e-3, 2]), { from: 1.5e-3, to: 2.25e-3 });
  assert.equal(beyond([1e-3, 3], [2e-3, 2], [4e-3, 3]), null);
  assert.equal(beyond([1e-3, 3]), null);
});

Deno.test("rates with a run that did not end well are out, and stand in the figures", () => {
  const [{ tuned, decision }] = decideLearningRates([
    record(1e-3, 1, 2.5),
    record(1e-3, 2, 2.5),
    record(1e-2, 1, 1),
    record(1e-2, 2, NaN, { status: "diverged" }),
  ]);
  assert.equal(tuned.rate, 1e-3);
  assert.equal(decision.figures["lr 0.01"].heldOutLoss, null);
  assert.match(decision.reason, /lr 0\.01 is out: not all runs ended well/);
  assert.deepEqual(decideLearningRates([record(1, 1, NaN, { status: "oom" })]), []);
});

const RATES = `title: rates
defaults: { model: fake, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 1024 }
phases:
  - { name: batch-size, kind: batch-sweep, axes: { effectiveBatchSize: [1, 4] } }
  - name: rates
    kind: rate-sweep
    rule: lowest-loss-lower-rate
    defaults: { effectiveBatchSize: chosen }
    cells: [{ label: AdamW }, { label: SGD, optimizer: sgd }]
    axes: { learningRate: [0.001, 0.01, 0.1, 2] }
  - name: single
    kind: matrix
    defaults: { effectiveBatchSize: chosen, learningRate: tuned }
    seeds: [1, 2]
    cells: [{ label: baseline }, { label: lean, optimizer: sgd }]
  - name: other-batch
    kind: matrix
    defaults: { effectiveBatchSize: 16, learningRate: tuned, learningRateRule: square-root }
    cells: [{ label: larger }]
`;

Deno.test("bench trains every optimizer at the rate that the sweep before decided for it", () =>
  withSuite(RATES, async ({ suite, out }) => {
    const { code, err } = await run("bench", suite, "--out", out);
    assert.equal(code, 0, err);
    const { run: record, cells } = await records(out);
    assert.deepEqual(record.phases.map(({ name, kind }) => `${name} ${kind}`), [
      "batch-size batch-sweep",
      "rates rate-sweep",
      "single matrix",
      "other-batch matrix",
    ]);
    assert.deepEqual(record.decisions.map(({ name, value }) => [name, value]), [
      ["effectiveBatchSize", 4],
      ["learningRate/adamw", 0.001],
      ["learningRate/sgd", 0.1],
    ]);
    const rate = (label: string) => cells.find((cell) => cell.label === label)!.config.learningRate;
    assert.equal(cells.filter(({ status }) => status === "diverged").length, 2, "rates above 1 diverge");
    assert.equal(rate("baseline"), 0.001);
    assert.equal(rate("lean"), 0.1);
    assert.equal(rate("larger"), 0.002, "scaled from the batch size of 4 at which it was found");
    // The rates decided are known to a dry run of what is left.
    const { out: listed } = await run("bench", suite, "--out", out, "--resume", "--dry-run");
    assert.match(listed, /15 cells, 0 to run/);
  }));

const LONGER = (rates: number[], extend = 3) =>
  `title: longer
defaults: { model: fake, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 256, effectiveBatchSize: 1 }
phases:
  - name: rates
    kind: rate-sweep
    extend: ${extend}
    seeds: [1, 2]
    cells: [${rates.map((rate) => `{ label: AdamW at ${rate}, learningRate: ${rate} }`).join(", ")}]
  - { name: single, kind: matrix, defaults: { learningRate: tuned }, cells: [{ label: baseline }] }
`;

/** Labels and rates of a sweep's cells with seed 1, and what was decided. */
async function swept(yaml: string) {
  let found: { rates: (string | number)[][]; rate: unknown; warnings: unknown; listed: string } | null = null;
  await withSuite(yaml, async ({ suite, out }) => {
    const { code, err } = await run("bench", suite, "--out", out);
    assert.equal(code, 0, err);
    const { run: record, cells } = await records(out);
    const { value, warnings } = record.decisions.find(({ name }) => name === "learningRate/adamw")!;
    assert.equal(record.decisions.length, 1, "one decision, made once all rates are there");
    const rates = cells.filter(({ phase, config }) => phase === "rates" && config.seed === 1)
      .map(({ label, config }) => [label, config.learningRate]);
    assert.equal(cells.filter(({ phase }) => phase === "rates").length, 2 * rates.length, "all seeds");
    const { out: listed } = await run("bench", suite, "--out", out, "--resume", "--dry-run");
    found = { rates, rate: value, warnings: warnings?.map(({ kind }) => kind), listed };
  });
  return found!;
}

Deno.test("a rate sweep goes on beyond the end at which its best rate lies, as long as it lies there", async () => {
  // The fake learns best at 0.001.
  const down = await swept(LONGER([0.004, 0.008]));
  assert.deepEqual(down.rates, [
    ["AdamW at 0.004", 0.004],
    ["AdamW at 0.008", 0.008],
    ["AdamW at 0.002", 0.002],
    ["AdamW at 0.001", 0.001],
    ["AdamW at 0.0005", 0.0005],
  ]);
  assert.deepEqual([down.rate, down.warnings], [0.001, undefined]);
  assert.match(down.listed, /11 cells, 0 to run/);
  const up = await swept(LONGER([0.0005, 0.0007]));
  assert.deepEqual(up.rates.slice(2).map(([, rate]) => rate), [0.00098, 0.001372]);
  const inside = await swept(LONGER([0.0005, 0.001, 0.002]));
  assert.deepEqual([inside.rates.length, inside.rate, inside.warnings], [3, 0.001, undefined]);
});

Deno.test("a rate sweep goes on as often as it may and no more, and says that the best is at an end", async () => {
  const far = await swept(LONGER([0.016, 0.032]));
  assert.deepEqual(far.rates.map(([, rate]) => rate), [0.016, 0.032, 0.008, 0.004, 0.002]);
  assert.deepEqual([far.rate, far.warnings], [0.002, ["edge"]]);
  const never = await swept(LONGER([0.016, 0.032], 0));
  assert.deepEqual([never.rates.length, never.rate, never.warnings], [2, 0.016, ["edge"]]);
});

Deno.test("suites with rate sweeps that cannot decide are refused", async () => {
  const head = "title: t\ndefaults: { model: fake, data: words, heldOutFraction: 0.1, steps: 8 }\nphases:\n";
  const cases: [string, RegExp][] = [
    [
      "  - { name: a, kind: matrix, defaults: { learningRate: tuned } }",
      /learningRate is tuned, expected a rate-sweep of adamw before/,
    ],
    [
      "  - { name: a, kind: matrix, defaults: { learningRate: tune } }",
      /got "tune", expected a number of at least 0, or tuned/,
    ],
    [
      "  - { name: a, kind: rate-sweep, axes: { optimizer: [adamw, sgd] } }",
      /expected two or more of adamw[^]*expected two or more of sgd/,
    ],
    [
      "  - { name: a, kind: rate-sweep, axes: { learningRate: [1, 2], methods: [[], [fp16]] } }",
      /differ in more than the learning rate/,
    ],
    [
      "  - { name: a, kind: rate-sweep, axes: { learningRate: [1, 2] }, defaults: { heldOutFraction: 0 } }",
      /heldOutFraction is 0/,
    ],
    [
      "  - { name: a, kind: matrix, extend: 2 }",
      /phases\[0\]\.extend: a matrix has no grid of rates: only a rate-sweep has extend/,
    ],
    [
      "  - { name: a, kind: rate-sweep, extend: 4, axes: { learningRate: [1, 2] } }",
      /extend: got 4, expected a whole number from 0 to 3/,
    ],
    [
      "  - { name: a, kind: rate-sweep, rule: fastest-within-seed-spread, axes: { learningRate: [1, 2] } }",
      /expected lowest-loss-lower-rate: the rule of a rate-sweep/,
    ],
    [
      "  - { name: a, kind: rate-sweep, axes: { learningRate: [1, 2] } }\n  - { name: b, kind: rate-sweep, axes: { learningRate: [1, 2] } }",
      /a second rate-sweep of adamw/,
    ],
    [
      "  - { name: a, kind: batch-sweep, defaults: { steps: 4, tokens: 4096 }, axes: { effectiveBatchSize: [1, 2] } }\n  - { name: b, kind: matrix, defaults: { warmupSteps: 2, warmupTokens: 5 } }",
      /Cannot use both/,
    ],
  ];
  for (const [phases, message] of cases) {
    await withSuite(`${head}${phases}\n`, async ({ suite }) => {
      const { code, err } = await run("validate", suite);
      assert.equal(code, 2, phases);
      assert.match(err, message);
    });
  }
});
