import assert from "node:assert/strict";
import { canonicalJson } from "../../../results/canonical_json.ts";
import {
  type Cell,
  cellId,
  configurations,
  expandPhase,
  inShard,
  missingDecision,
  NOTHING_KNOWN,
  parseFilter,
  parseShard,
} from "../../../suites/matrix.ts";
import { NUMERICS } from "../../../engine/numerics.ts";
import { resolveSettings } from "../../../suites/resolve_settings.ts";
import type { PhaseBody } from "../../../suites/schema.ts";
import type { TieredPhase } from "../../../suites/suite.ts";
import { phaseOf } from "./phases.ts";

function phase(body: PhaseBody, settings = {}): TieredPhase {
  const whole = phaseOf(body);
  return { ...whole, defaults: { ...whole.defaults, ...settings } };
}

const shown = ({ label, repeat, config }: Cell) =>
  `${label} | seed ${config.seed} repeat ${repeat} | ${config.microBatchSize}×${config.gradientAccumulationSteps} ` +
  `${config.steps} steps lr ${config.learningRate} ${config.methods.join("+") || "-"} ${config.optimizer}`;

Deno.test("expandPhase() crosses cells and axes in the order written, interleaving seeds and repeats", () => {
  const cells = expandPhase(
    phase({
      cells: [{ label: "plain" }, { label: "lean", methods: ["fp16", "checkpoint"], microBatchSize: 1 }],
      axes: { effectiveBatchSize: [2, 4], optimizer: ["adamw", "sgd"] },
      seeds: [7, 8],
      repeats: 2,
      exclude: [{ methods: ["checkpoint", "fp16"], optimizer: "sgd" }, {
        effectiveBatchSize: 4,
        optimizer: "sgd",
      }],
    }),
  );
  const round = (seed: number, repeat: number) => [
    `plain, batch 2, AdamW | seed ${seed} repeat ${repeat} | 2×1 10 steps lr 0.001 - adamw`,
    `plain, batch 2, SGD | seed ${seed} repeat ${repeat} | 2×1 10 steps lr 0.001 - sgd`,
    `plain, batch 4, AdamW | seed ${seed} repeat ${repeat} | 4×1 10 steps lr 0.001 - adamw`,
    `lean, batch 2, AdamW | seed ${seed} repeat ${repeat} | 1×2 10 steps lr 0.001 checkpoint+fp16 adamw`,
    `lean, batch 4, AdamW | seed ${seed} repeat ${repeat} | 1×4 10 steps lr 0.001 checkpoint+fp16 adamw`,
  ];
  assert.deepEqual(cells.map(shown), [...round(7, 0), ...round(8, 0), ...round(7, 1), ...round(8, 1)]);
  assert.equal(new Set(cells.map(({ id }) => id)).size, cells.length);
});

Deno.test("include keeps what matches one of its entries; fields left out have their defaults", () => {
  const list = configurations(phase({
    axes: { optimizer: ["adamw", "sgd"], methods: [[], ["fp16"]] },
    include: [{ optimizer: "adamw", methods: [] }, { optimizer: "sgd", methods: ["fp16"], clip: 1 }],
  }));
  assert.deepEqual(list.map(({ label }) => label), ["AdamW, baseline", "SGD, mixed precision"]);
});

Deno.test("tokens give the steps, and the rule the learning rate, of every batch size", () => {
  const settings = {
    tokens: 2048,
    steps: undefined,
    learningRateRule: "square-root",
    learningRateBatchSize: 4,
  };
  const cells = expandPhase(phase({ axes: { effectiveBatchSize: [1, 4, 16] } }, settings));
  assert.deepEqual(cells.map(({ config }) => [config.steps, config.learningRate]), [
    [16, 0.0005],
    [4, 0.001],
    [1, 0.002],
  ]);
  const linear = expandPhase(
    phase({ axes: { effectiveBatchSize: [1, 16] } }, { ...settings, learningRateRule: "linear" }),
  );
  assert.deepEqual(linear.map(({ config }) => config.learningRate), [0.00025, 0.004]);
});

