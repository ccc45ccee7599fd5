import assert from "node:assert/strict";
import type { Gpu } from "../../../engine/runtime/device.ts";
import { FastReadback } from "../../../engine/runtime/readback.ts";

const WORK_MS = 60;

/** A GPU whose promises have to be awaited; of each step, how long after its submit `mapAsync` was called, and how long it took, ms. */
function awaitedGpu() {
  let submitted = 0, work = WORK_MS, mapCalled = 0;
  const staging = {
    async mapAsync() {
      mapCalled = performance.now() - submitted;
      if (mapCalled < work) await new Promise((resolve) => setTimeout(resolve, work - mapCalled));
    },
    getMappedRange: (_: number, size: number) => new ArrayBuffer(size),
    unmap() {},
  };
  const gpu = { provider: { callsWaitForQueue: false }, failure: { error: null } };
  const readback = new FastReadback(gpu as unknown as Gpu, staging as unknown as GPUBuffer);
  const step = async (workMs = WORK_MS) => {
    work = workMs;
    submitted = performance.now();
    assert.equal((await readback.read(4)).byteLength, 4);
    return { mapCalled, took: performance.now() - submitted };
  };
  return { readback, step };
}

Deno.test("where promises are awaited, a read sleeps for most of what the last two took before it maps", async () => {
  const { readback, step } = awaitedGpu();
  await readback.prime();
  for (const nothingToGoBy of [1, 2]) {
    const { mapCalled } = await step();
    assert.ok(mapCalled < WORK_MS / 2, `read ${nothingToGoBy} maps at once, not after ${mapCalled} ms`);
  }
  for (const next of [3, 4]) {
    const { mapCalled } = await step();
    assert.ok(mapCalled > WORK_MS / 2, `read ${next} mapped after ${mapCalled} ms`);
  }
});

Deno.test("a first step that compiles, and steps that become shorter, keep reads waiting once at most", async () => {
  const { readback, step } = awaitedGpu();
  await readback.prime();
  await step(40 * WORK_MS);
  for (const next of [2, 3]) {
    const { took } = await step();
    assert.ok(took < 10 * WORK_MS, `read ${next} took ${took} ms after a first one of ${40 * WORK_MS}`);
  }
  const short = WORK_MS / 6;
  await step(short);
  for (const next of [5, 6, 7]) {
    const { took } = await step(short);
    assert.ok(took < 0.8 * WORK_MS, `read ${next} took ${took} ms for work of ${short}`);
  }
});
