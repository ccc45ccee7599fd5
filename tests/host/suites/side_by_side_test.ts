import assert from "node:assert/strict";
import { join } from "node:path";
import { inLanes, lanesOf, shareOfTime, SideBySide } from "../../../suites/side_by_side.ts";
import type { CellRecord } from "../../../results/record.ts";
import { childrenOf, records, run, start, withSuite } from "./command_line.ts";

const tick = () => new Promise((resolve) => setTimeout(resolve));

Deno.test("cells run at once on software adapters alone, and where their phase says so", () => {
  const lanes = (sideBySide: boolean, software: boolean, cpuCount = 4) =>
    lanesOf({ sideBySide }, { software, cpuCount });
  assert.deepEqual([lanes(true, true), lanes(true, false), lanes(false, true), lanes(true, true, 1)], [
    4,
    1,
    1,
    1,
  ]);
  assert.equal(lanesOf({}, { software: true, cpuCount: 4 }), 1);
  assert.equal(shareOfTime(1), 1);
  assert.equal(shareOfTime(2), 0.7, "between what was measured of two: 1.28 ÷ 2 and 1.45 ÷ 2");
});

Deno.test("SideBySide lets in what fits the budget together, at its edge, and one that does not fit alone", async () => {
  const places = new SideBySide(100);
  const [first, second] = [await places.enter(60), await places.enter(40)];
  let third: (() => number) | null = null;
  const waiting = places.enter(1).then((leave) => third = leave);
  await tick();
  assert.equal(third, null, "100 are used");
  assert.equal(first(), 2);
  await waiting;
  assert.equal(second(), 2);
  assert.equal(third!(), 2);
  const alone = await places.enter(1000);
  assert.equal(alone(), 1);
});

Deno.test("inLanes() begins items in their order, so many at once, and none after one that stops it", async () => {
  const begun: number[] = [];
  let [running, most] = [0, 0];
  const work = (stopAt: number) => async (item: number) => {
    begun.push(item);
    most = Math.max(most, ++running);
    await tick();
    running--;
    return item !== stopAt;
  };
  assert.equal(await inLanes([1, 2, 3, 4, 5], 2, work(9)), true);
  assert.deepEqual([begun, most], [[1, 2, 3, 4, 5], 2]);
  begun.length = 0;
  assert.equal(await inLanes([1, 2, 3, 4, 5], 2, work(2)), false);
  assert.ok(begun.length < 5 && !begun.includes(5), begun.join());
  assert.equal(await inLanes([], 2, work(1)), true);
  begun.length = 0;
  const failing = (item: number) => item === 1 ? Promise.reject(new Error("1 fails")) : work(9)(item);
  await assert.rejects(inLanes([1, 2, 3, 4, 5], 2, failing), /1 fails/);
  await tick();
  await tick();
  assert.deepEqual(begun, [2], "none is begun after one that throws");
});

const SUITE = (sideBySide: boolean) =>
  `title: at once
defaults: { model: fake-slow, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 512, effectiveBatchSize: 2 }
phases:
  - name: quality
    kind: matrix
    ${sideBySide ? "sideBySide: true" : "repeats: 1"}
    seeds: [1, 2, 3]
    cells: [{ label: baseline }, { label: fp16, methods: [fp16] }]
`;

Deno.test("cells side by side have the losses that they have alone, and say how many ran at once", () =>
  withSuite(SUITE(true), async ({ suite, out, folder }) => {
    const { code, err } = await run("bench", suite, "--out", out);
    assert.equal(code, 0, err);
    const { cells, run: record } = await records(out);
    const most = Math.min(navigator.hardwareConcurrency, 6);
    assert.ok(most === 1 || cells.some(({ concurrency }) => (concurrency ?? 1) > 1), "two ran at once");
    for (const { concurrency = 1 } of cells) assert.ok(concurrency! >= 1 && concurrency! <= most);
    assert.notEqual(record.finishedAt, null);
    const alone = join(folder, "alone.yaml");
    await Deno.writeTextFile(alone, SUITE(false));
    assert.equal((await run("bench", alone, "--out", join(folder, "alone"))).code, 0);
    const others = await records(join(folder, "alone"));
    assert.ok(others.cells.every(({ concurrency }) => (concurrency ?? 1) === 1));
    const losses = (list: typeof cells) =>
      list.map(({ id, heldOut, samples }) => [id, heldOut, samples!.loss]);
    assert.deepEqual(losses(cells), losses(others.cells));
    const { out: listed } = await run("bench", alone, "--dry-run");
    assert.match(listed, /phase quality: 6 to run, about \d+ /);
  }));

Deno.test("kill -9 of one of the cells at once takes that cell, of the runner those that run; --resume does the rest", () =>
  withSuite(SUITE(true), async ({ suite, out, folder }) => {
    const alone = join(folder, "alone.yaml");
    await Deno.writeTextFile(alone, SUITE(false));
    assert.equal((await run("bench", alone, "--out", join(folder, "alone"))).code, 0);
    const undisturbed = (await records(join(folder, "alone"))).cells;
    const losses = ({ id, heldOut, samples }: CellRecord) => [id, heldOut, samples!.loss];

    const one = start(["bench", suite, "--out", out]);
    await until(async () => (await records(out)).run.cells.length > 0);
    await until(async () => (await childrenOf(one.pid)).length >= LANES);
    Deno.kill((await childrenOf(one.pid))[0], "SIGKILL");
    assert.equal((await one.output()).code, 1);
    const { cells, run: cut } = await records(out);
    assert.deepEqual(cells.map(({ status }) => status).sort(), ["killed", "ok", "ok", "ok", "ok", "ok"]);
    assert.equal(cut.finishedAt, null);
    const resumed = await run("bench", suite, "--out", out, "--resume");
    assert.equal(resumed.code, 0, resumed.err);
    assert.deepEqual((await records(out)).cells.map(losses), undisturbed.map(losses));

    const other = join(folder, "other");
    const runner = start(["bench", suite, "--out", other]);
    await until(async () => (await records(other)).cells.length > 0);
    runner.kill("SIGKILL");
    await runner.output();
    const before = (await records(other)).cells;
    assert.ok(before.length > 0 && before.length < 6, `${before.length} of 6 had ended`);
    assert.equal((await run("bench", suite, "--out", other, "--resume")).code, 0);
    const after = (await records(other)).cells;
    assert.deepEqual(after.map(losses), undisturbed.map(losses));
    for (const cell of before) {
      assert.deepEqual(after.find(({ id }) => id === cell.id), cell, "what had ended does not run again");
    }
  }));

/** Cells of this machine that run at once. */
const LANES = Math.min(navigator.hardwareConcurrency, 6);

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!await holds().catch(() => false)) await new Promise((resolve) => setTimeout(resolve, 20));
}
