// Equal memory: what the planner finds within each budget, who is tried, who is judged, and what is recorded.
import assert from "node:assert/strict";
import { join } from "node:path";
import { InputError } from "../../../engine/input_error.ts";
import type { CellRecord, Decision } from "../../../results/record.ts";
import { engine, type TrainingPlan } from "../../../suites/engine.ts";
import { decideFinalist, divisors, largestSplits, searchMemory } from "../../../suites/equal_memory.ts";
import { expectedTime, measuredFactors } from "../../../suites/expected_time.ts";
import { NOTHING_KNOWN } from "../../../suites/matrix.ts";
import { resolveSettings } from "../../../suites/resolve_settings.ts";
import { searchSpace } from "../../../suites/search_space.ts";
import { tieredSuite } from "../../../suites/suite.ts";
import { checkSuite } from "../../../suites/suite_checks.ts";
import { records, run, withSuite } from "./command_line.ts";
import { fakeEngine } from "./fake_engine.ts";

/** A phase at an effective batch of 8; `more` are further lines of it, `before` other phases. */
function suiteOf({ model = "fake", more = "", before = "" } = {}): string {
  return `title: equal memory
defaults: { model: ${model}, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 2048, effectiveBatchSize: 8 }
phases:
${before}  - name: equal-memory
    kind: equal-memory
    seeds: [11, 12]
${more}`;
}

const MEBIBYTE = 2 ** 20;
const short = ({ label, role, config: { seed } }: CellRecord) => `${role} ${label} ${seed}`;
const decisionFor = (decisions: readonly Decision[], ratio: number) =>
  decisions.find(({ name }) => name === `equalMemory/${ratio}`)!;

Deno.test("the three that are expected to be fastest run once, the fastest is judged against the baseline", () =>
  withSuite(suiteOf(), async ({ suite, out }) => {
    const ended = await run("bench", suite, "--out", out);
    assert.equal(ended.code, 0, ended.err);
    const { run: record, cells } = await records(out);
    assert.notEqual(record.finishedAt, null);
    assert.deepEqual(cells.map(short), [
      // A budget of 8, 4, 2.67 and 2 MiB; the fake needs 1 MiB a sequence, half with checkpointing.
      "search baseline, 8 × 1 0",
      "search mixed precision, 8 × 1 0",
      "search selective checkpointing, 8 × 1 0",
      "search selective checkpointing + mixed precision, 8 × 1 0",
      "search baseline, 4 × 2 0",
      "search baseline, 2 × 4 0",
      "search mixed precision, 2 × 4 0",
      "search selective checkpointing, 4 × 2 0",
      ...[11, 12].flatMap((seed) => [
        `judged baseline ${seed}`,
        `judged selective checkpointing, 8 × 1 ${seed}`,
        `judged baseline, 2 × 4 ${seed}`,
      ]),
    ]);
    const search = cells.filter(({ role }) => role === "search");
    assert.ok(search.every(({ config }) => config.steps === 5 && config.heldOutWindows === 1));
    const judged = cells.filter(({ role }) => role === "judged");
    assert.ok(judged.every(({ config }) => config.steps === 16 && config.heldOutWindows === 0));
    const processes = cells.map(({ process }) => process);
    assert.equal(new Set(processes).size, cells.length, "each in a process of its own");

    const decisions = record.decisions.filter(({ name }) => name.startsWith("equalMemory/"));
    assert.deepEqual(decisions.map(({ name }) => name), [1, 2, 3, 4].map((ratio) => `equalMemory/${ratio}`));
    const half = decisionFor(decisions, 2);
    assert.deepEqual(half.figures.budget, {
      memoryRatio: 2,
      budgetBytes: 4 * MEBIBYTE,
      plannedPeakBytes: 8 * MEBIBYTE,
      effectiveBatchSize: 8,
    });
    assert.equal(Object.keys(half.figures).length, 1 + 8, "every combination that the engine trains");
    assert.equal(half.chosen, "selective checkpointing, 8 × 1");
    assert.equal(half.value, search.find(({ label }) => label === half.chosen)!.id);
    assert.equal(half.figures[half.chosen].tokensPerSecond! > 0, true);
    assert.equal(half.figures["mixed precision, 4 × 2"].tokensPerSecond, null, "not run");
    assert.match(half.reason, /8 of 8 combinations fit 4.00 MiB; .* fastest of the 3 that ran/);
    // Equal times: the first by the rule of the ranking.
    assert.equal(decisionFor(decisions, 3).chosen, "baseline, 2 × 4");
    assert.equal(decisionFor(decisions, 1).chosen, "baseline, 8 × 1");
  }));

