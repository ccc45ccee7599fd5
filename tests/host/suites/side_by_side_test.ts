import assert from "node:assert/strict";
import { join } from "node:path";
import { inLanes, lanesOf, shareOfTime, SideBySide } from "../../../suites/side_by_side.ts";
import { records, run, withSuite } from "./command_line.ts";

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
  assert.ok(shareOfTime(2) > 0.5 && shareOfTime(2) < 1);
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
