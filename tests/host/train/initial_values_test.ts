import assert from "node:assert/strict";
import { startWorkers } from "../../../engine/train/fill_in_workers.ts";
import type { TensorToFill } from "../../../engine/train/fill_values.ts";
import {
  beginInitialValues,
  type FillSettings,
  initialValues,
} from "../../../engine/train/initial_values.ts";
import { keyedRandom } from "../../../engine/train/random.ts";

const SEED = 5;
const SECTION = 7;

/** Sizes around a section's, and more tensors than workers. */
const TENSORS: TensorToFill[] = [
  ...[1, 6, 7, 8, 14, 50].map((elementCount): TensorToFill => ({
    name: `normal ${elementCount}`,
    init: { kind: "normal", standardDeviation: 0.02 },
    elementCount,
  })),
  { name: "uniform", init: { kind: "uniform", bound: 0.5 }, elementCount: 15 },
  { name: "constant", init: { kind: "constant", value: 1 }, elementCount: 9 },
  { name: "empty", init: { kind: "uniform", bound: 0.5 }, elementCount: 0 },
];

/** Values by tensor; sections may come in any order, each once. */
async function valuesOf(settings: FillSettings): Promise<Record<string, number[]>> {
  const values: Record<string, number[]> = Object.fromEntries(TENSORS.map(({ name }) => [name, []]));
  for await (const section of initialValues(TENSORS, SEED, { sectionElements: SECTION, ...settings })) {
    const of = values[section.tensor.name];
    assert.ok(section.values.length <= SECTION);
    section.values.forEach((value, i) => {
      assert.ok(!(section.firstElement + i in of), "an element is given twice");
      of[section.firstElement + i] = value;
    });
  }
  return values;
}

/** The same, drawn one by one. */
function drawn({ name, init, elementCount }: TensorToFill): number[] {
  let random = keyedRandom(SEED, name);
  const draw = () => {
    if (init.kind === "constant") return init.value;
    return init.kind === "normal"
      ? random.normal() * init.standardDeviation
      : (random.uniform() * 2 - 1) * init.bound;
  };
  return [...Float32Array.from({ length: elementCount }, (_, i) => {
    if (i > 0 && i % SECTION === 0) random = keyedRandom(SEED, `${name}, section ${i / SECTION}`);
    return draw();
  })];
}

const EXPECTED = Object.fromEntries(TENSORS.map((tensor) => [tensor.name, drawn(tensor)]));

Deno.test("initialValues() gives each section of a tensor the numbers of its own stream", async () => {
  assert.deepEqual(await valuesOf({}), EXPECTED);
});

Deno.test("the first values of a tensor are the same everywhere: these numbers must never change", async () => {
  const tensor: TensorToFill = {
    name: "wte",
    init: { kind: "normal", standardDeviation: 1 },
    elementCount: 2 ** 20 + 1,
  };
  const ends = [];
  for await (const { firstElement, values } of initialValues([tensor], 42)) {
    ends.push([firstElement, values[0]]);
  }
  assert.deepEqual(ends, [[0, Math.fround(keyedRandom(42, "wte").normal())], [
    2 ** 20,
    Math.fround(keyedRandom(42, "wte, section 1").normal()),
  ]]);
});

/** Runs `body`. @returns How many workers it started; all must have ended. */
async function workersOf(body: () => Promise<unknown>): Promise<number> {
  const { Worker } = globalThis;
  const started = new Set<Worker>(), ended = new Set<Worker>();
  globalThis.Worker = class extends Worker {
    constructor(...args: ConstructorParameters<typeof Worker>) {
      super(...args);
      started.add(this);
    }
    override terminate() {
      super.terminate();
      ended.add(this);
    }
  };
  try {
    await body();
  } finally {
    globalThis.Worker = Worker;
  }
  assert.deepEqual(ended, started);
  return started.size;
}

Deno.test("initialValues() gives the same bits with workers, and ends them", async () => {
  for (const mostWorkers of [2, 3]) {
    const count = await workersOf(async () =>
      assert.deepEqual(await valuesOf({ elementsPerWorker: 1, mostWorkers }), EXPECTED)
    );
    assert.equal(count, mostWorkers);
  }
});

Deno.test("beginInitialValues() gives the same bits, and ends its workers whether they are taken or not", async () => {
  const settings = { sectionElements: SECTION, elementsPerWorker: 1, mostWorkers: 2 };
  const values: Record<string, number[]> = Object.fromEntries(TENSORS.map(({ name }) => [name, []]));
  const count = await workersOf(async () => {
    const ahead = beginInitialValues(TENSORS, SEED, settings);
    for await (const { tensor, firstElement, values: part } of ahead) {
      part.forEach((value, i) => values[tensor.name][firstElement + i] = value);
    }
    await ahead.end();
  });
  assert.deepEqual(values, EXPECTED);
  assert.equal(count, 2);
  assert.equal(await workersOf(() => beginInitialValues(TENSORS, SEED, settings).end()), 2);
});

Deno.test("initialValues() starts workers for many random elements only, and never a single one", async () => {
  const settings = { elementsPerWorker: 50, mostWorkers: 4 }; // 101 random elements
  assert.equal(await workersOf(() => valuesOf(settings)), 2);
  assert.equal(await workersOf(() => valuesOf({ ...settings, elementsPerWorker: 51 })), 0);
  assert.equal(await workersOf(() => valuesOf({ ...settings, mostWorkers: 1 })), 0);
  assert.equal(await workersOf(() => valuesOf({})), 0);
});

Deno.test("workers end when sections are no longer asked for", async () => {
  const sections = initialValues(TENSORS, SEED, {
    sectionElements: SECTION,
    elementsPerWorker: 1,
    mostWorkers: 2,
  });
  const upload = async () => {
    for await (const _ of sections) throw new Error("Cannot upload");
  };
  assert.equal(await workersOf(() => assert.rejects(upload, /Cannot upload/)), 2);
});

// Deno prints the error of the worker, too.
Deno.test("initialValues() fails where a worker fails, and ends all of them", async () => {
  const sections = initialValues(TENSORS, 0.5, { elementsPerWorker: 1, mostWorkers: 2 });
  const failed = () => assert.rejects(() => sections.next(), /a worker failed, .*Cannot use the seed 0.5/);
  assert.equal(await workersOf(failed), 2);
});

Deno.test({
  name: "initialValues() makes all values itself where workers may not start",
  permissions: { read: false },
  fn: async () => {
    assert.equal(await startWorkers(2), null);
    assert.deepEqual(await valuesOf({ elementsPerWorker: 1, mostWorkers: 2 }), EXPECTED);
  },
});
