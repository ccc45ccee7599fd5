// Measuring processes that are killed from outside: what is recorded, what rests on it, and what runs again.
// Tests that kill by the list are all here: its variable is the process's, which runs many files at once.
import assert from "node:assert/strict";
import { join } from "node:path";
import type { CellRecord } from "../../../results/record.ts";
import { expandPhase } from "../../../suites/matrix.ts";
import { outcomeOf } from "../../../suites/measure_cell.ts";
import { type Ended, records, run, sweep, withSuite } from "./command_line.ts";
import { KILL_LIST } from "./fake_engine.ts";

/** Runs bench while one process after the other is killed, at the steps given. */
async function runWithKills(folder: string, steps: readonly number[], args: string[]): Promise<Ended> {
  const list = join(folder, "kills");
  await Deno.mkdir(list, { recursive: true });
  for (const [i, step] of steps.entries()) {
    await Deno.writeTextFile(join(list, `${i}`.padStart(3, "0")), `${step}`);
  }
  Deno.env.set(KILL_LIST, list);
  try {
    return await run("bench", ...args);
  } finally {
    Deno.env.delete(KILL_LIST);
    assert.deepEqual([...Deno.readDirSync(list)], [], "all kills have happened");
  }
}

const statuses = (cells: readonly CellRecord[]) => cells.map(({ status }) => status);

/** What two runs of a cell must share. */
const trained = ({ id, label, samples, heldOut }: CellRecord) => ({
  id,
  label,
  losses: samples?.loss,
  heldOut,
});

Deno.test("20 kills: no oom, nothing pruned, no phase blocked, and one --resume ends as if there had been none", async () => {
  const yaml = sweep({
    model: "fake-killed-by-list",
    sizes: [1, 2, 4, 8],
    seeds: [1, 2, 3, 4, 5],
    changes: `  - name: single
    kind: matrix
    seeds: [1]
    defaults: { effectiveBatchSize: chosen }
    cells: [{ label: baseline }, { label: checkpointing, methods: [checkpoint] }]
`,
  });
  await withSuite(yaml, async ({ suite, out, folder }) => {
    const whole = join(folder, "whole");
    assert.equal((await run("bench", suite, "--out", whole)).code, 0);
    const undisturbed = await records(whole);

    const steps = Array.from({ length: 20 }, (_, i) => i % 4); // batch 8 has eight steps
    const first = await runWithKills(folder, steps, [suite, "--out", out]);
    assert.equal(first.code, 1, first.err);
    const killed = await records(out);
    assert.deepEqual(new Set(statuses(killed.cells)), new Set(["killed"]));
    assert.equal(killed.cells.length, 20);
    assert.deepEqual(killed.run.decisions, [], "nothing is decided by cells that were killed");
    const said = first.err.replaceAll(/\s+/g, " ");
    assert.match(said, /Phase single needs the batch size .*20 cells .*were killed.*--resume/);
    assert.match(said, new RegExp(`To go on: deno task bench ${suite} --out ${out} --resume`));

    const second = await run("bench", suite, "--out", out, "--resume");
    assert.equal(second.code, 0, second.err);
    const resumed = await records(out);
    assert.notEqual(resumed.run.finishedAt, null);
    assert.deepEqual(resumed.cells.map(trained), undisturbed.cells.map(trained));
    assert.deepEqual(resumed.run.cells, undisturbed.run.cells);
    assert.deepEqual(resumed.run.decisions[0].value, undisturbed.run.decisions[0].value);
  });
});