Deno.test("a decision can be made again from the suite, the planner and the cells", () =>
  withSuite(suiteOf(), async ({ suite, out }) => {
    assert.equal((await run("bench", suite, "--out", out)).code, 0);
    const { run: record, cells } = await records(out);
    const file = await checkSuite(await Deno.readTextFile(suite), suite, fakeEngine);
    const [phase] = tieredSuite(file, "software", false).phases;
    const search = await searchMemory(phase, {
      known: NOTHING_KNOWN,
      engine: fakeEngine,
      plan: (config) => fakeEngine.planTraining(config),
      deviceBytes: null,
      timed: [],
    });
    const recordOf = (id: string) => cells.find((cell) => cell.id === id) ?? null;
    const again = search.budgets.map((budget) =>
      decideFinalist(phase, search, budget, { known: NOTHING_KNOWN, recordOf })!.decision
    );
    assert.deepEqual(JSON.parse(JSON.stringify(again)), record.decisions);
    const cut = (id: string) => id === record.decisions[0].inputs[0] ? null : recordOf(id);
    assert.equal(
      decideFinalist(phase, search, search.budgets[0], { known: NOTHING_KNOWN, recordOf: cut }),
      null,
    );
  }));

Deno.test("a budget that nothing fits is a decision like any other; the batch grows where there is room", () =>
  withSuite(
    suiteOf({ more: "    memoryRatios: [1, 1.5, 64]\n    candidates: 4\n" }),
    async ({ suite, out }) => {
      const ended = await run("bench", suite, "--out", out);
      assert.equal(ended.code, 0, ended.err);
      const { run: { decisions, finishedAt }, cells } = await records(out);
      assert.notEqual(finishedAt, null);
      const none = decisionFor(decisions, 64);
      assert.deepEqual([none.chosen, none.value, none.inputs], ["none", "none", []]);
      assert.match(none.reason, /^nothing fits: none of 8 combinations trains within 128 KiB$/);
      assert.deepEqual(Object.keys(none.figures), ["budget"]);
      // 5.33 MiB hold ten sequences at half a MiB each.
      assert.equal(decisionFor(decisions, 1.5).chosen, "selective checkpointing, 8 × 1");
      const grown = cells.filter(({ role }) => role === "grown");
      assert.deepEqual(
        grown.map(short),
        [11, 12].map((seed) => `grown selective checkpointing, 10 × 1 within 1/1.5 ${seed}`),
      );
      assert.ok(grown.every(({ config }) => config.microBatchSize === 10 && config.heldOutWindows === 1));
    },
  ));

Deno.test("a candidate that dies is out; where all die nobody is judged but the baseline", () => {
  const cells = (list: string) => `    memoryRatios: [2]\n    cells: [${list}]\n`;
  const hot = (label: string, methods: string) =>
    `{ label: ${label}, methods: [${methods}], learningRate: 2 }`;
  const one = suiteOf({ more: cells(`${hot("hot", "checkpoint")}, { label: lukewarm }`) });
  const all = suiteOf({ more: cells(`${hot("hot", "checkpoint")}, ${hot("hotter", "")}`) });
  return withSuite(one, async ({ suite, out, folder }) => {
    const ended = await run("bench", suite, "--out", out);
    assert.equal(ended.code, 0, ended.err);
    const { run: { decisions: [decision] }, cells } = await records(out);
    assert.equal(decision.chosen, "lukewarm, 4 × 2");
    assert.equal(decision.figures["hot, 8 × 1"].tokensPerSecond, null);
    assert.match(decision.reason, /hot, 8 × 1 ended as diverged/);
    assert.equal(cells.filter(({ role }) => role === "judged").length, 4);

    await Deno.writeTextFile(suite, all);
    const other = join(folder, "all");
    assert.equal((await run("bench", suite, "--out", other)).code, 0);
    const dead = await records(other);
    assert.equal(dead.run.decisions[0].chosen, "none");
    assert.match(
      dead.run.decisions[0].reason,
      /none that ran ended well; hotter, .* ended as diverged; hot, /,
    );
    assert.deepEqual(dead.cells.filter(({ role }) => role === "judged").map(({ label }) => label), [
      "baseline",
      "baseline",
    ]);
  });
});

