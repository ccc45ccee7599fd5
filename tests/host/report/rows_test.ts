import assert from "node:assert/strict";
import type { CellRecord } from "../../../results/record.ts";
import { ladderRows } from "../../../report/rows/ladder.ts";
import { type Pareto, paretoOf } from "../../../report/rows/pareto.ts";
import { analyse } from "../../../report/rows/analysis.ts";
import { configurationsOf } from "../../../report/rows/configuration.ts";
import { heldOutAt } from "../../../results/held_out_at.ts";
import { equalTokens, heldOutLoss } from "../../../report/rows/held_out.ts";
import { timedStepMs, timedTokensPerSecond } from "../../../results/rates.ts";
import { FULL_STACKS, GUIDE, guideRatios, guideRowFor } from "../../../report/claims/guide.ts";
import { observedParts } from "../../../report/rows/memory.ts";
import { renderReport } from "../../../report/page/page.ts";
import { syntheticRun } from "./synthetic_run.ts";
import { asLoaded, loaded, SMALL } from "./support.ts";

const [cell] = syntheticRun(SMALL).cells;

function withCell(change: Partial<CellRecord>): CellRecord {
  return { ...structuredClone(cell), ...change };
}

Deno.test("timedStepMs() and timedTokensPerSecond() leave out warm-up and nothing else", () => {
  const samples = { ...cell.samples!, ms: [900, 500, 10, 20, 4000], tokens: [64, 64, 64, 64, 64] };
  const timed = withCell({ samples, warmupSteps: 2 });
  assert.deepEqual(timedStepMs(timed), [10, 20, 4000]);
  assert.deepEqual(timedTokensPerSecond(timed), [6400, 3200, 16]);
  assert.deepEqual(timedStepMs(withCell({ samples: null })), []);
  assert.deepEqual(timedStepMs(withCell({ samples, warmupSteps: 9 })), [], "fewer steps than warm-up");
});

Deno.test("a cell that ran beside others has no times and no observed bytes; its losses and booked bytes count", () => {
  const config = { ...cell.config, seed: 9 };
  const process = "another";
  const beside = withCell({ id: "b".repeat(12), config, process, concurrency: 2 });
  assert.deepEqual([timedStepMs(beside), timedTokensPerSecond(beside)], [[], []]);
  const [{ tokensPerSecond, stepMs, contextBytes, memory, seeds }] = configurationsOf([cell, beside]);
  for (const measured of [tokensPerSecond, stepMs, contextBytes]) {
    assert.deepEqual(measured!.byCell.map(({ id }) => id), [cell.id]);
  }
  assert.deepEqual(memory!.observedByCell.map(({ id }) => id), [cell.id]);
  assert.deepEqual(seeds, [0, 9]);
  const [alone] = configurationsOf([beside]);
  assert.equal(alone.memory!.bookedBytes, cell.memory!.bookedPeakBytes);
  assert.equal(alone.memory!.observed, null);
  assert.equal(heldOutLoss(alone, equalTokens([alone]))!.interval.n, 1);
  // At 1, null and where it is absent, as in old records, the cell ran alone.
  for (const concurrency of [1, null, undefined]) {
    const [{ stepMs, memory }] = configurationsOf([withCell({ concurrency })]);
    assert.ok(stepMs !== null && memory!.observed !== null, `${concurrency}`);
  }
});

Deno.test("configurationsOf() puts cells together that differ in seed and repeat alone", () => {
  const seeds = [withCell({}), withCell({ repeat: 1 }), withCell({ config: { ...cell.config, seed: 9 } })];
  const other = withCell({ config: { ...cell.config, learningRate: 2e-3 } });
  const configurations = configurationsOf([seeds[0], other, seeds[1], seeds[2]]);
  assert.deepEqual(configurations.map(({ cells }) => cells.length), [3, 1]);
  assert.deepEqual(configurations[0].seeds, [0, 9]);
});