Deno.test("a kill of a small batch prunes no larger one, and its sweep is decided by --resume", () =>
  withSuite(
    sweep({ model: "fake-killed-by-list", sizes: [1, 2, 4], seeds: [1] }),
    async ({ suite, out, folder }) => {
      const first = await runWithKills(folder, [3], [suite, "--out", out]);
      assert.equal(first.code, 1, first.err);
      const { run: record, cells } = await records(out);
      assert.deepEqual(statuses(cells), ["killed", "ok", "ok"]);
      assert.equal(record.finishedAt, null);
      assert.deepEqual(record.decisions, []);
      assert.match(first.err, /1 killed/);
      assert.match(first.err.replaceAll(/\s+/g, " "), /1 cell was killed.*--resume runs it again/);
      const listed = await run("bench", suite, "--out", out, "--resume", "--dry-run");
      assert.match(listed.out, /3 cells, 1 to run/);
      const second = await run("bench", suite, "--out", out, "--resume");
      assert.equal(second.code, 0, second.err);
      const resumed = await records(out);
      assert.deepEqual(statuses(resumed.cells), ["ok", "ok", "ok"]);
      assert.equal(resumed.run.decisions.length, 1);
      assert.deepEqual(resumed.cells.slice(1), cells.slice(1), "the others are not run again");
    },
  ));

Deno.test("a rate sweep decides for the optimizers none of whose cells were killed", () => {
  const yaml = `title: rates
defaults: { model: fake-killed-by-list, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 512, effectiveBatchSize: 4 }
phases:
  - name: rates
    kind: rate-sweep
    cells: [{ label: SGD, optimizer: sgd }, { label: AdamW }]
    axes: { learningRate: [0.001, 0.01, 0.1] }
  - { name: one, kind: matrix, cells: [{ label: one, learningRate: tuned }] }
  - { name: other, kind: matrix, cells: [{ label: other, optimizer: sgd, learningRate: tuned }] }
`;
  return withSuite(yaml, async ({ suite, out, folder }) => {
    const first = await runWithKills(folder, [1], [suite, "--out", out]);
    assert.equal(first.code, 1, first.err);
    const { run: record, cells } = await records(out);
    assert.deepEqual(record.decisions.map(({ name }) => name), ["learningRate/adamw"]);
    assert.equal(cells.at(-1)!.label, "one");
    assert.match(
      first.err.replaceAll(/\s+/g, " "),
      /Phase other needs the learning rate of sgd .*1 cell .*was killed.*--resume/,
    );
    const second = await run("bench", suite, "--out", out, "--resume");
    assert.equal(second.code, 0, second.err);
    const resumed = await records(out);
    assert.deepEqual(resumed.run.decisions.map(({ name }) => name), [
      "learningRate/sgd",
      "learningRate/adamw",
    ]);
    assert.equal(resumed.cells.at(-1)!.config.learningRate, 0.1);
  });
});

Deno.test("cells that start from one that was killed wait for it, and run with --resume", () => {
  const yaml = `title: a chain
defaults: { model: fake-killed-by-list, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 512, effectiveBatchSize: 2 }
phases:
  - { name: base, kind: matrix, cells: [{ label: base }] }
  - { name: special, kind: matrix, defaults: { startFrom: { phase: base, label: base } }, cells: [{ label: special }] }
  - { name: tuned, kind: matrix, defaults: { startFrom: { phase: special, label: special } }, cells: [{ label: tuned }] }
`;
  return withSuite(yaml, async ({ suite, out, folder }) => {
    const whole = join(folder, "whole");
    assert.equal((await run("bench", suite, "--out", whole)).code, 0);
    const first = await runWithKills(folder, [5], [suite, "--out", out]);
    assert.equal(first.code, 1, first.err);
    const { run: record, cells } = await records(out);
    assert.deepEqual(statuses(cells), ["killed", "not-run", "not-run"]);
    assert.match(cells[1].reason!, /which it starts from, ended as killed/);
    assert.equal(record.finishedAt, null);
    const listed = await run("bench", suite, "--out", out, "--resume", "--dry-run");
    assert.match(listed.out, /3 cells, 3 to run/);
    const second = await run("bench", suite, "--out", out, "--resume");
    assert.equal(second.code, 0, second.err);
    assert.deepEqual((await records(out)).cells.map(trained), (await records(whole)).cells.map(trained));
  });
});

