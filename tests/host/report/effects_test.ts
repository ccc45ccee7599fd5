import assert from "node:assert/strict";
import { configurationsOf } from "../../../report/rows/configuration.ts";
import { factorialOf, interactions, mainEffects } from "../../../report/rows/effects.ts";
import { heatMapOf } from "../../../report/rows/heat_map.ts";
import type { CellRecord } from "../../../results/record.ts";
import { syntheticRun } from "./synthetic_run.ts";

const WHOLE = syntheticRun({ everything: true, batches: [], seeds: [0], tokens: 1024 });
const FACTORIAL = WHOLE.cells.filter(({ phase }) => phase === "factorial");

/** What each method multiplies memory and time by; memory and time of a cell are the products. */
type Model = (cell: CellRecord) => { bytes: number; ms: number };

function factorial(model: Model, change: (cells: CellRecord[]) => CellRecord[] = (cells) => cells) {
  const cells = structuredClone(FACTORIAL);
  for (const cell of cells) {
    const { bytes, ms } = model(cell);
    cell.memory!.bookedPeakBytes = bytes;
    cell.samples!.ms = cell.samples!.ms.map(() => ms * (1 + 0.01 * cell.repeat));
  }
  return factorialOf(configurationsOf(change(cells), WHOLE.run.phases))!;
}

const has = ({ config }: CellRecord, what: string) =>
  config.methods.includes(what) || config.optimizer === what ||
  (what === "accumulation" && config.gradientAccumulationSteps > 1);

/**
 * Memory: checkpointing a half, Adafactor a quarter less. Time: checkpointing
 * 1.3, fp16 0.7. Nothing else does anything.
 */
const product: Model = (cell) => ({
  bytes: 1e6 * (has(cell, "checkpoint") ? 0.5 : 1) * (has(cell, "adafactor") ? 0.75 : 1),
  ms: 10 * (has(cell, "checkpoint") ? 1.3 : 1) * (has(cell, "fp16") ? 0.7 : 1),
});

const near = (actual: number | undefined | null, expected: number) =>
  assert.ok(Math.abs(actual! / expected - 1) < 1e-9, `${actual}, expected ${expected}`);

Deno.test("factorialOf() finds the factors and every combination of them", () => {
  const { cells, treatments, failed } = factorial(product);
  assert.equal(cells.length, 48);
  assert.equal(failed, 0);
  assert.deepEqual(treatments.map(({ id }) => id), [
    "accumulation",
    "checkpoint",
    "fp16",
    "flash",
    "adafactor",
    "adamw8bit",
  ]);
});

Deno.test("mainEffects() gives back the factors that a product was made of, alone and beside others", () => {
  const effects = new Map(mainEffects(factorial(product)).map((one) => [one.treatment.id, one]));
  const expected = {
    checkpoint: [2, 1.3],
    adafactor: [4 / 3, 1],
    fp16: [1, 0.7],
    flash: [1, 1],
    accumulation: [1, 1],
  };
  for (const [id, [memory, time]] of Object.entries(expected)) {
    const effect = effects.get(id)!;
    near(effect.memoryAlone, memory);
    near(effect.memory!.ratio.estimate, memory);
    near(effect.memory!.range!.smallest, memory);
    near(effect.timeAlone!.estimate, time);
    near(effect.time!.ratio.estimate, time);
    assert.ok(effect.time!.ratio.low <= time && time <= effect.time!.ratio.high);
    assert.ok(
      effect.timeAlone!.high / effect.timeAlone!.low > effect.time!.ratio.high / effect.time!.ratio.low,
      "more pairs, less noise",
    );
  }
});

Deno.test("interactions() of a product are none, and pruned combinations leave no bias", () => {
  const pruned = factorial(
    product,
    (cells) => cells.filter((cell) => !(has(cell, "flash") && has(cell, "checkpoint"))),
  );
  for (const data of [factorial(product), pruned]) {
    for (const { n, memory, time } of interactions(data)) {
      if (n === 0) continue;
      near(memory!.share, 1);
      near(time!.share.estimate, 1);
    }
  }
});