Deno.test("configurationsOf() takes figures from cells that ran to their end alone", () => {
  const failed = withCell({ status: "oom", config: { ...cell.config, seed: 1 } });
  const [configuration] = configurationsOf([failed, cell]);
  assert.equal(configuration.ok.length, 1);
  assert.deepEqual(configuration.tokensPerSecond!.byCell.map(({ id }) => id), [cell.id]);
  const [none] = configurationsOf([failed]);
  assert.equal(none.tokensPerSecond, null);
  assert.equal(none.memory!.bookedBytes, null);
  assert.equal(none.memory!.plannedBytes, cell.memory!.plannedPeakBytes);
});

Deno.test("heldOutAt() reads the point, or the straight line between its neighbours", () => {
  const points = withCell({
    heldOut: [{ step: 8, tokens: 800, loss: 3 }, { step: 0, tokens: 0, loss: 6 }, {
      step: 4,
      tokens: 400,
      loss: 4,
    }],
  });
  assert.equal(heldOutAt(points, 400), 4);
  assert.equal(heldOutAt(points, 500), 3.75);
  assert.equal(heldOutAt(points, 800), 3);
  assert.equal(heldOutAt(points, 801), null, "beyond what was trained");
  assert.equal(
    heldOutAt(withCell({ heldOut: [{ step: 8, tokens: 800, loss: 3 }] }), 500),
    null,
    "before the first",
  );
});

Deno.test("equalTokens() is the most that all have trained", () => {
  const short = withCell({
    id: "000000000001",
    label: "short",
    heldOut: [{ step: 1, tokens: 500, loss: 5 }],
  });
  const long = withCell({
    id: "000000000002",
    config: { ...cell.config, steps: 99 },
    heldOut: [{ step: 0, tokens: 0, loss: 6 }, { step: 9, tokens: 1000, loss: 4 }],
  });
  const configurations = configurationsOf([short, long]);
  assert.equal(equalTokens(configurations), 500);
  assert.equal(heldOutLoss(configurations[1], 500)!.interval.estimate, 5);
  assert.equal(equalTokens(configurationsOf([withCell({ heldOut: [] })])), null);
});

Deno.test("heldOutLoss() counts a seed once, however often it was repeated", () => {
  const [configuration] = configurationsOf([cell, withCell({ id: "000000000003", repeat: 1 })]);
  assert.equal(heldOutLoss(configuration, equalTokens([configuration]))!.values.length, 1);
});

Deno.test("analyse() finds the chosen batch by its label, and by its size where labels do not match", () => {
  const run = loaded(SMALL);
  assert.equal(analyse(run).sweep!.chosen!.batch, 8);
  run.run.decisions[0].chosen = "another name";
  run.run.decisions[0].value = 4;
  assert.equal(analyse(run).sweep!.chosen!.batch, 4);
});

Deno.test("paretoOf() draws its line through what nothing beats in the estimates, and all of that is on the front", () => {
  const { configurations, baseline } = analyse(loaded({ ...SMALL, batches: [4], ladder: true }));
  const { points, front, guide }: Pareto = paretoOf(configurations, { baseline, stacks: FULL_STACKS });
  for (const point of points) {
    const better = points.filter((other) =>
      other.bytes <= point.bytes && other.tokensPerSecond.estimate >= point.tokensPerSecond.estimate &&
      other !== point
    );
    const beaten = better.some((other) =>
      other.bytes < point.bytes || other.tokensPerSecond.estimate > point.tokensPerSecond.estimate
    );
    assert.equal(front.includes(point), !beaten, point.label);
  }
  const rates = front.map(({ tokensPerSecond }) => tokensPerSecond.estimate);
  assert.deepEqual(
    rates,
    rates.toSorted((a, b) => a - b),
    "more memory buys more throughput along the front",
  );
  const base = points.find(({ isBaseline }) => isBaseline)!;
  assert.equal(base.label, "baseline");
  assert.equal((base.bytes / guide[0].bytes).toFixed(2), "3.08");
  assert.equal((guide[0].tokensPerSecond / base.tokensPerSecond.estimate).toFixed(2), "1.02");
});

