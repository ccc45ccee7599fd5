import assert from "node:assert/strict";
import { claimVerdicts } from "../../../report/claims.ts";
import { analyse } from "../../../report/derive.ts";
import type { CellRecord } from "../../../results/record.ts";
import { asLoaded } from "./support.ts";
import { syntheticRun } from "./synthetic_run.ts";

/** Verdicts on a synthetic ladder whose cells have been changed. */
function verdicts(change: (cell: CellRecord) => void = () => {}) {
  const { run, cells } = syntheticRun({ ladder: true, batches: [4], seeds: [1, 2], tokens: 2048 });
  cells.forEach(change);
  return new Map(claimVerdicts(analyse(asLoaded({ run, cells }))).map((verdict) => [verdict.id, verdict]));
}

const isFullStack = ({ config }: CellRecord) =>
  config.methods.includes("checkpoint") && config.methods.includes("fp16") && config.optimizer !== "adamw";

Deno.test("claimVerdicts() says something of each of the fifteen claims, with its rule", () => {
  const all = [...verdicts().values()];
  assert.deepEqual(all.map(({ id }) => id), Array.from({ length: 15 }, (_, i) => `C${i + 1}`));
  for (const { rule, ours, outcome, cells } of all) {
    assert.ok(rule.length > 0 && ours.length > 0);
    assert.equal(outcome === "not tested here", cells.length === 0);
  }
});

Deno.test("C1 falls with the memory ratio, and is partly kept where memory is saved but time is not", () => {
  const scaled = (factor: number, slowness = 1) =>
    verdicts((cell) => {
      if (!isFullStack(cell) || !cell.memory || !cell.samples) return;
      cell.memory.bookedPeakBytes = cell.memory.plannedPeakBytes = Math.round(1e6 * factor);
      cell.samples.ms = cell.samples.ms.map((ms) => ms * slowness);
    }).get("C1")!;
  assert.equal(scaled(1e6).outcome, "not reproduced");
  assert.notEqual(scaled(0.1).outcome, "not reproduced");
  assert.equal(scaled(0.1, 10).outcome, "partly");
});

Deno.test("C5 holds only where a skipped update halves the scale of the next step", () => {
  const scales = (lossScale: number[], skipped: number[]) =>
    verdicts((cell) => {
      if (!cell.config.methods.includes("fp16") || !cell.samples) return;
      cell.samples.lossScale = lossScale;
      cell.samples.skipped = skipped;
    }).get("C5")!.outcome;
  assert.equal(scales([8, 4, 4], [0]), "reproduced");
  assert.equal(scales([8, 8, 8], [0]), "not reproduced");
  assert.equal(scales([8, 8, 8], []), "partly");
});