Deno.test("interactions() tells methods that cancel, overlap and reinforce each other", () => {
  const words = (bytes: (a: boolean, b: boolean) => number) => {
    const data = factorial((cell) => ({
      bytes: bytes(has(cell, "checkpoint"), has(cell, "accumulation")),
      ms: 1,
    }));
    return interactions(data).find(({ a, b }) => a.id === "accumulation" && b.id === "checkpoint")!.memory!
      .words;
  };
  assert.equal(words((a, b) => a || b ? 500 : 1000), "cancel");
  assert.equal(words((a, b) => a && b ? 400 : a || b ? 500 : 1000), "overlap");
  assert.equal(words((a, b) => (a ? 0.5 : 1) * (b ? 0.5 : 1) * 1000), "independent");
  assert.equal(words((a, b) => a && b ? 100 : a || b ? 500 : 1000), "reinforce");
  assert.equal(words((a) => a ? 500 : 1000), "one of them saves little");
});

Deno.test("interactions() at the edges of its words: half a per cent is the same, two per cent are little", () => {
  const words = (a: number, b: number, both: number) => {
    const bytes = (cell: CellRecord) =>
      has(cell, "checkpoint") ? (has(cell, "accumulation") ? both : a) : has(cell, "accumulation") ? b : 1;
    const data = factorial((cell) => ({ bytes: 1e9 / bytes(cell), ms: 1 }));
    return interactions(data).find(({ a, b }) => a.id === "accumulation" && b.id === "checkpoint")!.memory!
      .words;
  };
  assert.equal(words(2, 2, 4 * 1.0049), "independent");
  assert.equal(words(2, 2, 4 * 1.0051), "reinforce");
  assert.equal(words(2, 2, 4 / 1.0049), "independent");
  assert.equal(words(2, 2, 4 / 1.0051), "overlap");
  assert.equal(words(2, 2, 2 * 1.0051), "overlap");
  assert.equal(words(2, 2, 2 * 1.0049), "cancel");
  assert.equal(words(2, 1.0199, 2), "one of them saves little");
  assert.equal(words(2, 1.0201, 2), "cancel");
});

Deno.test("mainEffects() of time has Student's 95 % interval of the spread that all combinations share", () => {
  const [{ timeAlone }] = mainEffects(factorial(product));
  // Two processes each, 1 % apart, in 48 combinations: t(0.975, 48) = 2.010634758 times the deviation of one,
  // as each side is a mean of two.
  near(Math.log(timeAlone!.high / timeAlone!.low), 2 * 2.010634758 * Math.log(1.01) / Math.SQRT2);
});

Deno.test("factorialOf() is none where a single factor was varied", () => {
  const others = ["accumulation", "checkpoint", "fp16", "adafactor", "adamw8bit"];
  const alone = (cells: CellRecord[]) => cells.filter((cell) => !others.some((what) => has(cell, what)));
  assert.equal(factorial(product, alone), null);
  assert.equal(
    factorial(product, (cells) => cells.filter((cell) => !others.slice(1).some((what) => has(cell, what))))
      .cells.length,
    4,
  );
});

/** The combinations with an even number of methods, without Adafactor. */
const half = (cells: CellRecord[]) =>
  cells.filter((cell) =>
    !has(cell, "adafactor") &&
    ["accumulation", "checkpoint", "fp16", "flash", "adamw8bit"].filter((id) => has(cell, id)).length % 2 ===
      0
  );

Deno.test("a half fraction gives back main effects and pairs of a product, in no company alone", () => {
  const lean: Model = (cell) => {
    const { bytes, ms } = product(cell);
    return { bytes: bytes * (has(cell, "adamw8bit") ? 0.8 : 1), ms };
  };
  const data = factorial(lean, half);
  assert.deepEqual([data.cells.length, data.isFraction, factorial(product).isFraction], [16, true, false]);
  const effects = new Map(mainEffects(data).map((one) => [one.treatment.id, one]));
  const expected = { checkpoint: [2, 1.3], adamw8bit: [1.25, 1], fp16: [1, 0.7], flash: [1, 1] };
  for (const [id, [memory, time]] of Object.entries(expected)) {
    const effect = effects.get(id)!;
    near(effect.memory!.ratio.estimate, memory);
    near(effect.time!.ratio.estimate, time);
    assert.ok(effect.time!.ratio.low < time && time < effect.time!.ratio.high);
    assert.deepEqual([effect.memory!.range, effect.memory!.n, effect.memoryAlone, effect.timeAlone], [
      null,
      8,
      null,
      null,
    ]);
  }
  const pairs = interactions(data);
  assert.equal(pairs.length, 10);
  for (const { n, memory, time } of pairs) {
    assert.equal(n, 4);
    near(memory!.share, 1);
    near(time!.share.estimate, 1);
  }
});

