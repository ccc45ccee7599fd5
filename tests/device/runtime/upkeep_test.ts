import assert from "node:assert/strict";
import { join } from "node:path";
import { trainOn } from "../../../engine/train/train.ts";
import { residentBytes } from "../../../suites/observed_memory.ts";
import type { MemoryFigures } from "../../support/memory_probe.ts";
import { tinyOptions } from "../../support/tiny_options.ts";
import { deviceTest, sharedDevice } from "../../support/with_device.ts";

const device = await sharedDevice();
const PROJECT = join(import.meta.dirname!, "../../..");
const MODEL = "gpt2-pico";
const TEXT = join(PROJECT, "README.md");

Deno.test("timers and signals are heard while a model trains", deviceTest, async () => {
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const signals: string[] = [];
  const onSignal = () => signals.push("SIGUSR2");
  const signalled = Deno.build.os !== "windows";
  if (signalled) Deno.addSignalListener("SIGUSR2", onSignal);
  try {
    let steps = 0, first = 0;
    await trainOn(device, tinyOptions({ model: MODEL, data: TEXT }, { steps: 1_000_000 }), {
      onStep: () => {
        // What was due before the first step says nothing of the loop.
        if (steps++ === 0) {
          first = ticks;
          if (signalled) Deno.kill(Deno.pid, "SIGUSR2");
        }
      },
      shouldStop: () => steps > 2000 || steps > 0 && ticks >= first + 3 && (!signalled || signals.length > 0),
    });
    assert.ok(steps <= 2000, `${ticks - first} ticks and ${signals.length} signals in ${steps} steps`);
  } finally {
    clearInterval(timer);
    if (signalled) Deno.removeSignalListener("SIGUSR2", onSignal);
  }
});

Deno.test({
  name: "memory of the process does not grow with the number of steps on software adapters",
  ...deviceTest,
  ignore: device.gpu.kernels.kind !== "software" || residentBytes() === null,
  async fn() {
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--no-check",
        "--config",
        join(PROJECT, "deno.json"),
        join(PROJECT, "tests/support/memory_probe.ts"),
        MODEL,
        TEXT,
        "400",
      ],
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    const { earlyBytes, lateBytes }: MemoryFigures = JSON.parse(new TextDecoder().decode(stdout));
    assert.ok(earlyBytes > 2 ** 20, `${earlyBytes}`);
    // Without collections it grew by 40 % over these steps. A busy machine collects late: it may take no more
    // of the time than it does.
    assert.ok(lateBytes <= 1.15 * earlyBytes, `${lateBytes} bytes, ${earlyBytes} after 20 steps`);
  },
});

Deno.test(
  "kernels are all compiled before the device has memory of the plan, and the run waits there",
  deviceTest,
  async () => {
    const { device: gpu } = device.gpu;
    const { createBuffer, createTexture } = gpu;
    const heard: string[] = [];
    let [before, after] = [0, 0];
    let isCompiled = false;
    gpu.createBuffer = (descriptor) => {
      if (isCompiled) after += descriptor.size;
      return createBuffer.call(gpu, descriptor);
    };
    // The scratch texture of software adapters: rows of texels of 16 bytes.
    gpu.createTexture = (descriptor) => {
      const [width, height] = descriptor.size as [number, number];
      if (isCompiled) after += width * height * 16;
      return createTexture.call(gpu, descriptor);
    };
    try {
      const options = tinyOptions({ model: MODEL, data: TEXT }, { steps: 1 });
      const { plannedPeakBytes } = await trainOn(device, options, {
        onDevice: () => void heard.push("device"),
        onCompiled: async () => {
          await new Promise((resolve) => setTimeout(resolve, 20));
          before = heard.length;
          isCompiled = true;
          heard.push("compiled");
        },
        onPhase: (text) => void heard.push(text),
        onStep: () => void heard.push("step"),
      });
      const told = heard.filter((text) => !text.startsWith("compiling: ") && !text.startsWith("reading "));
      assert.deepEqual(told, ["device", "compiled", "initialising weights", "step"]);
      assert.ok(!heard.slice(before + 1).some((text) => text.startsWith("compiling: ")), heard.join("\n"));
      assert.ok(after >= plannedPeakBytes, `${after} of ${plannedPeakBytes} bytes came after`);
    } finally {
      Object.assign(gpu, { createBuffer, createTexture });
    }
  },
);
