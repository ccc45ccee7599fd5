// Whether the machine kept its speed from the first process of a configuration to the last.
import assert from "node:assert/strict";
import { join } from "node:path";
import { answerOf, answerText } from "../../../report/answer.ts";
import { renderReport } from "../../../report/page/page.ts";
import { analyse } from "../../../report/rows/analysis.ts";
import { drifts } from "../../../report/rows/steadiness.ts";
import type { CellRecord } from "../../../results/record.ts";
import { asLoaded, inFolder, parsePage } from "./support.ts";
import { type SyntheticRun, syntheticRun, writeSyntheticRun } from "./synthetic_run.ts";

/** Configurations of batch 1 and 4: of each process, in the order in which they began, what a step took. */
function runOf(steps: Record<number, number[]>): SyntheticRun {
  const run = syntheticRun({ batches: [1, 4], seeds: [0, 1, 2], tokens: 2048 });
  run.cells = run.cells.filter(({ config }) => config.seed < (steps[config.microBatchSize]?.length ?? 0));
  for (const cell of run.cells) {
    const { seed, microBatchSize } = cell.config;
    cell.startedAt = `2026-01-01T0${seed}:00:00.000Z`;
    cell.samples!.ms.fill(steps[microBatchSize][seed]);
  }
  run.run.cells = run.run.cells.filter(({ id }) => run.cells.some((cell) => cell.id === id));
  return run;
}

const found = ({ cells, run }: SyntheticRun) =>
  drifts(analyse(asLoaded({ run, cells }))).map(({ configuration, firstMs, lastMs, last }) => [
    configuration.config.microBatchSize,
    firstMs,
    lastMs,
    cells.find(({ id }) => id === last)!.config.seed,
  ]);

Deno.test("5 % between the first and the last process is steady, and more is not, slower or faster", () => {
  assert.deepEqual(found(runOf({ 1: [100, 105] })), []);
  assert.deepEqual(found(runOf({ 1: [100, 95] })), []);
  assert.deepEqual(found(runOf({ 1: [100, 105.001] })), [[1, 100, 105.001, 1]]);
  assert.deepEqual(found(runOf({ 1: [100, 94.999] })), [[1, 100, 94.999, 1]]);
});

Deno.test("the first and the last that began count, whatever stands between; the largest change comes first", () => {
  assert.deepEqual(found(runOf({ 1: [100, 200, 104], 4: [300] })), []);
  assert.deepEqual(found(runOf({ 1: [100, 100, 110], 4: [300, 300, 200] })), [
    [4, 300, 200, 2],
    [1, 100, 110, 2],
  ]);
  const resumed = runOf({ 1: [100, 110, 120] });
  resumed.cells.find(({ config }) => config.seed === 0)!.startedAt = "2026-01-02T00:00:00.000Z";
  assert.deepEqual(found(resumed), [[1, 110, 100, 0]], "killed, and run again at the end");
});

Deno.test("processes beside others, of other machines, and measurements taken over show no change of speed", () => {
  const changed = (change: (cell: CellRecord) => void) => {
    const run = runOf({ 1: [100, 200] });
    change(run.cells.find(({ config }) => config.seed === 1)!);
    return found(run);
  };
  assert.equal(changed(() => {}).length, 1);
  assert.deepEqual(changed((cell) => cell.concurrency = 2), []);
  assert.deepEqual(changed((cell) => cell.environment = { ...cell.environment, key: "f".repeat(16) }), []);
  assert.deepEqual(changed((cell) => cell.sameRunAs = "0123456789ab"), []);
});

Deno.test("the first screen names the configuration and the figure, in page, terminal and JSON", () =>
  inFolder(async (dir) => {
    const text = async (name: string, run: SyntheticRun) => {
      await writeSyntheticRun(join(dir, name), run);
      return (await answerText([join(dir, name)])).replace(/\s+/g, " ");
    };
    const caution = async (name: string) => (await answerOf([join(dir, name)])).runs[0].caution;
    const screen = (run: SyntheticRun) =>
      parsePage(renderReport([{ loaded: asLoaded(run), rawBase: ".." }])).text("section#verdict")[0];
    const sentence = new RegExp(
      "did not keep its speed: a step of batch 1 \\(phase batch-size\\) took 12 % longer in its last process than " +
        "in its first \\(112\\.0 and 100\\.0 ms\\), and 1 configuration more",
    );
    const drifted = runOf({ 1: [100, 112], 4: [300, 280] });
    assert.match(await text("drifted", drifted), sentence);
    assert.match(screen(drifted), sentence);
    assert.match(await caution("drifted") ?? "", sentence);
    const steady = runOf({ 1: [100, 105], 4: [300, 300] });
    assert.doesNotMatch(await text("steady", steady), /keep its speed/);
    assert.doesNotMatch(screen(steady), /keep its speed/);
    assert.equal(await caution("steady"), null);
  }));
