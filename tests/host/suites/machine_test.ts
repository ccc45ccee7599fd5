import assert from "node:assert/strict";
import type { AdapterDescription } from "../../../suites/engine.ts";
import { environmentOf } from "../../../suites/environment.ts";
import { divergence } from "../../../suites/measure.ts";
import {
  MemoryPoller,
  memorySource,
  observation,
  parseProcessBytes,
  peakResidentBytes,
  ProcessPeak,
  residentBytes,
} from "../../../suites/observed_memory.ts";
import { chooseTier } from "../../../suites/tiers.ts";

const GIB = 2 ** 30;
const ADAPTER: AdapterDescription = {
  name: "some adapter",
  provider: "wgpu",
  providerVersion: "",
  vendor: "nobody",
  architecture: "",
  driver: null,
  software: false,
  features: [],
  limits: {},
  subgroupSize: 0,
  threads: null,
  vectorWidth: null,
};

Deno.test("chooseTier() goes by what is known of the adapter, and says what that was", () => {
  const facts = {
    adapterName: "A",
    software: false,
    deviceMemoryBytes: null,
    maxBufferSize: 2 * GIB,
    memoryBytes: 16 * GIB,
    cgroupLimitBytes: null,
  };
  const software = chooseTier({ ...facts, software: true });
  assert.equal(software.tier, "software");
  assert.equal(software.memoryBudgetBytes, 8 * GIB);
  assert.match(software.reason, /A runs on the CPU/);
  const limited = chooseTier({ ...facts, software: true, cgroupLimitBytes: 2 * GIB });
  assert.equal(limited.memoryBudgetBytes, GIB);
  assert.equal(limited.reason, "A runs on the CPU, where its cgroup may use 2.00 GiB of memory");
  for (const cgroupLimitBytes of [64 * GIB, 16 * GIB]) {
    const wide = chooseTier({ ...facts, software: true, cgroupLimitBytes });
    assert.deepEqual(wide, software, "a limit that is not below what there is limits nothing");
  }
  const large = chooseTier({ ...facts, deviceMemoryBytes: 80 * GIB });
  assert.deepEqual([large.tier, large.memoryBudgetBytes], ["gpu-large", 72 * GIB]);
  assert.match(large.reason, /80\.0 GiB of memory, at least 40\.0 GiB/);
  assert.equal(chooseTier({ ...facts, deviceMemoryBytes: 8 * GIB }).tier, "gpu-small");
  const bytes = [40 * GIB, 40 * GIB - 1];
  const tiers = ["gpu-large", "gpu-small"];
  assert.deepEqual(bytes.map((deviceMemoryBytes) => chooseTier({ ...facts, deviceMemoryBytes }).tier), tiers);
  assert.deepEqual(bytes.map((maxBufferSize) => chooseTier({ ...facts, maxBufferSize }).tier), tiers);
  const unknown = chooseTier(facts);
  assert.deepEqual([unknown.tier, unknown.memoryBudgetBytes], ["gpu-small", null]);
  assert.match(unknown.reason, /does not tell its memory; its largest buffer is 2\.00 GiB/);
});

Deno.test("parseProcessBytes() finds the process in nvidia-smi's rows", () => {
  const rows = "1234, 512\n99, 100\n1234, 8\n77, [N/A]";
  assert.equal(parseProcessBytes(rows, 1234), 520 * 2 ** 20);
  assert.equal(parseProcessBytes(rows, 77), null);
  assert.equal(parseProcessBytes(rows, 5), null);
  assert.equal(parseProcessBytes("", 5), null);
});

Deno.test("observation() is the peak and the kernels less the baseline, or null with the reason", () => {
  const of = (peak: number | null, compiled: number | null) =>
    observation({ peak, baseline: 30, compiled }, "x");
  assert.deepEqual(of(100, 45), { peakBytes: 70, baselineBytes: 30, kernelBytes: 15, how: "x" });
  assert.deepEqual([of(20, 25).peakBytes, of(20, 25).kernelBytes], [0, 0]);
  assert.equal(of(100, null).kernelBytes, null);
  const nothing = { peakBytes: null, baselineBytes: 30, kernelBytes: null, how: "x: no reading" };
  assert.deepEqual(of(null, 45), nothing);
});

