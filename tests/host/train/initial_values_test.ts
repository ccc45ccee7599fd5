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
const CHUNK = 7;

/** Sizes around a chunk's, and more tensors than workers. */
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

/** Values by tensor; chunks of each must come in order. */
async function valuesOf(settings: FillSettings): Promise<Record<string, number[]>> {
  const values: Record<string, number[]> = Object.fromEntries(TENSORS.map(({ name }) => [name, []]));
  for await (const chunk of initialValues(TENSORS, SEED, { chunkElements: CHUNK, ...settings })) {
    const before = values[chunk.tensor.name];
    assert.equal(chunk.firstElement, before.length, chunk.tensor.name);
    assert.ok(chunk.values.length <= CHUNK);
    before.push(...chunk.values);
  }
  return values;
}

/** The same, drawn one by one. */
function drawn({ name, init, elementCount }: TensorToFill): number[] {
  const random = keyedRandom(SEED, name);
  const draw = () => {
    if (init.kind === "constant") return init.value;
    return init.kind === "normal"
      ? random.normal() * init.standardDeviation
      : (random.uniform() * 2 - 1) * init.bound;
  };
  return [...Float32Array.from({ length: elementCount }, draw)];
}

const EXPECTED = Object.fromEntries(TENSORS.map((tensor) => [tensor.name, drawn(tensor)]));

Deno.test("initialValues() gives each tensor the numbers of its own stream, across chunks", async () => {
  assert.deepEqual(await valuesOf({}), EXPECTED);
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
  const settings = { chunkElements: CHUNK, elementsPerWorker: 1, mostWorkers: 2 };
  const values: Record<string, number[]> = Object.fromEntries(TENSORS.map(({ name }) => [name, []]));
  const count = await workersOf(async () => {
    const ahead = beginInitialValues(TENSORS, SEED, settings);
    for await (const chunk of ahead) values[chunk.tensor.name].push(...chunk.values);
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

Deno.test("workers end when chunks are no longer asked for", async () => {
  const chunks = initialValues(TENSORS, SEED, { chunkElements: CHUNK, elementsPerWorker: 1, mostWorkers: 2 });
  const upload = async () => {
    for await (const _ of chunks) throw new Error("Cannot upload");
  };
  assert.equal(await workersOf(() => assert.rejects(upload, /Cannot upload/)), 2);
});

// Deno prints the error of the worker, too.
Deno.test("initialValues() fails where a worker fails, and ends all of them", async () => {
  const chunks = initialValues(TENSORS, 0.5, { elementsPerWorker: 1, mostWorkers: 2 });
  const failed = () => assert.rejects(() => chunks.next(), /a worker failed, .*Cannot use the seed 0.5/);
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