Deno.test("a run of the search alone is gone on with; a filter that leaves it out says so", () =>
  withSuite(suiteOf(), async ({ suite, out, folder }) => {
    const first = await run("bench", suite, "--out", out, "--filter", "role=search");
    const searched = await records(out);
    assert.equal(first.code, 0, first.err);
    assert.deepEqual(new Set(searched.cells.map(({ role }) => role)), new Set(["search"]));
    assert.equal(searched.run.decisions.length, 4);
    assert.equal((await run("bench", suite, "--out", out, "--resume")).code, 0);
    const whole = await records(out);
    assert.deepEqual(whole.cells.slice(0, searched.cells.length), searched.cells);
    assert.deepEqual(
      whole.run.decisions.map(({ value }) => value),
      searched.run.decisions.map(({ value }) => value),
    );

    const other = join(folder, "other");
    const filtered = await run("bench", suite, "--out", other, "--filter", "role=judged");
    assert.equal(filtered.code, 1);
    assert.match(
      filtered.err.replaceAll(/\s+/g, " "),
      /needs the times of its search: the filter leaves out/,
    );
  }));

Deno.test("shards run their part of the search; whoever resumes decides and judges", () =>
  withSuite(suiteOf(), async ({ suite, out }) => {
    const first = await run("bench", suite, "--out", out, "--shard", "1/2");
    assert.equal(first.code, 1);
    assert.match(first.err.replaceAll(/\s+/g, " "), /its search: cells of other shards are missing/);
    assert.deepEqual((await records(out)).run.decisions, []);
    await run("bench", suite, "--out", out, "--shard", "2/2", "--resume");
    assert.equal((await records(out)).run.decisions.length, 4, "the last one decides");
    const whole = await run("bench", suite, "--out", out, "--resume");
    assert.equal(whole.code, 0, whole.err);
    const { run: record, cells } = await records(out);
    assert.notEqual(record.finishedAt, null);
    assert.equal(cells.filter(({ role }) => role === "judged").length, 6);
  }));

Deno.test("expected times are those that methods alone took in the run; the search waits for them", () => {
  const before = `  - name: single
    kind: matrix
    shows: single-methods
    cells: [{ label: baseline }, { label: fp16, methods: [fp16] }, { label: accumulation, microBatchSize: 1 }]
`;
  return withSuite(suiteOf({ before }), async ({ suite, out, folder }) => {
    assert.equal((await run("bench", suite, "--out", out)).code, 0);
    const { run: { decisions }, cells } = await records(out);
    const single = cells.filter(({ phase }) => phase === "single").map(({ id }) => id);
    for (const { inputs, figures, chosen } of decisions) {
      assert.deepEqual(inputs.slice(0, 3), single);
      // The fake takes as long with them as without.
      if (chosen === "baseline, 2 × 4") assert.equal(figures[chosen].expectedTime, 1);
    }
    const other = join(folder, "other");
    const filtered = await run("bench", suite, "--out", other, "--filter", "phase=equal-memory");
    assert.match(
      filtered.err.replaceAll(/\s+/g, " "),
      /needs the times of methods alone: the filter leaves out/,
    );
  });
});

Deno.test("--dry-run counts the cells of a search that has not begun, and says that they are guessed", () =>
  withSuite(suiteOf(), async ({ suite, out }) => {
    const { out: listed } = await run("bench", suite, "--out", out, "--dry-run");
    // 4 budgets × 3 candidates, and of two seeds the baseline, four finalists, four grown.
    assert.match(listed, /30 cells, 30 to run/);
    assert.match(listed, /candidate 3 within 1\/4, seed 0 .*not decided yet/);
    assert.match(listed, /finalist within 1\/2, seed 12 .*not decided yet/);
  }));

