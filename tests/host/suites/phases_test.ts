import assert from "node:assert/strict";
import { join } from "node:path";
import { main } from "../../../suites/cli/main.ts";
import { records, run, withSuite } from "./command_line.ts";
import { fakeServices } from "./fake_services.ts";

const HEAD = `title: t
defaults: { model: fake, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 512, effectiveBatchSize: 4 }
`;

Deno.test("a plan asks the planner alone: no process, no samples, nothing booked, whatever the budget", () => {
  const yaml = `${HEAD}tiers: { software: { memoryBudget: 1MiB } }
phases:
  - { name: sizes, kind: plan, defaults: { model: fake-throws, steps: 1 }, axes: { effectiveBatchSize: [1, 64] } }
`;
  return withSuite(yaml, async ({ suite, out }) => {
    const { code, err } = await run("bench", suite, "--out", out);
    assert.equal(code, 0, err);
    const { run: record, cells } = await records(out);
    assert.notEqual(record.finishedAt, null);
    assert.deepEqual(cells.map(({ kind, status, samples }) => [kind, status, samples]), [
      ["planned", "ok", null],
      ["planned", "ok", null],
    ]);
    const { memory, heldOut, command } = cells[1];
    assert.equal(memory!.plannedPeakBytes, 64 * 2 ** 20);
    assert.equal(memory!.bookedPeakBytes, null);
    assert.equal(memory!.bookedByRole, null);
    assert.equal(memory!.timeline[0].bytes.activations, 64 * 2 ** 20);
    assert.deepEqual(heldOut, []);
    assert.match(command, /^deno task plan --model fake-throws/);
    const { out: listed } = await run("bench", suite, "--dry-run");
    assert.match(listed, /64\.0 MiB {2}planned only\n2 cells, 0 to run/);
  });
});

Deno.test("a suite that only plans runs where there is no adapter; one that trains is refused there", async () => {
  const failing = {
    ...fakeServices(() => {}, () => {}),
    measureScript: new URL("data:application/typescript,Deno.exit(9)"),
  };
  const plan = `${HEAD}phases: [{ name: sizes, kind: plan, cells: [{ label: one }] }]\n`;
  await withSuite(plan, async ({ suite, out }) => {
    assert.equal(await main(["bench", suite, "--out", out], failing), 0);
    const { run: record, cells } = await records(out);
    assert.equal(record.environment.adapter, "none: planned only");
    assert.deepEqual(cells.map(({ kind, status }) => [kind, status]), [["planned", "ok"]]);
  });
  const train = `${HEAD}phases: [{ name: sizes, kind: matrix, cells: [{ label: one }] }]\n`;
  await withSuite(train, async ({ suite, out }) => {
    assert.equal(await main(["bench", suite, "--out", out], failing), 2);
    await assert.rejects(() => Deno.stat(join(out, "run.json")), Deno.errors.NotFound);
  });
});

Deno.test("pruned cells are planned once, with the rule as their reason, and do not run", () => {
  const yaml = `${HEAD}phases:
  - name: factorial
    kind: matrix
    seeds: [1, 2]
    repeats: 2
    axes: { methods: [[], [checkpoint]], optimizer: [adamw, sgd] }
    prune: [{ where: { methods: [checkpoint], optimizer: sgd }, because: nobody asked }]
`;
  return withSuite(yaml, async ({ suite, out }) => {
    const { code, err } = await run("bench", suite, "--out", out);
    assert.equal(code, 0, err);
    const { cells } = await records(out);
    assert.equal(cells.length, 3 * 4 + 1);
    const [pruned, ...others] = cells.filter(({ status }) => status === "not-run");
    assert.deepEqual(others, []);
    assert.equal(pruned.reason, "pruned: nobody asked");
    assert.equal(pruned.memory!.plannedPeakBytes, 1.5 * 2 ** 20);
    assert.equal(pruned.memory!.bookedPeakBytes, null);
  });
});

Deno.test("a phase that reuses takes the record of an earlier cell with the same configuration, and says so", () => {
  const yaml = `${HEAD}phases:
  - { name: single, kind: matrix, seeds: [1], cells: [{ label: baseline }, { label: lean, optimizer: sgd }] }
  - { name: again, kind: matrix, seeds: [1, 2], reuse: true, cells: [{ label: first rung }] }
  - { name: fresh, kind: matrix, seeds: [1], cells: [{ label: baseline }] }
  - { name: third, kind: matrix, seeds: [1], reuse: true, cells: [{ label: third }] }
`;
  return withSuite(yaml, async ({ suite, out }) => {
    const { out: listed } = await run("bench", suite, "--dry-run");
    assert.match(listed, /again: first rung, seed 1 .*same run as an earlier cell/);
    assert.match(listed, /6 cells, 4 to run/);
    const { code, err } = await run("bench", suite, "--out", out);
    assert.equal(code, 0, err);
    const { cells } = await records(out);
    const [baseline, , reused, other, fresh, third] = cells;
    assert.deepEqual(cells.map(({ sameRunAs }) => sameRunAs), [
      null,
      null,
      baseline.id,
      null,
      null,
      baseline.id,
    ]);
    assert.deepEqual([reused.phase, reused.label], ["again", "first rung"]);
    assert.notEqual(reused.id, baseline.id);
    assert.deepEqual(reused.samples, baseline.samples);
    assert.equal(other.config.seed, 2);
    assert.equal(fresh.sameRunAs, null);
    assert.equal(third.label, "third");
  });
});

