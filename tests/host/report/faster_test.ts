import assert from "node:assert/strict";
import { type Configuration, configurationsOf } from "../../../report/rows/configuration.ts";
import { fasterAmong, switchedCount } from "../../../report/rows/faster.ts";
import { paretoOf } from "../../../report/rows/pareto.ts";
import { ratioOf } from "../../../results/measured.ts";
import { syntheticRun } from "./synthetic_run.ts";

const [template] = syntheticRun({}).cells;

/** A configuration whose processes train at the given tokens a second. */
function trains(rates: number[], methods: typeof template.config.methods, bytes: number): Configuration {
  const cells = rates.map((rate, i) => {
    const cell = structuredClone(template);
    cell.id = `${methods.join()}-${bytes}-${rates[0]}-${i}`;
    cell.process = cell.id;
    cell.config = { ...cell.config, seed: i + 1, methods };
    cell.memory!.bookedPeakBytes = bytes;
    cell.samples!.ms = cell.samples!.tokens.map((tokens) => tokens / rate * 1000);
    return cell;
  });
  return configurationsOf(cells)[0];
}

const baseline = trains([100, 101, 99], [], 40);

/** The baseline's rates times a factor, seed by seed with a scatter of its own. */
const times = (factor: number) => [100 * factor * 1.01, 101 * factor * 0.99, 99 * factor];

/** The least factor whose interval lies above 1. */
function edge(): number {
  let [low, high] = [1, 2];
  while (high - low > 1e-9) {
    const middle = (low + high) / 2;
    const ratio = ratioOf(
      trains(times(middle), ["checkpointing"], 30).tokensPerSecond,
      baseline.tokensPerSecond,
    )!;
    if (ratio.low > 1) high = middle;
    else low = middle;
  }
  return high;
}

/** Names of the points on the front. */
const onFront = (configurations: Configuration[]) =>
  paretoOf(configurations, { baseline: null }).points.filter((point) => point.onFront).map(({ bytes }) =>
    bytes
  );

Deno.test("a point leaves the front where it is beaten just beyond the noise, and stays just inside", () => {
  const factor = edge();
  assert.ok(factor > 1.001 && factor < 1.1, `edge at ${factor}`);
  const beside = (by: number) => trains(times(factor * by), ["checkpointing"], 30);
  assert.equal(fasterAmong([])(beside(1 + 1e-6), baseline), true);
  assert.equal(fasterAmong([])(beside(1 - 1e-6), baseline), false);
  // The faster one switches more on: inside the noise that is no reason to take it.
  assert.deepEqual(onFront([baseline, beside(1 + 1e-6)]), [30]);
  assert.deepEqual(onFront([baseline, beside(1 - 1e-6)]), [40, 30]);
});

Deno.test("of equals the simpler one stays, if it needs no more memory", () => {
  const slower = (bytes: number) => trains(times(1), ["checkpointing", "flash"], bytes);
  assert.equal(switchedCount(slower(40), null), 2);
  assert.deepEqual(onFront([baseline, slower(40)]), [40]);
  assert.deepEqual(onFront([baseline, slower(39)]), [40, 39]);
});

Deno.test("single processes are told apart by the scatter of the others, and by nothing where there is none", () => {
  const [slow, fast] = [trains([100], [], 40), trains([150], ["checkpointing"], 30)];
  assert.equal(fasterAmong([slow, fast])(fast, slow), false);
  assert.equal(fasterAmong([slow, fast, baseline])(fast, slow), true);
  const noisy = trains([50, 100, 200], ["flash"], 20);
  assert.equal(fasterAmong([slow, fast, noisy])(fast, slow), false);
});

Deno.test("of one process a side it takes as much as both could be off by: Student's times √2 the spread", () => {
  // Logarithms −ln 2, 0, ln 2: a deviation of ln 2 with two degrees of freedom, t(0.975, 2) = 4.302652730.
  const noisy = trains([50, 100, 200], ["flash"], 20);
  const isFaster = (by: number, slow: number[]) => {
    const [a, b] = [trains([100 * by], ["checkpointing"], 30), trains(slow, [], 40)];
    return fasterAmong([a, b, noisy])(a, b);
  };
  const one = Math.exp(4.30265273 * Math.LN2 * Math.SQRT2);
  assert.deepEqual([isFaster(one * 1.00001, [100]), isFaster(one / 1.00001, [100])], [true, false]);
  // Beside three that do not scatter: four degrees of freedom, t(0.975, 4) = 2.776445105, half the squares.
  const three = Math.exp(2.776445105 * Math.LN2 / Math.SQRT2 * Math.sqrt(1 + 1 / 3));
  const slow = [100, 100, 100];
  assert.deepEqual([isFaster(three * 1.00001, slow), isFaster(three / 1.00001, slow)], [true, false]);
});

Deno.test("of two that switch on equally many, and that noise does not tell apart, both stay", () => {
  const [flash, fp16] = [["flash"], ["fp16"]].map((methods) => trains(times(1), methods, 40));
  assert.deepEqual(onFront([flash, fp16]), [40, 40]);
});

/** The baseline's methods, or others, at another batch. */
function atBatch(one: Configuration, microBatchSize: number, gradientAccumulationSteps = 1): Configuration {
  return configurationsOf(one.cells.map((cell) => ({
    ...cell,
    id: `${cell.id}-${microBatchSize}-${gradientAccumulationSteps}`,
    config: { ...cell.config, microBatchSize, gradientAccumulationSteps },
  })))[0];
}

Deno.test("another batch beats beyond the noise, and counts as a thing switched on inside it", () => {
  const here = atBatch(baseline, 4);
  const there = (by: number, bytes: number) => atBatch(trains(times(by), [], bytes), 8);
  const front = (...all: Configuration[]) =>
    paretoOf(all, { baseline: here }).points.filter((point) => point.onFront).map(({ label }) => label);
  assert.deepEqual([switchedCount(here, here), switchedCount(there(1, 40), here)], [0, 1]);
  assert.deepEqual(front(here, there(1.2, 40)), ["batch 8"]);
  assert.deepEqual(front(here, there(1, 40)), [here.label]);
  // With one method at the baseline's batch, none at the other: both changed one thing, and both stay.
  assert.deepEqual(front(atBatch(trains(times(1), ["flash"], 40), 4), there(1, 40)), [here.label, "batch 8"]);
});

Deno.test("each point names its batch, in its label where that is not the baseline's", () => {
  const points = paretoOf([
    atBatch(baseline, 4),
    atBatch(trains(times(1), ["flash"], 20), 1, 4),
    atBatch(trains(times(1), ["flash"], 21), 2, 2),
    atBatch(trains(times(1), ["flash"], 22), 16),
  ], { baseline: atBatch(baseline, 4) }).points;
  assert.deepEqual(points.map(({ label, batch }) => [label, batch]), [
    [baseline.label, "4"],
    [baseline.label, "1 × 4"],
    [`${baseline.label}, batch 2 × 2`, "2 × 2"],
    ["flash attention, batch 16", "16"],
  ]);
});