Deno.test("what a search cannot work with is refused with its place", async () => {
  const refusals: [string, RegExp][] = [
    [
      suiteOf({ more: "    defaults: { microBatchSize: 2 }\n" }),
      /got microBatchSize 2, expected none: the search/,
    ],
    [
      suiteOf({ more: "    defaults: { seed: 12 }\n" }),
      /got 11, 12, expected others than 12, the seed of the search/,
    ],
    [
      suiteOf({ more: "    reuse: true\n" }),
      /got reuse, expected none: what is judged runs in processes of its own/,
    ],
    [
      suiteOf({ more: "    shows: method-ladder\n" }),
      /got method-ladder, expected none: equal-memory shows itself/,
    ],
    [suiteOf({ more: "    memoryRatios: [0.5]\n" }), /got 0.5, expected a number of at least 1/],
    [suiteOf().replace("    seeds: [11, 12]\n", ""), /missing key seeds: expected those of what is judged/],
    [
      suiteOf({ more: "  - { name: b, kind: equal-memory, seeds: [1] }\n" }),
      /a second equal-memory phase, expected one/,
    ],
    [
      suiteOf({ before: "  - { name: a, kind: matrix, candidates: 2, cells: [{ label: a }] }\n" }),
      /a matrix searches nothing: only an equal-memory phase has candidates/,
    ],
  ];
  for (const [yaml, message] of refusals) {
    await assert.rejects(checkSuite(yaml, "suite.yaml", fakeEngine), (error) => {
      assert.ok(error instanceof InputError);
      assert.match(error.message, message);
      return true;
    });
  }
});

const CONFIG = resolveSettings({
  model: "gpt2-nano",
  data: "moby-dick",
  tokenizer: "bytes",
  effectiveBatchSize: 24,
});

/** A planner of made-up peaks, by micro-batch. */
function peaksOf(peaks: ReadonlyMap<number, number>, asked: number[] = []) {
  return ({ microBatchSize }: { microBatchSize: number }) => {
    asked.push(microBatchSize);
    const plannedPeakBytes = peaks.get(microBatchSize);
    return Promise.resolve(
      plannedPeakBytes === undefined ? new InputError("no such split") : { plannedPeakBytes } as TrainingPlan,
    );
  };
}

/** The largest micro-batch that fits, all of them tried. */
function byBruteForce(peaks: ReadonlyMap<number, number>, budget: number): number | null {
  return [...peaks].filter(([, bytes]) => bytes <= budget).map(([size]) => size).sort((a, b) => b - a)[0] ??
    null;
}

Deno.test("largestSplits() finds what trying all micro-batches finds, with fewer plans", async () => {
  assert.deepEqual(divisors(24), [1, 2, 3, 4, 6, 8, 12, 24]);
  // Rising; the whole batch below its half; nothing fits; not monotone, which costs a plan of each.
  const cases = [
    [1, 2, 3, 4, 6, 8, 12, 24],
    [1, 2, 3, 4, 6, 8, 12, 11],
    [30, 31, 32, 33, 34, 35, 36, 37],
    [5, 5, 5, 5, 5, 5, 5, 5],
    [9, 2, 3, 4, 6, 8, 12, 24],
  ];
  for (const list of cases) {
    const peaks = new Map(divisors(24).map((size, i) => [size, list[i]]));
    for (let bytes = 0; bytes <= 26; bytes++) {
      const [split] = await largestSplits(CONFIG, [bytes], peaksOf(peaks));
      if (list[0] === 9 && split === null) continue; // what is not asked for is not known
      assert.equal(split?.microBatchSize ?? null, byBruteForce(peaks, bytes), `${list}: ${bytes}`);
    }
  }
  const asked: number[] = [];
  const rising = new Map(divisors(24).map((size) => [size, size]));
  const found = await largestSplits(CONFIG, [24, 12, 8, 6], peaksOf(rising, asked));
  assert.deepEqual(found.map((split) => split!.microBatchSize), [24, 12, 8, 6]);
  assert.ok(asked.length < 8, `${asked}`);
  assert.equal(new Set(asked).size, asked.length, "each once");
  // A micro-batch that a combination cannot work with fits nowhere.
  const [only] = await largestSplits(CONFIG, [99], peaksOf(new Map([[1, 5], [2, 6], [3, 7]])));
  assert.equal(only!.microBatchSize, 3);
});

