// What JavaScript costs a training step: deno run -A tests/bench/host_time.ts [SHAPE] [STEPS]
import { train } from "../../mod.ts";
import { trainOptions } from "./peers/engine_peer.ts";
import { SHAPES, writeJob } from "./peers/job.ts";
import { writeWeights } from "./peers/peer_process.ts";
import { tuneLavapipe } from "../../engine/runtime/lavapipe/environment.ts";

tuneLavapipe();

const shape = SHAPES[Deno.args[0] ?? "S"];
const steps = Number(Deno.args[1] ?? 30);
if (!shape || !(Number.isInteger(steps) && steps > 4)) {
  console.error(`Usage: deno run -A tests/bench/host_time.ts [${Object.keys(SHAPES).join("|")}] [STEPS > 4]`);
  Deno.exit(2);
}

/**
 * Times of a step: the device has nothing to do, JavaScript works while it computes, JavaScript waits for it.
 */
const idle: number[] = [];
const beside: number[] = [];
const waiting: number[] = [];
let since: number | undefined;

const { submit } = GPUQueue.prototype;
GPUQueue.prototype.submit = function (commands) {
  const result = submit.call(this, commands);
  const now = performance.now();
  if (since !== undefined) idle.push(now - since);
  since = now;
  return result;
};
const { mapAsync } = GPUBuffer.prototype;
GPUBuffer.prototype.mapAsync = function (...args) {
  const called = performance.now();
  // In Deno the call itself waits until the queue is idle.
  const mapped = mapAsync.apply(this, args);
  const now = performance.now();
  if (since !== undefined) {
    beside.push(called - since);
    waiting.push(now - called);
  }
  since = now;
  return mapped;
};

const folder = await Deno.makeTempDir();
try {
  const job = await writeJob(folder, shape, steps);
  await writeWeights(job);
  await train({ ...trainOptions(job), steps }, {
    // The first steps compile; nothing before a step counts to the one before it.
    onStep: ({ step }) => {
      if (step === 2) [idle, beside, waiting].forEach((times) => times.length = 0);
    },
  });
} finally {
  await Deno.remove(folder, { recursive: true });
}
const median = (times: number[]) => times.toSorted((a, b) => a - b)[times.length >> 1].toFixed(2);
console.log(`Medians of ${waiting.length} steps, ms:`);
console.log(`  ${median(idle)} of JavaScript between the end of a step and the submit of the next`);
console.log(`  ${median(beside)} of JavaScript beside the device: the commands of the next step`);
console.log(`  ${median(waiting)} of waiting for the device`);
