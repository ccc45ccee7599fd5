import assert from "node:assert/strict";
import { InputError } from "../../../engine/input_error.ts";
import { printGraph } from "../../../engine/graph/print.ts";
import { modelOf } from "../../../engine/model/config.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import { buildStep } from "../../../engine/passes/pipeline.ts";
import {
  checkMethodSettings as checkInEngine,
  IMPLEMENTED_METHODS,
  lossScaleSettings,
  stepMethods,
} from "../../../engine/train/methods.ts";
import { IMPLEMENTED_OPTIMIZERS } from "../../../engine/train/methods.ts";
import {
  METHOD_IDS,
  METHODS,
  type MethodSetting,
  OPTIMIZER_IDS,
  trainsAdapters,
} from "../../../results/methods.ts";
import { checkMethods, checkMethodSettings, methodById, optimizerById } from "../../../suites/methods.ts";
import { defaults } from "../../support/setting_defaults.ts";

/** The error a function throws, or null. Anything but an `InputError` passes through. */
function refusal(body: () => void): string | null {
  try {
    body();
    return null;
  } catch (error) {
    if (error instanceof InputError) return error.message;
    throw error;
  }
}

/** A run that every method can work in. */
const RUN = { clip: 0, gradientAccumulationSteps: 1, optimizer: "adamw", methodOptions: {} };

type Options = Record<string, unknown>;

/** All that a choice of methods and settings decides: graphs as text, first values, and loss scaling. */
function stepText(methods: readonly string[], methodOptions: Record<string, Options>): string {
  // 50 257 words: over fewer, all logits of so few tokens fit one chunk.
  const model = modelOf({ ...PRESETS["llama-nano"], vocabularySize: 50_257 });
  const options = { methods, methodOptions: methodOptions as Record<string, Record<string, unknown>> };
  const { graphs, parameters } = buildStep({
    model,
    microBatchSize: 3,
    gradientAccumulationSteps: 1,
    sequenceLength: 128,
    methods: stepMethods(options, model),
    optimizer: "adamw",
    optimizerOptions: defaults(optimizerById("adamw").settings) as Record<string, number>,
    clip: 0,
    dropout: 0,
    evaluate: true,
  });
  const first = parameters.map(({ spec: { name, init } }) => [name, init]);
  return graphs.map(printGraph).join("\n") + JSON.stringify([first, lossScaleSettings(options)]);
}

Deno.test("the table has every method and optimizer that the engine trains, and no others", () => {
  assert.deepEqual([...METHOD_IDS].sort(), [...IMPLEMENTED_METHODS].sort());
  assert.deepEqual([...OPTIMIZER_IDS].sort(), [...IMPLEMENTED_OPTIMIZERS].sort());
});

Deno.test("methods that exclude each other both say so, with the same sentence", () => {
  for (const { id, excludes } of METHODS) {
    for (const [other, why] of Object.entries(excludes)) {
      const back = METHODS.find((method) => method.id === other);
      assert.equal(back?.excludes[id], why, `${id} excludes ${other}`);
      assert.match(why, /\w+ .*\w/, `${id} and ${other}: a sentence that says why`);
    }
  }
});

Deno.test("the table refuses every pair and setting that the engine refuses, and beyond those two bases at once", () => {
  const sets = METHOD_IDS.flatMap((a, i) => [[a], ...METHOD_IDS.slice(0, i).map((b) => [a, b])]);
  let refused = 0;
  for (const methods of sets) {
    for (const clip of [0, 1]) {
      for (const gradientAccumulationSteps of [1, 4]) {
        const run = { ...RUN, methods, clip, gradientAccumulationSteps };
        const engine = refusal(() => checkInEngine({ ...run, methodOptions: {}, optimizer: "adamw" }));
        const table = refusal(() => {
          checkMethods(methods, "adamw");
          checkMethodSettings(methods, run);
        });
        const twoBases = methods.filter((id) => trainsAdapters([id])).length === 2;
        assert.equal(
          table !== null,
          engine !== null || twoBases,
          `${JSON.stringify(run)}: ${table}, ${engine}`,
        );
        refused += Number(table !== null);
      }
    }
  }
  assert.ok(refused > 0);
});

Deno.test("settings that work with one optimizer alone are refused with others, by table and engine", () => {
  for (const id of METHOD_IDS) {
    for (const [key, setting] of Object.entries(methodById(id).settings)) {
      for (const optimizer of OPTIMIZER_IDS) {
        const methodOptions = { [id]: { [key]: anotherValue(setting) } };
        const run = { ...RUN, methods: [id], optimizer, methodOptions };
        const engine = refusal(() => checkInEngine(run));
        const table = refusal(() => checkMethodSettings([id], run));
        assert.equal(table !== null, engine !== null, `${id}, ${key}, ${optimizer}: ${table}, ${engine}`);
        assert.equal(table !== null, setting.optimizer !== undefined && setting.optimizer.id !== optimizer);
      }
    }
  }
});

Deno.test("a refusal says which settings, why, and what would do", () => {
  assert.equal(
    refusal(() => checkMethodSettings(["optimizer-in-backward"], { ...RUN, clip: 1 })),
    "Cannot combine optimizer-in-backward with clip 1: the norm of all gradients is not known when the first update is due; use clip 0",
  );
  assert.match(
    refusal(() => checkMethodSettings(["optimizer-in-backward"], { ...RUN, gradientAccumulationSteps: 4 }))!,
    /^Cannot combine optimizer-in-backward with 4 micro-steps: gradients of the first micro-step are gone/,
  );
});

Deno.test("a method that is on changes the graphs of a step, and one that is off leaves nothing in them", () => {
  const plain = stepText([], {});
  for (const id of METHOD_IDS) {
    const settings = { [id]: defaults(methodById(id).settings) };
    assert.ok(stepText([id], settings) !== plain, id);
    assert.ok(stepText([], settings) === plain, `${id} off, its settings there`);
  }
});

Deno.test("every setting of a method reaches the step", () => {
  for (const id of METHOD_IDS) {
    const { settings } = methodById(id);
    const base = defaults(settings);
    for (const [key, setting] of Object.entries(settings)) {
      const changed = { ...base, [key]: anotherValue(setting) };
      assert.ok(
        stepText([id], { [id]: changed }) !== stepText([id], { [id]: base }),
        `${id}: ${key} ${changed[key]} instead of ${base[key]}`,
      );
    }
  }
});

function anotherValue({ default: value, schema: { enum: choices, maximum } }: MethodSetting): unknown {
  if (choices) return choices.find((choice) => choice !== value);
  if (typeof value === "boolean") return !value;
  const number = Number(value);
  return maximum !== undefined && maximum < 1 ? maximum / 2 : number * 2;
}

Deno.test("settings left out mean what the table says they mean", () => {
  for (const id of METHOD_IDS) {
    // Not assert.equal: the difference of two graphs is no message.
    assert.ok(stepText([id], {}) === stepText([id], { [id]: defaults(methodById(id).settings) }), id);
  }
});