Deno.test("MemoryPoller keeps the highest reading above the one taken at the start", async () => {
  const readings = [100, 150, 400, null, 120];
  let calls = 0;
  const poller = new MemoryPoller({
    how: "test",
    bytesUsed: () => Promise.resolve(readings[Math.min(calls++, 4)]),
  }, 1);
  await poller.begin();
  await poller.compiled();
  while (calls < 5) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(await poller.end(), {
    peakBytes: 300,
    baselineBytes: 100,
    kernelBytes: 300,
    how: "test",
  });
});

Deno.test("a software adapter's memory is the process's; an unknown one's is null with the reason", async () => {
  if (Deno.build.os === "linux") assert.equal(await memorySource({ ...ADAPTER, software: true }), "process");
  const source = await memorySource({ ...ADAPTER, name: "NVIDIA something", vendor: "nvidia" });
  // Where nvidia-smi is not installed, as on most test machines, the reason must say so.
  if (typeof source === "object" && "reason" in source) {
    assert.match(source.reason, /nvidia-smi does not answer/);
  }
});

Deno.test({
  name: "the peak resident size rises with memory that is used, and never falls",
  ignore: Deno.build.os !== "linux",
  fn() {
    const before = peakResidentBytes()!;
    const block = new Uint8Array(64 * 2 ** 20).fill(1);
    const during = peakResidentBytes()!;
    assert.ok(block[12345] === 1 && during >= residentBytes()! * 0.99);
    assert.ok(during - before >= 0 && during >= 64 * 2 ** 20);
  },
});

Deno.test("ProcessPeak is the peak of the first steps, however many there are", () => {
  let system: number | null = 100;
  const peak = new ProcessPeak(() => system);
  assert.equal(peak.bytes, 100, "without a step, all there was");
  for (let step = 1; step < 20; step++) peak.step();
  system = 200;
  assert.equal(peak.bytes, 200, "a shorter run: to its end");
  peak.step();
  system = 300;
  assert.equal(peak.bytes, 200);
  peak.step();
  assert.equal(peak.bytes, 200, "the step after the last that counts");
  system = null;
  const unknown = new ProcessPeak(() => system);
  for (let step = 0; step <= 20; step++) unknown.step();
  assert.equal(unknown.bytes, null);
});

Deno.test("divergence() finds a loss that is not a number, and a mean far above the first", () => {
  assert.equal(divergence([], 1.5), null);
  assert.equal(divergence([3, 2, 1], 1.5), null);
  assert.equal(divergence([3, 2, NaN], 1.5), "loss NaN at step 2");
  assert.equal(divergence([3, Infinity], 1.5), "loss Infinity at step 1");
  assert.equal(divergence([3, ...Array(9).fill(9)], 1.5), null, "nine steps are too few to tell");
  assert.match(
    divergence([3, ...Array(10).fill(9)], 1.5)!,
    /mean loss 9\.000 over the last 10 steps, above 1\.5 times the first, 3\.000/,
  );
  assert.equal(divergence([3, ...Array(10).fill(4.5)], 1.5), null, "at the factor, not above it");
});

Deno.test("environmentOf() says what the machine is", async () => {
  const environment = await environmentOf({ ...ADAPTER, name: "A" });
  assert.equal(environment.adapter, "A");
  assert.equal(environment.deno, Deno.version.deno);
  assert.ok(environment.memoryBytes > 2 ** 28 && environment.cpuCount >= 1);
  assert.match(environment.threefold, /^\d+\.\d+\.\d+/);
  assert.equal(environment.key, "A");
  assert.deepEqual(environment.card, { pciAddress: null, uuid: null });
  assert.equal(environment.commit === null, environment.tree === null);
  assert.ok(environment.commit === null || /^[0-9a-f]{40}\+?$/.test(environment.commit));
});