Deno.test("plans of gpt2-nano: memory grows with the micro-batch where it accumulates, and the search is right", async () => {
  const plan = async (config: Parameters<typeof engine.planTraining>[0]) =>
    await engine.planTraining(config, "software");
  for (const methods of [[], ["checkpoint"], ["fp16", "flash"]]) {
    const config = resolveSettings({ ...CONFIG, methods, microBatchSize: 8, gradientAccumulationSteps: 1 });
    const peaks = new Map<number, number>();
    for (const microBatchSize of divisors(8)) {
      const split = { ...config, microBatchSize, gradientAccumulationSteps: 8 / microBatchSize };
      peaks.set(microBatchSize, (await plan(split)).plannedPeakBytes);
    }
    const [one, two, four] = [1, 2, 4].map((size) => peaks.get(size)!);
    assert.ok(one <= two && two <= four, `${methods}: ${[...peaks.values()]}`);
    const budgets = [...peaks.values(), Math.min(...peaks.values()) - 1];
    const found = await largestSplits(config, budgets, plan);
    found.forEach((split, i) =>
      assert.equal(split?.microBatchSize ?? null, byBruteForce(peaks, budgets[i]), `${methods} ${budgets[i]}`)
    );
  }
});

Deno.test("the space of a search is every combination once, the baseline first", () => {
  const space = searchSpace();
  assert.equal(space.length, 42, "3 optimizers × (4 kinds of checkpointing × fp16 × flash, less 2)");
  assert.equal(space[0].label, "baseline");
  assert.equal(new Set(space.map(({ label }) => label)).size, space.length);
  const label = "checkpointing every two blocks + mixed precision + FlashAttention-2 + 8-bit AdamW";
  assert.deepEqual(space.find((one) => one.label === label)!.settings, {
    methods: ["checkpoint", "fp16", "flash"],
    methodOptions: { checkpoint: { blocksPerCheckpoint: 2 } },
    optimizer: "adamw8bit",
  });
});

Deno.test("expectedTime() multiplies what methods take alone: as measured, else as published", () => {
  const of = (methods: string[], rest = {}, factors?: Map<string, number>) =>
    expectedTime({ methods, optimizer: "adamw", gradientAccumulationSteps: 1, ...rest }, factors);
  assert.equal(of([]), 1);
  assert.equal(of(["checkpoint"], { gradientAccumulationSteps: 4 }), 1.32);
  assert.equal(of(["checkpoint"], { methodOptions: { checkpoint: { selective: true } } }), 1.02);
  const measured = new Map([["fp16", 0.5], ["adafactor", 1.5]]);
  assert.equal(of(["fp16", "checkpoint"], { optimizer: "adafactor" }, measured), 0.9);
});

Deno.test("measuredFactors() takes one median a process, of cells that differ from the baseline in one thing", () => {
  const cell = (id: string, ms: number[], settings = {}, status = "ok") =>
    ({
      id,
      status,
      warmupSteps: 1,
      samples: { ms: [999, ...ms] },
      config: resolveSettings({ model: "gpt2-nano", data: "moby-dick", effectiveBatchSize: 4, ...settings }),
    }) as unknown as CellRecord;
  const list = [
    cell("a", [10, 10, 40]),
    cell("b", [20, 20, 20]),
    cell("c", [30], { methods: ["fp16"] }),
    cell("d", [45], { microBatchSize: 2 }),
    cell("e", [60], { methods: ["fp16", "flash"] }),
    cell("f", [60], { methods: ["flash"], effectiveBatchSize: 8 }),
    cell("g", [60], { optimizer: "adafactor" }, "diverged"),
  ];
  const { factors, inputs } = measuredFactors(list[0].config, list);
  assert.deepEqual([...factors], [["fp16", 2], ["accumulation", 3]]);
  assert.deepEqual(inputs, ["a", "b", "c", "d"]);
  assert.deepEqual(measuredFactors(list[0].config, list.slice(2)), { factors: new Map(), inputs: [] });
});
