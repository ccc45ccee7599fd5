// Adaptive rounds: who gets more processes, and that two looks keep the error of one.
import assert from "node:assert/strict";
import { join } from "node:path";
import { answerOf, atLeast } from "../../../report/claims/decide.ts";
import { configurationsOf } from "../../../report/rows/configuration.ts";
import { throughputRatio } from "../../../report/rows/pairs.ts";
import { MARGINS } from "../../../results/margins.ts";
import type { CellRecord, RunRecord } from "../../../results/record.ts";
import { seededRandom } from "../../../results/stats.ts";
import { addable, firstRounds, look } from "../../../suites/adaptive_rounds.ts";
import { type Cell, expandPhase } from "../../../suites/matrix.ts";
import { adaptiveRounds } from "../../../suites/round_counts.ts";
import type { PhaseBody } from "../../../suites/schema.ts";
import type { TieredPhase } from "../../../suites/suite.ts";
import { isLongRun } from "../../support/long_run.ts";
import { normal } from "../report/support.ts";
import { records, run, withSuite } from "./command_line.ts";
import { phaseOf as matrixOf } from "./phases.ts";

const EDGE = 0.95;

function phaseOf(body: PhaseBody): TieredPhase {
  return matrixOf({ rounds: "adaptive", repeats: adaptiveRounds(body.seeds).first, ...body }, {
    timing: { warmupSteps: 0 },
    defaults: { model: "gpt2-nano", data: "moby-dick", steps: 4, effectiveBatchSize: 4 },
  });
}

/** The record of a cell whose steps all take so long. */
function recordOf(cell: Cell, ms: number, status: CellRecord["status"] = "ok"): CellRecord {
  const { id, kind, phase, label, repeat, config } = cell;
  const samples = status === "ok" ? { ms: [ms, ms, ms], tokens: [100, 100, 100] } : null;
  const fixed = { warmupSteps: 0, heldOut: [], memory: null, sameRunAs: null };
  return {
    id,
    kind,
    phase,
    label,
    repeat,
    round: repeat,
    process: id,
    status,
    config,
    samples,
    ...fixed,
  } as unknown as CellRecord;
}

/** Looks at first rounds whose times are given by label and round. */
function lookAt(phase: TieredPhase, ms: (cell: Cell) => number | CellRecord["status"]) {
  const first = firstRounds(phase, expandPhase(phase));
  const found = new Map(first.map((cell) => {
    const value = ms(cell);
    return [cell.id, typeof value === "number" ? recordOf(cell, value) : recordOf(cell, 0, value)];
  }));
  return look(phase, first, (id) => found.get(id) ?? null)!;
}

const CELLS = [{ label: "baseline" }, { label: "fp16", methods: ["fp16"] }, {
  label: "flash",
  methods: ["flash"],
}];
const short = ({ label, repeat, config: { seed } }: Cell) => `${label} ${seed} ${repeat}`;

Deno.test("what two processes do not tell runs in three more, its baseline too, and nothing else", () => {
  // fp16 takes twice as long in both rounds; flash 0.9 and 1.1 of the baseline's time.
  const { added, decision } = lookAt(
    phaseOf({ cells: CELLS }),
    ({ label, repeat }) => label === "fp16" ? 200 : label === "flash" ? 90 + 20 * repeat : 100,
  );
  assert.deepEqual(
    added.map(short),
    [2, 3, 4].flatMap((round) => [`baseline 0 ${round}`, `flash 0 ${round}`]),
  );
  assert.deepEqual([decision.name, decision.value, decision.chosen], ["rounds/p", 1, "flash"]);
  assert.deepEqual(Object.keys(decision.figures), ["fp16", "flash"]);
  assert.ok(Math.abs(decision.figures.fp16.high! - 0.5) < 1e-9);
  assert.equal(decision.inputs.length, 6);
  assert.match(decision.reason, /3 more processes for 1 of 2 configurations and their baseline/);
  assert.match(decision.rule, /95 % intervals instead of 90 %/);
});

