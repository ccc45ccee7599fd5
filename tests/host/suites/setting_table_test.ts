// One declaration of a setting: what is added to the table alone is there wherever settings are spoken of.
import assert from "node:assert/strict";
import { Type } from "typebox";
import type { TrainOptions } from "../../../mod.ts";
import { type Configuration, configurationsOf, settingKey } from "../../../report/rows/configuration.ts";
import { asCellRecord } from "../../../results/check.ts";
import { CellRecord } from "../../../results/record.ts";
import { RUN_SETTINGS, type RunConfig, runConfigOf, setting } from "../../../results/settings.ts";
import { trainFlags } from "../../../suites/config_flags.ts";
import { type Arguments, helpText, parseFlags } from "../../../suites/cli/flags.ts";
import { memoryKey, planKey } from "../../../suites/memory_keys.ts";
import { cellId } from "../../../suites/matrix.ts";
import { resolveSettings } from "../../../suites/resolve_settings.ts";
import { suiteSchema } from "../../../suites/schema.ts";
import { suiteCheck } from "../../../suites/suite.ts";
import { configFromFlags, trainingFlags } from "../../../suites/cli/train_flags.ts";
import { syntheticRun } from "../report/synthetic_run.ts";

/** The table with one setting more. */
const TABLE = {
  ...RUN_SETTINGS,
  labelSmoothing: setting(Type.Optional(Type.Number({ minimum: 0, maximum: 0.5 })), {
    what: "share of a target's probability that all words get",
    default: 0,
    flag: "label-smoothing SHARE",
    memory: true,
    compare: "apart",
  }),
};

const SPEC = { name: "train", what: "Trains.", flags: trainingFlags(TABLE), examples: [] };
const ENGINE = { implementedMethods: [], implementedOptimizers: ["adamw"] };
const GIVEN = "--model gpt2 --data moby-dick --label-smoothing";

/** The configuration of a command line; it has what the type of this version does not know. */
function parsed(line: string): RunConfig & { labelSmoothing?: number } {
  return configFromFlags(parseFlags(SPEC, line.split(" ")) as Arguments, ENGINE, {}, TABLE);
}

Deno.test("a setting added to the table is a key of suites, cells and axes, with its range", () => {
  const suite = (phase: object) => ({ title: "t", phases: [{ name: "a", kind: "matrix", ...phase }] });
  const [before, after] = [suiteSchema(), suiteSchema(TABLE)].map(suiteCheck);
  for (
    const phaseOf of [
      (value: number) => ({ defaults: { labelSmoothing: value } }),
      (value: number) => ({ cells: [{ label: "l", labelSmoothing: value }] }),
      (value: number) => ({ axes: { labelSmoothing: [value] } }),
    ]
  ) {
    assert.ok(after(suite(phaseOf(0.5))), JSON.stringify(after.errors));
    assert.ok(!after(suite(phaseOf(0.51))));
    assert.ok(!before(suite(phaseOf(0.5))));
  }
});

Deno.test("it has its flag and its line of help, is checked, and is in the command that repeats a run", () => {
  assert.match(
    helpText(SPEC),
    /^ {2}--label-smoothing SHARE {3}share of a target's probability that all words get/m,
  );
  const config = parsed(`${GIVEN} 0.25`);
  assert.equal(config.labelSmoothing, 0.25);
  assert.match(trainFlags(config, TABLE).join(" "), / --label-smoothing 0\.25$/);
  assert.throws(() => parsed(`${GIVEN} 0.6`), {
    name: "InputError",
    message: "Cannot use --label-smoothing 0.6: expected a number from 0 to 0.5",
  });
});

Deno.test("it is checked in records, and records from before there was one are read as they are", () => {
  const properties = { ...CellRecord.properties, config: runConfigOf(TABLE) };
  const schema = Type.Object(properties);
  const [cell] = syntheticRun({ batches: [1], seeds: [0], tokens: 1024 }).cells;
  const withValue = (labelSmoothing: unknown) => ({ ...cell, config: { ...cell.config, labelSmoothing } });
  asCellRecord(structuredClone(cell), "FILE", schema);
  asCellRecord(withValue(0.1), "FILE", schema);
  assert.throws(() => asCellRecord(withValue(0.6), "FILE", schema), {
    name: "InputError",
    message: "Cannot read FILE: field config.labelSmoothing is 0.6, expected a number from 0 to 0.5",
  });
});

Deno.test("cells that differ in it are not compared, and their plans are not shared", () => {
  const [plain, smoothed] = [0, 0.1].map((value) => parsed(`${GIVEN} ${value}`));
  const [first] = configurationsOf(syntheticRun({ batches: [1], seeds: [0], tokens: 1024 }).cells);
  const keys = [plain, smoothed].map((config) => {
    const configuration: Configuration = { ...first, config };
    return [settingKey(configuration), settingKey(configuration, TABLE)];
  });
  assert.equal(keys[0][0], keys[1][0], "this version knows nothing of it");
  assert.notEqual(keys[0][1], keys[1][1]);
  for (const key of [memoryKey, planKey]) {
    assert.equal(key(plain), key(smoothed));
    assert.notEqual(key(plain, TABLE), key(smoothed, TABLE));
  }
});

Deno.test("at its default it is left out, and the ids of earlier cells stay what they were", () => {
  const before = resolveSettings({ model: "gpt2", data: "moby-dick" });
  const after = resolveSettings({ model: "gpt2", data: "moby-dick" }, undefined, TABLE);
  assert.deepEqual(after, before);
  assert.equal(cellId("a", 0, after), cellId("a", 0, before));
  assert.notEqual(cellId("a", 0, parsed(`${GIVEN} 0.1`)), cellId("a", 0, before));
});

Deno.test("every setting says what memory and comparisons make of it", () => {
  const config = resolveSettings({ model: "gpt2", data: "moby-dick", methods: ["fp16"], clip: 1 });
  const changed = (change: Partial<RunConfig>) => memoryKey({ ...config, ...change }) !== memoryKey(config);
  // By rule: a value that is off counts by being off alone, and larger micro-batches are what the key is
  // asked about.
  assert.deepEqual(
    [
      changed({ clip: 2 }),
      changed({ clip: 0 }),
      changed({ gradientAccumulationSteps: 2 }),
      changed({ seed: 1 }),
    ],
    [false, true, true, false],
  );
  assert.ok(!changed({ microBatchSize: 64 }) && changed({ packing: true }) && changed({ methods: [] }));
  const accumulating = { ...config, gradientAccumulationSteps: 2 };
  assert.equal(memoryKey(accumulating), memoryKey({ ...accumulating, gradientAccumulationSteps: 8 }));
  assert.notEqual(planKey(config), planKey({ ...config, microBatchSize: 64 }));
});

/** `true` where two unions have the same members. */
type Same<A, B> = [A] extends [B] ? [B] extends [A] ? true : false : false;

Deno.test("the engine's options are the settings of a configuration, but for those that name other cells", () => {
  // Held by the type check: a setting that the engine does not know, or the other way round, makes this
  // `false`.
  const isSame: Same<
    Exclude<keyof RunConfig, "startFrom" | "alsoEvaluate">,
    Exclude<keyof TrainOptions, "scheduleSteps">
  > = true;
  const config: RunConfig = resolveSettings({ model: "gpt2", data: "moby-dick" });
  const options: TrainOptions = config; // and their types agree
  assert.ok(isSame && options === config);
});