const LIBRARY = `title: library
defaults: { model: fake, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 512, effectiveBatchSize: 2 }
quick: { phases: { base: { seeds: [1] } } }
phases:
  - { name: base, kind: matrix, seeds: [1, 2], cells: [{ label: base }] }
  - { name: after, kind: matrix, seeds: [1], defaults: { startFrom: { phase: base, label: base } }, cells: [{ label: after }] }
  - { name: unused, kind: matrix, cells: [{ label: unused }] }
`;

Deno.test("a suite takes phases of another, with that one's settings and its own changes by name", () =>
  withSuite(
    `title: importer
defaults: { model: fake-nan, data: words, sequenceLength: 32, steps: 4 }
tiers: { software: { phases: { after: { defaults: { tokens: 1024 } } } } }
phases:
  - { name: own, kind: matrix, cells: [{ label: own, model: fake }] }
phasesFrom:
  - { suite: library.yaml, phases: [base, after] }
`,
    async ({ suite, out, folder }) => {
      const library = join(folder, "library.yaml");
      await Deno.writeTextFile(library, LIBRARY);
      const { code, err } = await run("bench", suite, "--out", out);
      assert.equal(code, 0, err);
      const { run: record, cells } = await records(out);
      assert.deepEqual(
        cells.map(({ phase, config }) => `${phase} ${config.model} ${config.sequenceLength} ${config.steps}`),
        [
          "own fake 32 4",
          "base fake 16 16",
          "base fake 16 16",
          "after fake 16 32",
        ],
      );
      assert.deepEqual(record.phases.map(({ name }) => name), ["own", "base", "after"]);
      // The other file counts as part of the suite: a run does not go on with another one.
      const quick = await run("bench", suite, "--quick", "--dry-run");
      assert.match(quick.out, /3 cells, 3 to run/);
      await Deno.writeTextFile(library, LIBRARY.replace("tokens: 512", "tokens: 1024"));
      const changed = await run("bench", suite, "--out", out, "--resume");
      assert.equal(changed.code, 2);
      assert.match(changed.err, /holds a run of suite with hash/);
    },
  ));

Deno.test("what cannot be taken from another suite is named with its place", async () => {
  const cases: [string, RegExp][] = [
    ["[{ suite: nothing.yaml }]", /suite\.yaml:5:23: phasesFrom\[0\]\.suite: there is no .*nothing\.yaml/],
    ["[{ suite: suite.yaml }]", /takes phases from itself/],
    [
      "[{ suite: library.yaml, phases: [bse] }]",
      /5:46: phasesFrom\[0\]\.phases\[0\]: library\.yaml has no phase bse, expected base, after, unused; did you mean base\?/,
    ],
    ["[{ suite: library.yaml }]", /phase base is there a second time/],
    [
      "[{ suite: library.yaml, phases: [after] }]",
      /phasesFrom\[0\]: phase after: Cannot start from cell base of phase base: it trains fake-slow, this cell fake/,
    ],
    [
      "[{ suite: circle.yaml }]",
      /circle\.yaml:4:\d+: phasesFrom\[0\]\.suite: suite\.yaml takes phases from itself/,
    ],
    ["[{ suite: broken.yaml }]", /broken\.yaml:1:1: tilte: unknown key/],
  ];
  for (const [phasesFrom, message] of cases) {
    const own = "title: t\ndefaults: { model: fake-slow, data: words }\nphases:\n" +
      `  - { name: base, kind: matrix, seeds: [1], cells: [{ label: base }] }\nphasesFrom: ${phasesFrom}\n`;
    await withSuite(own, async ({ suite, folder }) => {
      await Deno.writeTextFile(join(folder, "library.yaml"), LIBRARY);
      await Deno.writeTextFile(
        join(folder, "circle.yaml"),
        "title: c\ndefaults: { model: fake, data: words }\nphases: [{ name: c, kind: matrix }]\nphasesFrom: [{ suite: suite.yaml }]\n",
      );
      await Deno.writeTextFile(join(folder, "broken.yaml"), "tilte: c\nphases: []\n");
      const { code, err } = await run("validate", suite);
      assert.equal(code, 2, phasesFrom);
      assert.match(err, message);
    });
  }
});

Deno.test("a tier can be quick unless asked for the whole; a resumed run keeps its size", () => {
  const yaml = `${HEAD}quick: { defaults: { tokens: 128 } }
tiers: { software: { quickByDefault: true }, gpu-small: {} }
phases: [{ name: a, kind: matrix, cells: [{ label: a }] }]
`;
  return withSuite(yaml, async ({ suite, out, folder }) => {
    const steps = async (folder: string) => (await records(folder)).cells[0].config.steps;
    const plain = await run("bench", suite, "--out", out);
    assert.equal(plain.code, 0, plain.err);
    assert.match(
      plain.err.replaceAll(/\s+/g, " "),
      /Quick protocol, as the tier software runs suite unless .*--full/,
    );
    assert.match(plain.err, /the whole one: deno task bench .* --full/);
    assert.equal(await steps(out), 2);
    assert.equal((await records(out)).run.quick, true);
    const full = join(folder, "full");
    const whole = await run("bench", suite, "--out", full, "--full");
    assert.equal(whole.code, 0);
    assert.doesNotMatch(whole.err, /Quick protocol/);
    assert.equal(await steps(full), 8);
    assert.equal(
      (await run("bench", suite, "--out", full, "--resume")).code,
      0,
      "its own size, not the tier's",
    );
    assert.equal((await run("bench", suite, "--out", out, "--resume", "--full")).code, 2);
    assert.equal((await run("bench", suite, "--quick", "--full")).code, 2);
    const gpu = await run("bench", suite, "--tier", "gpu-small", "--dry-run");
    assert.doesNotMatch(gpu.err, /Quick protocol/);
  });
});