Deno.test("with several seeds a round has as many processes; those of a seed have its configuration", () => {
  assert.deepEqual([undefined, [1], [1, 2], [1, 2, 3], [1, 2, 3, 4]].map(adaptiveRounds), [
    { first: 2, more: 3 },
    { first: 2, more: 3 },
    { first: 1, more: 2 },
    { first: 1, more: 1 },
    { first: 1, more: 1 },
  ]);
  const phase = phaseOf({ cells: CELLS, seeds: [1, 2] });
  const { added } = lookAt(phase, ({ config }) => config.methods.length * 10 * config.seed + 100);
  assert.deepEqual(added.slice(0, 6).map(short), [
    "baseline 1 1",
    "fp16 1 1",
    "flash 1 1",
    "baseline 2 1",
    "fp16 2 1",
    "flash 2 1",
  ]);
  assert.deepEqual(
    addable(phase, expandPhase(phase)).map(({ id }) => id).sort(),
    added.map(({ id }) => id).sort(),
  );
  const ids = [...expandPhase(phase), ...added].map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
});

Deno.test("the edge itself counts as held, as in verdicts; a hair below does not tell", () => {
  const at = (ratio: number, spread = 0) => {
    const { added } = lookAt(
      phaseOf({ cells: CELLS.slice(0, 2) }),
      ({ label, repeat }) => label === "fp16" ? 100 / ratio * Math.exp(spread * (repeat - 0.5)) : 100,
    );
    return added.length > 0;
  };
  assert.deepEqual([at(EDGE * (1 + 1e-9)), at(EDGE * (1 - 1e-9))], [false, false], "no noise, no doubt");
  // Two logarithms d apart: Student's factor at 97.5 %, one degree, is 12.7062: ± 12.7062 · d / 2.
  const d = 0.002;
  const reach = 12.7062 * d / 2;
  for (const side of [1, -1]) {
    assert.equal(at(EDGE * Math.exp(side * (reach - 1e-5)), d), true, "the edge is just inside");
    assert.equal(at(EDGE * Math.exp(side * (reach + 1e-5)), d), false, "the edge is just outside");
  }
});

Deno.test("one process that ended well does not tell; none, or no baseline, needs no more; a missing one waits", () => {
  const phase = phaseOf({ cells: CELLS });
  const outcome = (status: (cell: Cell) => boolean) =>
    lookAt(phase, (cell) => status(cell) ? "timeout" : 100).added.map(({ label }) => label);
  assert.deepEqual(
    new Set(outcome(({ label, repeat }) => label === "fp16" && repeat === 1)),
    new Set(["baseline", "fp16"]),
  );
  assert.deepEqual(outcome(({ label }) => label === "fp16"), []);
  assert.deepEqual(outcome(({ label }) => label === "baseline"), []);
  const first = firstRounds(phase, expandPhase(phase));
  const all = new Map(first.map((cell) => [cell.id, recordOf(cell, 100)]));
  for (const { id } of first) {
    assert.equal(look(phase, first, (one) => one === id ? null : all.get(one)!), null);
  }
});

Deno.test("times of cells that ran beside others are none, and pruned cells are not compared", () => {
  const prune = [{ where: { methods: ["flash"] }, because: "it is slow" }];
  const phase = phaseOf({ cells: CELLS, prune });
  const first = firstRounds(phase, expandPhase(phase));
  const found = new Map(
    first.map((cell) => [cell.id, { ...recordOf(cell, 100 + 20 * cell.repeat), concurrency: 2 }]),
  );
  const { added, decision } = look(phase, first, (id) => found.get(id)!)!;
  assert.deepEqual([added, Object.keys(decision.figures)], [[], ["fp16"]]);
  assert.equal(decision.figures.fp16.throughputRatio, null);
});

/** Runs one phase with a known truth as the runner does, and judges it as the report does. */
function draw(phase: TieredPhase, truth: { ratio: number; noise: number }, random: () => number) {
  const drift = new Map<string, number>();
  const measured = (cell: Cell) => {
    const round = `${cell.repeat} ${cell.config.seed}`;
    if (!drift.has(round)) drift.set(round, 0.05 * normal(random));
    const ms = 100 / (cell.label === "baseline" ? 1 : truth.ratio);
    return recordOf(cell, ms * Math.exp(drift.get(round)! + truth.noise * normal(random)));
  };
  const first = firstRounds(phase, expandPhase(phase));
  const found = new Map(first.map((cell) => [cell.id, measured(cell)]));
  const { added } = look(phase, first, (id) => found.get(id)!)!;
  const cells = [...found.values(), ...added.map(measured)];
  const { name, kind, rounds } = phase;
  const phases: RunRecord["phases"] = [{ name, kind, rounds, shows: null, description: "" }];
  const [baseline, changed] = configurationsOf(cells, phases);
  const ratio = throughputRatio({ baseline, changed }, MARGINS.confidence.value);
  return { answer: answerOf(ratio, atLeast(EDGE)), isAdded: added.length > 0 };
}

