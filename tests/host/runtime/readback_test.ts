import assert from "node:assert/strict";
import type { Gpu } from "../../../engine/runtime/device.ts";
import { FastReadback } from "../../../engine/runtime/readback.ts";

const WORK_MS = 60;

/** A GPU whose promises have to be awaited, and what was waited for before each `mapAsync`, ms. */
function awaitedGpu() {
  const delays: number[] = [];
  let submitted = 0;
  const staging = {
    async mapAsync() {
      const delay = performance.now() - submitted;
      delays.push(delay);
      await new Promise((resolve) => setTimeout(resolve, WORK_MS - delay));
    },
    getMappedRange: (_: number, size: number) => new ArrayBuffer(size),
    unmap() {},
  };
  const gpu = { provider: { callsWaitForQueue: false }, failure: { error: null } };
  const readback = new FastReadback(gpu as unknown as Gpu, staging as unknown as GPUBuffer);
  const step = () => {
    submitted = performance.now();
    return readback.read(4);
  };
  return { delays, readback, step };
}

Deno.test("where promises are awaited, a read sleeps for most of what the last took before it maps", async () => {
  const { delays, readback, step } = awaitedGpu();
  await readback.prime();
  for (let i = 0; i < 3; i++) assert.equal((await step()).byteLength, 4);
  const [, first, second, third] = delays;
  assert.ok(
    first < WORK_MS / 2,
    `the first read has nothing to go by and maps at once, not after ${first} ms`,
  );
  assert.ok(second > WORK_MS / 2 && third > WORK_MS / 2, `the others mapped after ${second} and ${third} ms`);
});