Deno.test("killed cells of equal memory: the search waits for --resume, what was judged stays, nothing is tried twice", () => {
  const yaml = `title: equal memory
defaults: { model: fake-killed-by-list, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 2048, effectiveBatchSize: 8 }
phases:
  - { name: equal-memory, kind: equal-memory, seeds: [11, 12], memoryRatios: [1, 2] }
  - { name: after, kind: matrix, cells: [{ label: after, seed: 5 }] }
`;
  return withSuite(yaml, async ({ suite, out, folder }) => {
    const first = await runWithKills(folder, [3], [suite, "--out", out]);
    assert.equal(first.code, 1, first.err);
    const killed = await records(out);
    const [search] = killed.cells.filter(({ status }) => status === "killed");
    assert.equal(search.role, "search");
    assert.deepEqual(killed.run.decisions, []);
    assert.equal(killed.run.finishedAt, null);
    assert.equal(killed.cells.at(-1)!.phase, "after", "later phases do not wait");
    assert.match(
      first.err.replaceAll(/\s+/g, " "),
      /Phase equal-memory needs the times of its search: 1 cell was killed: run again with --resume/,
    );
    // The first to come to step 10 is a judged one: cells of the search have five.
    const second = await runWithKills(folder, [10], [suite, "--out", out, "--resume"]);
    assert.equal(second.code, 1, second.err);
    const between = await records(out);
    assert.equal(between.run.decisions.length, 2);
    const cut = between.cells.filter(({ status }) => status === "killed");
    assert.deepEqual(cut.map(({ role, config }) => [role, config.seed]), [["judged", 11]]);
    const listed = await run("bench", suite, "--out", out, "--resume", "--dry-run");
    assert.match(listed.out, new RegExp(`${between.run.cells.length} cells, 1 to run`));
    const third = await run("bench", suite, "--out", out, "--resume");
    assert.equal(third.code, 0, third.err);
    const whole = await records(out);
    assert.notEqual(whole.run.finishedAt, null);
    assert.deepEqual(whole.run.decisions, between.run.decisions);
    const stays = (cells: readonly CellRecord[]) => cells.filter(({ id }) => id !== cut[0].id);
    assert.deepEqual(stays(whole.cells), stays(between.cells));
  });
});

Deno.test("an adaptive phase with killed cells looks with --resume, and goes on with the rounds that it added", () => {
  const yaml = `title: adaptive
defaults: { model: fake-uneven-killed-by-list, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 512, effectiveBatchSize: 2 }
phases:
  - name: methods
    kind: matrix
    rounds: adaptive
    seeds: [1, 2]
    cells: [{ label: baseline }, { label: checkpoint, methods: [checkpoint] }]
  - { name: after, kind: matrix, cells: [{ label: after }] }
`;
  return withSuite(yaml, async ({ suite, out, folder }) => {
    const whole = join(folder, "whole");
    assert.equal((await run("bench", suite, "--out", whole)).code, 0);
    const undisturbed = await records(whole);
    assert.equal(undisturbed.cells.length, 4 + 8 + 1);
    const first = await runWithKills(folder, [5], [suite, "--out", out]);
    assert.equal(first.code, 1, first.err);
    const killed = await records(out);
    assert.deepEqual([killed.run.decisions, killed.run.finishedAt, killed.cells.length], [[], null, 5]);
    assert.equal(killed.cells.at(-1)!.phase, "after", "later phases do not wait");
    // The killed one ends well; then two of the rounds that were added die.
    const again = await run("bench", suite, "--out", out, "--resume", "--filter", "phase=methods,repeat=0");
    assert.equal(again.code, 0, again.err);
    const second = await runWithKills(folder, [6, 7], [suite, "--out", out, "--resume"]);
    assert.equal(second.code, 1, second.err);
    assert.equal(statuses((await records(out)).cells).filter((status) => status === "killed").length, 2);
    const third = await run("bench", suite, "--out", out, "--resume");
    assert.equal(third.code, 0, third.err);
    const resumed = await records(out);
    assert.deepEqual(resumed.cells.map(trained), undisturbed.cells.map(trained));
    assert.deepEqual(resumed.run.decisions, undisturbed.run.decisions);
    assert.notEqual(resumed.run.finishedAt, null);
  });
});

