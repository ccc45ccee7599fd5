import assert from "node:assert/strict";
import type { CellRecord, RunConfig } from "../../../results/record.ts";
import { decideLossMargin } from "../../../suites/loss_margin.ts";
import { resolveSettings } from "../../../suites/resolve_settings.ts";

/** A run whose loss falls by `perLog` nats while its tokens grow e-fold. */
function falling(perLog: number, { points = 9, ...settings }: Partial<RunConfig> & { points?: number } = {}) {
  const config = resolveSettings({
    model: "gpt2-nano",
    data: "moby-dick",
    effectiveBatchSize: 4,
    learningRate: 0.001,
    ...settings,
  });
  const heldOut = Array.from({ length: points }, (_, i) => {
    const tokens = 8000 * (i + 1) / points;
    return { step: i, tokens, loss: 9 - perLog * Math.log(tokens) };
  });
  const id = `${config.seed}`.padStart(12, "0");
  return { id, status: "ok", config, heldOut } as unknown as CellRecord;
}

Deno.test("the margin of loss is what two per cent more tokens buy at the end of the baseline's curve", () => {
  // Between two points the curve is read as straight, which is what the tolerance is for.
  const decision = decideLossMargin(
    [falling(1, { points: 801 }), falling(3, { seed: 2, points: 801 })],
    0.001,
  )!;
  assert.equal(decision.name, "lossMargin/gpt2-nano");
  assert.ok(Math.abs(decision.value as number - 2 * Math.log(1.02)) < 1e-6, `${decision.value}`);
  assert.deepEqual(Object.keys(decision.figures), ["seed 0", "seed 2"]);
  assert.equal(decision.inputs.length, 2);
});

Deno.test("the margin of loss is never below its floor, at the edge", () => {
  const edge = 0.01 / Math.log(1.02);
  const value = (perLog: number) =>
    decideLossMargin([falling(perLog, { points: 801 })], 0.001)!.value as number;
  assert.equal(value(edge * 0.999), 0.01);
  assert.equal(value(-1), 0.01, "a loss that rises");
  assert.ok(value(edge * 1.001) > 0.01);
});

Deno.test("the margin of loss comes from baselines at the rate decided, with losses on the way", () => {
  assert.equal(decideLossMargin([falling(1)], 0.002), null);
  assert.equal(decideLossMargin([falling(1, { methods: ["fp16"] })], 0.001), null);
  assert.equal(decideLossMargin([falling(1, { points: 2 })], 0.001), null);
  assert.equal(decideLossMargin([{ ...falling(1), status: "diverged" }], 0.001), null);
  assert.notEqual(decideLossMargin([falling(1, { points: 3 })], 0.001), null);
});

Deno.test("the end of the curve is its last quarter of tokens, whatever came before or within", () => {
  const cell = falling(1);
  const points: [tokens: number, loss: number][] = [[0, 9], [5000, 5], [6000, 4], [7000, 3.5], [8000, 3.4]];
  cell.heldOut = points.map(([tokens, loss], step) => ({ step, tokens, loss }));
  const expected = 0.6 / -Math.log(0.75) * Math.log(1.02);
  const value = decideLossMargin([cell], 0.001)!.value as number;
  assert.ok(Math.abs(value - expected) < 1e-12, `${value}, expected ${expected}`);
});
