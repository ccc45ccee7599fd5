// What is read of a cell's memory, and when: with a reader that knows what the process has said so far.
import assert from "node:assert/strict";
import { expandPhase, NOTHING_KNOWN } from "../../../suites/matrix.ts";
import { type CellContext, measureCell } from "../../../suites/measure_cell.ts";
import { fakeEngine } from "./fake_engine.ts";

type Phase = Parameters<typeof expandPhase>[0];

/** A cell of the fake trainer, and the reader's bytes by what the process said last. */
async function measured(memory: CellContext["memory"]) {
  const phase = {
    ...{ name: "one", kind: "matrix", repeats: 1 },
    ...{ defaults: { model: "fake", data: "words", steps: 4 }, timing: { warmupSteps: 0 } },
    ...{ timeoutSeconds: 60, divergenceFactor: 2, path: ["phases", 0] },
  } as unknown as Phase;
  const [cell] = expandPhase(phase, NOTHING_KNOWN);
  const plan = await fakeEngine.planTraining(cell.config);
  const said: string[] = [];
  const record = await measureCell(cell, plan, {
    script: new URL("fake_measure.ts", import.meta.url),
    environment: { gpuProvider: "wgpu" } as CellContext["environment"],
    memory: typeof memory === "object" && "bytesUsed" in memory
      ? { ...memory, bytesUsed: () => Promise.resolve(BYTES[said.at(-1) ?? ""] ?? null) }
      : memory,
    baselineBytes: 1,
    signal: new AbortController().signal,
    profile: false,
    start: null,
    save: null,
    command: null,
    onMessage: ({ type }) => said.push(type),
  });
  assert.equal(record?.status, "ok", record?.reason ?? "");
  return { memory: record!.memory!, said };
}

const BYTES: Readonly<Record<string, number>> = {
  device: 1000,
  compiled: 1250,
  phase: 1900,
  step: 1900,
  result: 1900,
};

Deno.test("a driver is asked when the device is empty, and again when the kernels are compiled", async () => {
  const { memory, said } = await measured({ how: "test", bytesUsed: () => Promise.resolve(null) });
  assert.deepEqual(said.slice(0, 3), ["device", "compiled", "phase"]);
  assert.equal(memory.observedBaselineBytes, 1000);
  assert.equal(memory.observedKernelBytes, 250);
});

Deno.test("of a software adapter the process says what it held when the kernels were compiled", async () => {
  const { memory } = await measured("process");
  const isKnown = Deno.build.os === "linux";
  assert.equal(memory.observedKernelBytes !== null, isKnown);
  if (isKnown) assert.ok(memory.observedKernelBytes! <= memory.observedPeakBytes!);
});

Deno.test("where nothing can be observed there are no parts", async () => {
  const { memory } = await measured({ reason: "no source" });
  assert.deepEqual([memory.observedPeakBytes, memory.observedKernelBytes], [null, null]);
});