Deno.test("the record of a cell that was killed is not taken for another's", () => {
  const yaml = `title: twins
defaults: { model: fake-killed-by-list, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 512, effectiveBatchSize: 2 }
phases:
  - { name: first, kind: matrix, cells: [{ label: first }] }
  - { name: again, kind: matrix, reuse: true, cells: [{ label: again }] }
`;
  return withSuite(yaml, async ({ suite, out, folder }) => {
    await runWithKills(folder, [5], [suite, "--out", out]);
    const { cells } = await records(out);
    assert.deepEqual(statuses(cells), ["killed", "ok"]);
    assert.equal(cells[1].sameRunAs, null, "it ran itself");
    assert.equal((await run("bench", suite, "--out", out, "--resume")).code, 0);
    const resumed = await records(out);
    assert.deepEqual(statuses(resumed.cells), ["ok", "ok"]);
    assert.deepEqual(resumed.cells[1], cells[1]);
  });
});

Deno.test("SIGKILL is killed, and oom where the kernel or the cgroup says so, with what it said", () => {
  const [cell] = expandPhase(
    {
      name: "a",
      kind: "matrix",
      repeats: 1,
      defaults: { model: "gpt2-nano", data: "moby-dick", steps: 8 },
      timing: { warmupSteps: 0 },
      timeoutSeconds: 60,
      divergenceFactor: 2,
      path: ["phases", 0],
    } as unknown as Parameters<typeof expandPhase>[0],
  );
  const heard = {
    steps: [],
    heldOut: [],
    heldOutElsewhere: [],
    emptyBytes: null,
    compiledBytes: null,
    result: null,
    failure: null,
  };
  const end = {
    code: 137,
    signal: "SIGKILL",
    timedOut: false,
    aborted: false,
    errorTail: "",
    oomEvidence: null,
  };
  const killed = outcomeOf(cell, heard, end);
  assert.equal(killed.status, "killed");
  assert.match(killed.reason!, /killed by signal 9 at step 0 of 8, and nothing says that memory ran out/);
  const oomEvidence = "the oom_kill counter of its cgroup rose from 0 to 1 while it ran";
  assert.deepEqual(outcomeOf(cell, heard, { ...end, oomEvidence }), {
    status: "oom",
    reason: `the process was killed by signal 9 at step 0 of 8: ${oomEvidence}`,
  });
  // A shell between the two tells the signal by the exit code alone.
  assert.equal(outcomeOf(cell, heard, { ...end, signal: null }).status, "killed");
  assert.equal(outcomeOf(cell, heard, { ...end, signal: null, code: 138 }).status, "error");
  for (const signal of ["SIGSEGV", "SIGBUS", "SIGABRT"]) {
    const crashed = outcomeOf(cell, heard, { ...end, signal, code: 139 });
    assert.equal(crashed.status, "error");
    assert.match(crashed.reason!, new RegExp(`was killed by ${signal} at step 0 of 8`));
  }
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) {
    assert.equal(outcomeOf(cell, heard, { ...end, signal }).status, "killed");
  }
  const heap = outcomeOf(cell, heard, {
    ...end,
    signal: "SIGTRAP",
    code: 133,
    errorTail: "JavaScript heap out of memory",
  });
  assert.equal(heap.status, "oom");
});

/** Makes records of a run say that their cells ended in another way. */
async function rewrite(
  out: string,
  cells: readonly CellRecord[],
  changes: Partial<CellRecord>,
): Promise<void> {
  for (const cell of cells) {
    await Deno.writeTextFile(join(out, "cells", `${cell.id}.json`), JSON.stringify({ ...cell, ...changes }));
  }
}