/** Draws a point; a test run has enough to find a rule that is badly wrong. */
const DRAWS = isLongRun ? 10_000 : 600;
const MOST = 0.05 + 2 * Math.sqrt(0.05 * 0.95 / DRAWS);

function shares(seeds: number[], truth: { ratio: number; noise: number }) {
  const phase = phaseOf({ cells: CELLS.slice(0, 2), seeds });
  const random = seededRandom(Math.round(1e6 * truth.ratio) + Math.round(1e4 * truth.noise) + seeds.length);
  const counts = { "yes": 0, "no": 0, "cannot tell": 0, added: 0 };
  for (let i = 0; i < DRAWS; i++) {
    const { answer, isAdded } = draw(phase, truth, random);
    counts[answer] += 1 / DRAWS;
    if (isAdded) counts.added += 1 / DRAWS;
  }
  return counts;
}

/** One seed: two processes, then five. Two: two, then six. Three: three, then six. */
const SEEDS = isLongRun ? [[1], [1, 2], [1, 2, 3]] : [[1], [1, 2, 3]];
const NOISES = [0.001, 0.005, 0.02, 0.08];

for (const seeds of SEEDS) {
  Deno.test(`at the margin a look and a second one err once in twenty at most, with ${seeds.length} seeds`, () => {
    for (const noise of NOISES) {
      const { yes, no, added } = shares(seeds, { ratio: EDGE, noise });
      const at = `noise ${noise}: ${yes} yes, ${no} no, ${added} looked twice`;
      assert.ok(yes <= MOST, at);
      assert.ok(no <= MOST, at);
      assert.ok(added > 0.9, at);
    }
  });
}

Deno.test("well inside and well outside hardly any answer is wrong, and noise makes it “cannot tell”", () => {
  for (const ratio of [1, 0.85]) {
    let before = 0;
    for (const noise of NOISES) {
      const found = shares([1], { ratio, noise });
      const at = `${ratio}, noise ${noise}: ${JSON.stringify(found)}`;
      assert.ok((ratio > EDGE ? found.no : found.yes) <= MOST, at);
      assert.ok(found["cannot tell"] >= before - MOST, at);
      before = found["cannot tell"];
    }
  }
});

Deno.test("a throughput that is held is found so in four of five runs at moderate noise; little noise needs no more", () => {
  const moderate = shares([1], { ratio: 1, noise: 0.02 });
  assert.ok(moderate.yes >= 0.8, JSON.stringify(moderate));
  const little = shares([1], { ratio: 1, noise: 0.001 });
  assert.ok(little.yes > 0.99 && little.added < 0.1, JSON.stringify(little));
});

/** Checkpointing takes 1 and 2 times as long with odd and even seeds, fp16 twice: see fake_engine.ts. */
const SUITE = `title: adaptive
defaults: { model: fake-uneven, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 512, effectiveBatchSize: 4 }
phases:
  - name: methods
    kind: matrix
    rounds: adaptive
    seeds: [1, 2]
    cells: [{ label: baseline }, { label: checkpoint, methods: [checkpoint] }, { label: fp16, methods: [fp16] }]
`;

const named = ({ label, repeat, config: { seed } }: CellRecord) => `${label} ${seed} ${repeat}`;
const ADDED = [1, 2].flatMap((repeat) =>
  [1, 2].flatMap((seed) => [`baseline ${seed} ${repeat}`, `checkpoint ${seed} ${repeat}`])
);

