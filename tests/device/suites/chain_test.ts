// A chain of the real engine: real processes, real weights on disk.
import assert from "node:assert/strict";
import { join } from "node:path";
import type { CellRecord, RunRecord } from "../../../results/record.ts";
import { engine } from "../../../suites/engine.ts";
import { main } from "../../../suites/cli/main.ts";

const SUITE = `title: a tiny chain
defaults:
  model: gpt2-nano
  data: moby-dick
  tokenizer: bytes
  heldOutFraction: 0.02
  heldOutWindows: 4
  evaluateEvery: 4
  sequenceLength: 32
  effectiveBatchSize: 4
  steps: 4
phases:
  - { name: base, kind: matrix, seeds: [1], cells: [{ label: base }] }
  - name: fine-tuning
    kind: matrix
    seeds: [1]
    defaults: { startFrom: { phase: base, label: base }, data: sotu, alsoEvaluate: [moby-dick] }
    cells:
      - { label: full }
      - { label: QLoRA, methods: [qlora-int8] }
  - { name: large, kind: plan, defaults: { model: bert-large }, cells: [{ label: planned }] }
`;

Deno.test("a chain starts from saved weights, sees what is forgotten, and plans models that it could not train", async () => {
  const folder = await Deno.makeTempDir({ prefix: "threefold-" });
  try {
    const suite = join(folder, "chain.yaml");
    const out = join(folder, "out");
    await Deno.writeTextFile(suite, SUITE);
    const said: string[] = [];
    const services = {
      engine,
      measureScript: new URL("../../../suites/measure.ts", import.meta.url),
      writeReport: () => Promise.resolve(),
      compareRuns: () => Promise.resolve({ failed: false, failures: [] }),
      progress: {
        terminal: false,
        columns: 80,
        colour: false,
        writeLine: (text: string) => said.push(text),
        now: Date.now,
      },
      print: (text: string) => said.push(text),
      write: (text: string) => said.push(text),
      note: (text: string) => said.push(text),
    };
    const code = await main(["bench", suite, "--out", out, "--keep-models"], services);
    assert.equal(code, 0, said.join("\n"));
    const run: RunRecord = JSON.parse(await Deno.readTextFile(join(out, "run.json")));
    const read = async ({ id }: { id: string }): Promise<CellRecord> =>
      JSON.parse(await Deno.readTextFile(join(out, "cells", `${id}.json`)));
    const [base, full, qlora, planned] = await Promise.all(run.cells.map(read));
    for (const cell of [base, full, qlora, planned]) {
      assert.equal(cell.status, "ok", `${cell.label}: ${cell.reason}`);
    }
    assert.ok(base.heldOut.at(-1)!.loss < base.heldOut[0].loss, "the base model learns");
    for (const cell of [full, qlora]) {
      const [{ data, points }] = cell.heldOutElsewhere;
      assert.equal(data, "moby-dick");
      assert.equal(points.length, cell.heldOut.length);
      assert.equal(cell.memory!.bookedPeakBytes, cell.memory!.plannedPeakBytes);
    }
    // Full fine-tuning starts where the base model ended, to the last bit;
    // adapters over an int8 base close by.
    assert.equal(full.heldOutElsewhere[0].points[0].loss, base.heldOut.at(-1)!.loss);
    assert.ok(Math.abs(qlora.heldOutElsewhere[0].points[0].loss - base.heldOut.at(-1)!.loss) < 0.05);
    const adapter = await Deno.stat(join(out, "models", qlora.id, "adapter_model.safetensors"));
    assert.equal(qlora.adapterBytes, adapter.size);
    assert.equal(full.adapterBytes, null);
    assert.equal(planned.kind, "planned");
    assert.ok(planned.memory!.plannedPeakBytes > 4 * 335e6);
    assert.ok(planned.memory!.timeline.length > 10);
    assert.ok(run.roofline!.matmulFlopsPerSecond.f32 > 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