Deno.test("--resume runs killed cells again, --retry those of the statuses named, and nothing else", () =>
  withSuite(sweep({ sizes: [1, 2, 4, 8, 16, 32], seeds: [1] }), async ({ suite, out }) => {
    assert.equal((await run("bench", suite, "--out", out)).code, 0);
    const { cells } = await records(out);
    const [error, timeout, lost, diverged, killed] = cells;
    await rewrite(out, [error], { status: "error", reason: "once" });
    await rewrite(out, [timeout], { status: "timeout", reason: "once" });
    await rewrite(out, [lost], { status: "device-lost", reason: "once" });
    await rewrite(out, [diverged], { status: "diverged", reason: "once" });
    await rewrite(out, [killed], { status: "killed", reason: "once" });
    const now = async () => statuses((await records(out)).cells);
    const plain = await run("bench", suite, "--out", out, "--resume");
    assert.equal(plain.code, 1, "a cell ended in an error");
    assert.deepEqual(await now(), ["error", "timeout", "device-lost", "diverged", "ok", "ok"]);
    const listed = await run(
      "bench",
      suite,
      "--out",
      out,
      "--resume",
      "--retry",
      "error,timeout",
      "--dry-run",
    );
    assert.match(listed.out, /6 cells, 2 to run/);
    const two = await run("bench", suite, "--out", out, "--resume", "--retry", "error,timeout");
    assert.equal(two.code, 0, two.err);
    assert.deepEqual(await now(), ["ok", "ok", "device-lost", "diverged", "ok", "ok"]);
    // --retry alone means to resume.
    const third = await run("bench", suite, "--out", out, "--retry", "device-lost");
    assert.equal(third.code, 0, third.err);
    assert.deepEqual(await now(), ["ok", "ok", "ok", "diverged", "ok", "ok"]);
    for (const wrong of ["ok", "not-run", "errors", ""]) {
      const refused = await run("bench", suite, "--out", out, "--resume", "--retry", wrong);
      assert.equal(refused.code, 2, wrong);
      assert.match(
        refused.err,
        /Cannot use --retry .*: expected statuses of oom, diverged, timeout, device-lost, killed, error/,
      );
    }
  }));

Deno.test("what a retried cell kept from running, or lent its record to, follows it", () => {
  const yaml = `${
    sweep({ sizes: [1, 2, 4], seeds: [1] })
  }  - { name: again, kind: matrix, seeds: [1], reuse: true, axes: { effectiveBatchSize: [1, 2, 4] } }
`;
  return withSuite(yaml, async ({ suite, out }) => {
    assert.equal((await run("bench", suite, "--out", out)).code, 0);
    const { cells } = await records(out);
    // As it used to be recorded after one kill.
    const skipped = (cell: CellRecord) => ({
      status: "not-run" as const,
      reason: `the smaller micro-batch 1 of the same configuration ran out of memory in cell ${cell.id}`,
      samples: null,
      heldOut: [],
    });
    const [one, two, four, ...again] = cells;
    await rewrite(out, [one], { status: "oom", reason: "the system was out of memory" });
    await rewrite(out, [again[0]], {
      status: "oom",
      reason: "the system was out of memory",
      sameRunAs: one.id,
    });
    await rewrite(out, [two, four, again[1], again[2]], { ...skipped(one), sameRunAs: null });
    assert.equal((await run("bench", suite, "--out", out, "--resume")).code, 0);
    assert.deepEqual(statuses((await records(out)).cells), [
      "oom",
      "not-run",
      "not-run",
      "oom",
      "not-run",
      "not-run",
    ]);
    const retried = await run("bench", suite, "--out", out, "--resume", "--retry", "oom");
    assert.equal(retried.code, 0, retried.err);
    const after = await records(out);
    assert.deepEqual(after.cells.map(trained), cells.map(trained));
    assert.deepEqual(after.cells.map(({ sameRunAs }) => sameRunAs), [
      null,
      null,
      null,
      one.id,
      two.id,
      four.id,
    ]);
  });
});

Deno.test("a record without a status does not count as finished", () =>
  withSuite(sweep({ sizes: [1, 2], seeds: [1] }), async ({ suite, out }) => {
    assert.equal((await run("bench", suite, "--out", out)).code, 0);
    const { cells } = await records(out);
    const { recordVersion, id } = cells[0];
    await Deno.writeTextFile(join(out, "cells", `${id}.json`), JSON.stringify({ recordVersion, id }));
    const { code, err } = await run("bench", suite, "--out", out, "--resume");
    assert.equal(code, 0, err);
    const resumed = await records(out);
    assert.deepEqual(resumed.cells.map(trained), cells.map(trained));
    assert.notEqual(resumed.run.finishedAt, null);
  }));
