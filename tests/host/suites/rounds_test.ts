// The order of cells within a round, and what a configuration is compared with.
import assert from "node:assert/strict";
import { type Cell, expandPhase } from "../../../suites/matrix.ts";
import { baselineOf, inRunningOrder, orderSeed } from "../../../suites/rounds.ts";
import type { PhaseBody } from "../../../suites/schema.ts";
import { phaseOf } from "./phases.ts";

const defaults = { model: "gpt2-nano", data: "moby-dick", steps: 10, effectiveBatchSize: 4 };
const cellsOf = (body: PhaseBody): Cell[] => expandPhase(phaseOf(body, { defaults }));

const METHODS = [[], ["checkpoint"], ["fp16"], ["flash"], ["checkpoint", "fp16"]];
const CELLS = cellsOf({ axes: { methods: METHODS }, seeds: [1, 2], repeats: 30 });
const ids = (cells: readonly Cell[]) => cells.map(({ id }) => id);

Deno.test("every round has all configurations once, in an order that the seed draws", () => {
  const ordered = inRunningOrder(CELLS, 7);
  assert.deepEqual(ids(ordered).sort(), ids(CELLS).sort());
  const rounds = Array.from({ length: 60 }, (_, i) => ordered.slice(i * 5, i * 5 + 5));
  rounds.forEach((round, i) => {
    assert.equal(new Set(round.map(({ label }) => label)).size, 5);
    assert.deepEqual(
      new Set(round.map(({ repeat, config: { seed } }) => `${repeat} ${seed}`)).size,
      1,
      `${i}`,
    );
  });
  assert.deepEqual(rounds.map(([{ repeat }]) => repeat), Array.from({ length: 60 }, (_, i) => i >> 1));
  // Every configuration comes first in about a fifth of the 60 rounds: 12 ± 4 standard deviations of 3.1.
  for (const { label } of CELLS.slice(0, 5)) {
    const first = rounds.filter(([one]) => one.label === label).length;
    assert.ok(first > 0 && first < 25, `${label} comes first ${first} times`);
  }
  assert.notDeepEqual(ids(inRunningOrder(CELLS, 8)), ids(ordered));
});

Deno.test("a shard and a resumed run have their part of the cells in the order of the whole", () => {
  const whole = ids(inRunningOrder(CELLS, 7));
  const rest = CELLS.filter((_, i) => i > 4 && i % 3 === 0);
  const left = new Set(ids(rest));
  assert.deepEqual(ids(inRunningOrder(rest, 7)), whole.filter((id) => left.has(id)));
  const hash = "0123456789abcdef";
  assert.equal(orderSeed(hash), 0x01234567);
});

Deno.test("micro-batches of one configuration rise in the first round, and in later ones are drawn", () => {
  const cells = cellsOf({
    axes: { effectiveBatchSize: [16, 1, 4, 2, 8], methods: [[], ["checkpoint"]] },
    repeats: 20,
  });
  const rising = (round: readonly Cell[]) =>
    [0, 1].every((methods) => {
      const sizes = round.filter(({ config }) => config.methods.length === methods)
        .map(({ config }) => config.microBatchSize);
      return sizes.join() === "1,2,4,8,16";
    });
  const ordered = inRunningOrder(cells, 7);
  assert.ok(rising(ordered.slice(0, 10)));
  const [, ...others] = Array.from({ length: 20 }, (_, i) => ordered.slice(i * 10, i * 10 + 10));
  assert.ok(others.filter(rising).length < 3);
  assert.ok(
    ordered.slice(0, 10).some(({ config }, i, all) =>
      config.methods.join() === all[i + 1]?.config.methods.join()
    ),
  );
});

Deno.test("the baseline switches nothing on, in the same setting, effective batch, seed and round", () => {
  const cells = cellsOf({
    cells: [
      { label: "four" },
      { label: "split", microBatchSize: 1 },
      { label: "eight", effectiveBatchSize: 8 },
      { label: "fp16", methods: ["fp16"] },
      { label: "fp16, eight", methods: ["fp16"], effectiveBatchSize: 8 },
      { label: "adafactor", optimizer: "adafactor" },
      { label: "long", methods: ["fp16"], sequenceLength: 64 },
      { label: "another rate", methods: ["fp16"], learningRate: 0.5 },
    ],
    seeds: [1, 2],
    repeats: 2,
  });
  const found = cells.map((cell) => {
    const baseline = baselineOf(cell, cells);
    if (baseline) assert.deepEqual([baseline.repeat, baseline.config.seed], [cell.repeat, cell.config.seed]);
    return `${cell.label}: ${baseline?.label ?? "none"}`;
  });
  assert.deepEqual([...new Set(found)], [
    "four: none",
    "split: four",
    "eight: none",
    "fp16: four",
    "fp16, eight: eight",
    "adafactor: four",
    "long: none",
    "another rate: four",
  ]);
});
