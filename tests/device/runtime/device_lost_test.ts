import assert from "node:assert/strict";
import { join } from "node:path";
import { openGpu } from "../../../engine/runtime/device.ts";
import type { Gpu } from "../../../engine/runtime/gpu.ts";
import { PipelineCache } from "../../../engine/runtime/pipelines.ts";
import { idleAt, readBuffer, waitForQueue } from "../../../engine/runtime/readback.ts";
import { submitAndTime } from "../../../engine/runtime/timing.ts";
import { trainOn } from "../../../engine/train/train.ts";
import type { RunConfig } from "../../../results/record.ts";
import { engine } from "../../../suites/engine.ts";
import { measure } from "../../../suites/measure.ts";
import type { Message } from "../../../suites/protocol.ts";
import { tinyOptions } from "../../support/tiny_options.ts";
import { deviceTest } from "../../support/with_device.ts";

const TEXT = join(import.meta.dirname!, "../../../README.md");
/** Steps before the device goes away. */
const STEPS = 3;

async function withGpu(body: (gpu: Gpu) => Promise<void>): Promise<void> {
  const gpu = await openGpu({ autotune: "off" });
  try {
    await body(gpu);
  } finally {
    gpu.device.destroy();
  }
}

const options = tinyOptions({ model: "gpt2-pico", data: TEXT }, { microBatchSize: 1, steps: 20 });

Deno.test("a device that is lost amid the steps is the error of the run", deviceTest, async () => {
  await withGpu(async (gpu) => {
    let steps = 0;
    await assert.rejects(
      trainOn({ gpu, pipelines: new PipelineCache(gpu) }, options, {
        onStep: () => ++steps === STEPS && gpu.device.destroy(),
      }),
      { name: "DeviceLostError", message: /^The device was lost: / },
    );
    assert.equal(steps, STEPS);
  });
});

Deno.test("a cell whose device is lost amid the steps ends as device-lost", deviceTest, async () => {
  await withGpu(async (gpu) => {
    const messages: Message[] = [];
    await measure(
      {
        ...engine,
        train: (config, listener, extras) =>
          trainOn({ gpu, pipelines: new PipelineCache(gpu) }, config, listener, extras),
      },
      {
        kind: "train",
        config: { ...options, alsoEvaluate: [] } as unknown as RunConfig,
        start: null,
        save: null,
        divergenceFactor: 10,
        profile: false,
      },
      (message) => {
        messages.push(message);
        if (messages.filter(({ type }) => type === "step").length === STEPS) gpu.device.destroy();
      },
      () => Promise.resolve(),
    );
    assert.equal(messages.filter(({ type }) => type === "step").length, STEPS);
    const last = messages.at(-1)!;
    assert.ok(last.type === "failure", last.type);
    assert.deepEqual([last.status, last.correctable], ["device-lost", false]);
  });
});

Deno.test("every wait for a lost device says so", deviceTest, async () => {
  const waits: Record<string, (gpu: Gpu) => Promise<unknown>> = {
    waitForQueue,
    idleAt,
    readBuffer: (gpu) => {
      const buffer = gpu.device.createBuffer({ size: 4, usage: GPUBufferUsage.COPY_SRC });
      return readBuffer(gpu, buffer, 0, 4);
    },
    submitAndTime: (gpu) => submitAndTime(gpu, gpu.device.createCommandEncoder().finish()),
  };
  for (const [name, wait] of Object.entries(waits)) {
    await withGpu(async (gpu) => {
      await wait(gpu);
      gpu.device.destroy();
      // As `Upkeep` does it in loops of steps: nothing is heard of a device before.
      await new Promise((resolve) => setTimeout(resolve, 0));
      await assert.rejects(() => wait(gpu), { name: "DeviceLostError" }, name);
    });
  }
});