Deno.test("bench adds rounds once, writes the decision, and lists them before and after", () =>
  withSuite(SUITE, async ({ suite, out }) => {
    const { out: listed } = await run("bench", suite, "--out", out, "--dry-run");
    assert.match(listed, /18 cells, up to 18 to run/);
    assert.match(listed, /phase methods: up to 18 to run/);
    assert.equal(listed.match(/\(not decided yet\)/g)!.length, 12, "six run in any case");
    assert.match(listed, /fp16, seed 1, repeat 2 .*not decided yet/);
    const ended = await run("bench", suite, "--out", out);
    assert.equal(ended.code, 0, ended.err);
    const { run: record, cells } = await records(out);
    assert.deepEqual(cells.slice(6).map(named), ADDED);
    assert.ok(cells.every(({ round, repeat }) => round === repeat));
    assert.notEqual(record.finishedAt, null);
    assert.deepEqual(record.decisions.map(({ name, chosen }) => [name, chosen]), [[
      "rounds/methods",
      "checkpoint",
    ]]);
    assert.equal(record.phases[0].rounds, "adaptive");
    assert.equal(record.orderSeed, parseInt(record.suiteHash.slice(0, 8), 16));
    assert.match(ended.err.replaceAll(/\s+/g, " "), /4 more processes for 1 of 2 configurations/);
    assert.match(
      (await run("bench", suite, "--out", out, "--resume", "--dry-run")).out,
      /14 cells, 0 to run/, // what was added is known now
    );
    const again = await run("bench", suite, "--out", out, "--resume");
    assert.equal(again.code, 0, again.err);
    assert.deepEqual((await records(out)).cells, cells, "nothing ran again, nothing was added");
  }));

Deno.test("shards look once all first rounds are there; a filter that leaves some out does not look", () =>
  withSuite(SUITE, async ({ suite, out, folder }) => {
    for (const shard of ["1/2", "2/2"]) {
      const { code, err } = await run("bench", suite, "--out", out, "--shard", shard, "--resume");
      assert.equal(code, 0, err);
    }
    const parts = await records(out);
    assert.equal(parts.run.decisions.length, 1, "the last one looks, and runs its part of what it adds");
    const ended = await run("bench", suite, "--out", out, "--resume");
    assert.equal(ended.code, 0, ended.err);
    const whole = await records(out);
    assert.notEqual(whole.run.finishedAt, null);
    assert.deepEqual(whole.cells.slice(6).map(named), ADDED);

    const other = join(folder, "other");
    const filtered = await run("bench", suite, "--out", other, "--filter", "label!=fp16");
    assert.equal(filtered.code, 0, filtered.err);
    const left = await records(other);
    assert.deepEqual([left.run.decisions, left.run.finishedAt, left.cells.length], [[], null, 4]);
    assert.match(
      filtered.err.replaceAll(/\s+/g, " "),
      /some cells that --filter leaves out are still to be run/,
    );
    assert.equal((await run("bench", suite, "--out", other, "--resume")).code, 0);
    assert.deepEqual((await records(other)).cells.map(named), whole.cells.map(named));
  }));

Deno.test("baseline and finalists of equal memory get more rounds, the search and the grown batch none", () => {
  const yaml = `title: equal memory
defaults: { model: fake-uneven, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 2048, effectiveBatchSize: 8 }
phases:
  - name: equal-memory
    kind: equal-memory
    rounds: adaptive
    seeds: [11, 12]
    memoryRatios: [2]
    cells: [{ label: checkpoint, methods: [checkpoint] }]
`;
  return withSuite(yaml, async ({ suite, out }) => {
    // One candidate; baseline, finalist and grown batch of two seeds; two rounds more of the former two.
    assert.match((await run("bench", suite, "--out", out, "--dry-run")).out, /17 cells, up to 17 to run/);
    const ended = await run("bench", suite, "--out", out);
    assert.equal(ended.code, 0, ended.err);
    const { run: { decisions }, cells } = await records(out);
    assert.deepEqual(decisions.map(({ name, value }) => [name, typeof value]), [
      ["equalMemory/2", "string"],
      ["rounds/equal-memory", "number"],
    ]);
    const added = cells.filter(({ repeat }) => repeat > 0);
    assert.equal(added.length, 8);
    assert.ok(added.every(({ role }) => role === "judged"));
    assert.match((await run("bench", suite, "--out", out, "--resume", "--dry-run")).out, /, 0 to run/);
  });
});