Deno.test("a chosen batch size is applied, and rungs that fall together at it run once", () => {
  const ladder = phase({
    defaults: {},
    cells: [{ label: "baseline" }, { label: "batch 1 × accumulation", microBatchSize: 1 }, {
      label: "sgd",
      optimizer: "sgd",
    }],
  }, { effectiveBatchSize: "chosen" });
  assert.match(missingDecision(ladder, NOTHING_KNOWN)!, /the batch size/);
  const chosen = (batchSize: number) => ({ ...NOTHING_KNOWN, batchSize });
  assert.deepEqual(expandPhase(ladder, chosen(4)).map(({ label }) => label), [
    "baseline",
    "batch 1 × accumulation",
    "sgd",
  ]);
  assert.deepEqual(expandPhase(ladder, chosen(1)).map(({ label }) => label), ["baseline", "sgd"]);
  assert.throws(() => expandPhase(ladder), /no batch sweep has decided it/);
});

Deno.test("ids change with the numerics alone, not with the order in which settings are written", () => {
  const config = resolveSettings({ model: "gpt2", data: "moby-dick", tokenizer: "gpt2", seed: 1 });
  // A literal: published results are found by these ids. A new field in RunConfig
  // changes them all, and must say so.
  assert.equal(cellId("batch-size", 0, config, 2), "79a777e4c406");
  assert.equal(cellId("batch-size", 0, config), cellId("batch-size", 0, config, NUMERICS));
  const reversed = Object.fromEntries(Object.entries(config).reverse()) as unknown as typeof config;
  assert.equal(cellId("batch-size", 0, reversed), cellId("batch-size", 0, config));
  const others = [
    cellId("batch-size", 1, config),
    cellId("single", 0, config),
    cellId("batch-size", 0, { ...config, seed: 2 }),
    cellId("batch-size", 0, { ...config, methodOptions: { lora: { rank: 4 } } }),
    cellId("batch-size", 0, config, NUMERICS + 1),
  ];
  assert.equal(new Set([...others, cellId("batch-size", 0, config)]).size, 6);
});

Deno.test("canonicalJson() sorts keys at every depth and drops what is undefined", () => {
  assert.equal(
    canonicalJson({ b: [{ z: 1, a: null }], a: undefined, A: "x" }),
    '{"A":"x","b":[{"a":null,"z":1}]}',
  );
});

Deno.test("shards partition the cells for any count, each cell the same shard whatever else is in the matrix", () => {
  const cells = expandPhase(
    phase({ axes: { effectiveBatchSize: [1, 2, 3, 4, 5, 6, 7, 8] }, seeds: [1, 2, 3, 4, 5] }),
  );
  for (const count of [1, 2, 3, 7]) {
    const shards = Array.from(
      { length: count },
      (_, i) => cells.filter(({ id }) => inShard(id, { index: i + 1, count })),
    );
    assert.equal(shards.flat().length, cells.length);
    assert.equal(new Set(shards.flat()).size, cells.length);
    // 40 cells over at most 7 shards: an empty one has a chance of 7·(6/7)^40 = 1.5 %, and ids do not change.
    assert.ok(shards.every((shard) => shard.length > 0));
  }
  assert.deepEqual(parseShard("2/4"), { index: 2, count: 4 });
  for (const text of ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3"]) {
    assert.throws(() => parseShard(text), /Cannot use --shard/);
  }
});

Deno.test("parseFilter() keeps cells for which every condition holds", () => {
  const cells = expandPhase(
    phase({
      axes: { effectiveBatchSize: [1, 4], methods: [[], ["fp16"], ["checkpoint", "fp16"]] },
      seeds: [1, 2],
    }),
  );
  const kept = (text: string) =>
    cells.filter(parseFilter(text)).map(({ label, config }) => `${label} ${config.seed}`);
  assert.deepEqual(kept("effectiveBatchSize=4,methods=,seed=2"), ["batch 4, baseline 2"]);
  assert.deepEqual(kept("methods=checkpoint+fp16, effectiveBatchSize!=1, seed=1"), [
    "batch 4, checkpointing + mixed precision 1",
  ]);
  assert.equal(kept("methods~fp16").length, 8);
  assert.equal(kept("phase=p,label~batch 4").length, 6);
  assert.equal(kept("learningRate=1e-3").length, 12, "numbers are compared as numbers");
  assert.equal(kept(`id=${cells[3].id}`).length, 1);
  assert.throws(() => parseFilter("sed=1"), /Unknown field sed in --filter.*did you mean seed\?/);
  assert.throws(() => parseFilter("seed"), /Cannot read --filter seed/);
  assert.throws(() => parseFilter("seed<3"), /Cannot read --filter/);
});