Deno.test("a half fraction finds the pair that cancels, and leaves the others alone", () => {
  const data = factorial((cell) => ({
    bytes: has(cell, "checkpoint") || has(cell, "flash") ? 500 : 1000,
    ms: 10 * (has(cell, "checkpoint") && has(cell, "fp16") ? 2 : 1),
  }), half);
  const pairs = interactions(data);
  const of = (one: string, other: string) => pairs.find(({ a, b }) => a.id === one && b.id === other)!;
  assert.equal(of("checkpoint", "flash").memory!.words, "cancel");
  near(of("checkpoint", "fp16").time!.share.estimate, 2);
  for (const { a, b, memory, time } of pairs) {
    const together = `${a.id} ${b.id}`;
    if (together !== "checkpoint flash") near(memory!.share, 1);
    if (together !== "checkpoint fp16") near(time!.share.estimate, 1);
  }
});

Deno.test("cells of unequal company are not compared: a fraction that lost one has no effects of it", () => {
  const data = factorial(product, (cells) => {
    const fraction = half(cells);
    for (const cell of fraction.filter((cell) => has(cell, "accumulation") && has(cell, "fp16"))) {
      if (!has(cell, "flash") && !has(cell, "checkpoint") && !has(cell, "adamw8bit")) cell.status = "oom";
    }
    return fraction;
  });
  assert.deepEqual([data.cells.length, data.failed], [15, 1]);
  assert.ok(mainEffects(data).every(({ memory, time }) => memory === null && time === null));
});

Deno.test("factorialOf() takes the planner's bytes of combinations that a rule left out, and no time of them", () => {
  const data = factorial(product, (cells) => {
    for (const cell of cells.filter((cell) => has(cell, "flash"))) {
      Object.assign(cell, { status: "not-run", reason: "pruned: …", samples: null });
      cell.memory!.plannedPeakBytes = cell.memory!.bookedPeakBytes!;
    }
    return cells;
  });
  const flash = data.cells.filter(({ levels }) => levels.flash === "flash");
  assert.equal(flash.length, 24);
  assert.ok(flash.every(({ isPlanned, bytes, logTime }) => isPlanned && bytes && logTime === null));
  const checkpoint = mainEffects(data).find(({ treatment }) => treatment.id === "checkpoint")!;
  assert.deepEqual([checkpoint.memory!.n, checkpoint.time!.n], [24, 12]);
});

Deno.test("factorialOf() leaves out what failed, and says how many that were", () => {
  const data = factorial(product, (cells) => {
    for (const cell of cells.filter((cell) => has(cell, "adamw8bit"))) cell.status = "oom";
    return cells;
  });
  assert.deepEqual([data.cells.length, data.failed], [32, 16]);
});

Deno.test("heatMapOf() puts nothing-switched-on first and compares everything with it", () => {
  const map = heatMapOf(factorial(product))!;
  const first = map.cells[0][0]!;
  assert.ok(Object.values(first.cell.levels).every((level) => level === "off"));
  assert.deepEqual([first.memory, first.throughput], [1, 1]);
  assert.deepEqual([map.rows.length, map.columns.length], [6, 8]);
});

Deno.test("heatMapOf() compares times with the barest combination that was timed", () => {
  const map = heatMapOf(factorial(product, (cells) => {
    for (const cell of cells.filter((cell) => !has(cell, "accumulation"))) {
      Object.assign(cell, { status: "not-run", samples: null });
      cell.memory!.plannedPeakBytes = cell.memory!.bookedPeakBytes!;
    }
    return cells;
  }))!;
  assert.equal(map.timeBase!.levels.accumulation, "accumulation");
  assert.equal(map.cells[0][0]!.throughput, null);
});