Deno.test("guideRatios() gives the ratios printed in the guide's table", () => {
  const printed = GUIDE.map((row) => {
    const { memory, throughput } = guideRatios(row);
    return `${memory.toFixed(2)} ${throughput.toFixed(2)}`;
  });
  assert.deepEqual(printed, [
    "1.00 1.00",
    "1.72 0.87",
    "2.21 0.68",
    "1.07 2.10",
    "2.05 1.14",
    "1.22 0.90",
    "3.08 1.02",
    "1.14 1.03",
    "2.79 1.17",
  ]);
  assert.deepEqual(FULL_STACKS.map(({ memory }) => memory.toFixed(2)), ["3.08", "2.79"]);
});

Deno.test("guideRowFor() finds the same methods, and nothing for methods the guide did not run", () => {
  const config = {
    ...cell.config,
    gradientAccumulationSteps: 4,
    methods: ["checkpoint", "fp16"],
    optimizer: "adafactor",
  };
  assert.match(guideRowFor(config)!.label, /Adafactor$/);
  assert.equal(guideRowFor({ ...config, methods: ["checkpoint", "flash", "fp16"] }), null);
  assert.equal(guideRowFor({ ...config, optimizer: "sgd" }), null);
});

Deno.test("ladderRows() takes every ratio to the first rung", () => {
  const rows = ladderRows(
    analyse(loaded({ ...SMALL, batches: [4], ladder: true })).configurations,
    guideRowFor,
  );
  assert.deepEqual(rows.map(({ label }) => label), [
    "baseline",
    "batch 1 × 4",
    "+ checkpointing",
    "+ fp16",
    "+ Adafactor",
  ]);
  assert.equal(rows[0].memoryRatio, 1);
  assert.deepEqual(rows[0].throughputRatio, { low: 1, estimate: 1, high: 1 });
  const [first, last] = [rows[0], rows.at(-1)!].map(({ configuration }) =>
    configuration.memory!.bookedBytes!
  );
  assert.equal(rows.at(-1)!.memoryRatio, first / last);
  assert.ok(rows.every(({ guide }) => guide));
});

/** Parts of a cell that was observed so, in this order: peak, baseline, kernels, booked. */
function partsOf(bytes: (number | null | undefined)[], change: Partial<CellRecord> = {}) {
  const [observedPeakBytes, observedBaselineBytes, observedKernelBytes, bookedPeakBytes] = bytes;
  const memory = { observedPeakBytes, observedBaselineBytes, observedKernelBytes, bookedPeakBytes };
  const own = withCell({ memory: Object.assign(structuredClone(cell.memory!), memory), ...change });
  const parts = observedParts(configurationsOf([own])[0]);
  return parts && [parts.context, parts.kernels, parts.booked, parts.rest, parts.total];
}

Deno.test("observedParts() add up to what was observed, also where training uses compiling's memory again", () => {
  assert.deepEqual(partsOf([100, 500, 30, 60]), [500, 30, 60, 10, 600]);
  assert.deepEqual(partsOf([90, 500, 30, 60]), [500, 30, 60, 0, 590]);
  assert.deepEqual(partsOf([80, 500, 30, 60]), [500, 20, 60, 0, 580], "10 of the 30 were used again");
  assert.deepEqual(partsOf([50, 500, 30, 60]), [500, 0, 60, 0, 560], "a peak that nobody saw whole");
});

Deno.test("observedParts() has none of records without a reading, nor of cells beside others", () => {
  for (const missing of [0, 1, 2, 3]) {
    assert.equal(partsOf([100, 500, 30, 60].map((bytes, i) => i === missing ? null : bytes)), null);
  }
  assert.equal(partsOf([100, 500, undefined, 60]), null);
  assert.equal(partsOf([100, 500, 30, 60], { concurrency: 2 }), null);
});

Deno.test("the page splits what was observed, and leaves the chart out where records are older", () => {
  const page = (change: (one: CellRecord) => void) => {
    const run = syntheticRun({ ...SMALL, ladder: true });
    run.cells.forEach(change);
    return renderReport([{ loaded: asLoaded(run), rawBase: ".." }]);
  };
  assert.match(page(() => {}), /id="observed-parts"[^]*Of the [\d.]+.MiB observed at baseline, /);
  assert.doesNotMatch(page(({ memory }) => delete memory!.observedKernelBytes), /observed-parts/);
});
