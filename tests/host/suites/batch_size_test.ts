import assert from "node:assert/strict";
import type { CellRecord, Status } from "../../../results/record.ts";
import { decideBatchSize } from "../../../suites/batch_size.ts";
import { resolveSettings } from "../../../suites/resolve_settings.ts";

/** A record with what the rule looks at; the first step is slow, and timing leaves it out. */
function record(
  size: number,
  seed: number,
  loss: number,
  tokensPerSecond: number,
  status: Status = "ok",
): CellRecord {
  const config = resolveSettings({
    model: "gpt2-nano",
    data: "moby-dick",
    tokenizer: "bytes",
    effectiveBatchSize: size,
    seed,
  });
  const ms = (100 * 1000) / tokensPerSecond;
  return {
    id: `${size}-${seed}`,
    status,
    config,
    warmupSteps: 1,
    samples: { ms: [50 * ms, ms, ms, ms], tokens: [100, 100, 100, 100] },
    heldOut: status === "ok" ? [{ step: 0, tokens: 0, loss: 9 }, { step: 4, tokens: 400, loss }] : [],
  } as unknown as CellRecord;
}

Deno.test("the fastest batch size within the seed spread of the lowest loss is chosen", () => {
  const decision = decideBatchSize("batch-size", [
    record(1, 1, 2.00, 100),
    record(1, 2, 2.04, 100),
    record(2, 1, 2.01, 180),
    record(2, 2, 2.05, 180),
    record(4, 1, 2.50, 300),
    record(4, 2, 2.54, 300),
  ])!;
  // Two seeds 0.04 apart have a standard deviation of 0.0283 in every group, so their median too.
  assert.equal(decision.value, 2);
  assert.equal(decision.chosen, "batch 2");
  assert.ok(Math.abs(decision.figures["batch 2"].seedSpread! - 0.04 / Math.SQRT2) < 1e-12);
  assert.ok(
    Math.abs(decision.figures["batch 2"].tokensPerSecond! - 180) < 1e-9,
    "the warm-up step is left out",
  );
  assert.equal(decision.inputs.length, 6);
  assert.match(decision.rule, /highest median tokens per second/);
  assert.match(decision.reason, /batch 2 is the fastest of the 2 that learn equally well, 180 tokens\/s/);
});

Deno.test("a faster batch size that learns worse than the spread is passed over", () => {
  const decision = decideBatchSize("p", [
    record(1, 1, 2, 100),
    record(1, 2, 2.001, 100),
    record(8, 1, 2.1, 900),
    record(8, 2, 2.1, 900),
  ])!;
  assert.equal(decision.value, 1);
  assert.match(decision.reason, /lowest held-out loss .* no other of them comes within the seed spread/);
});

Deno.test("one spread above the lowest loss is as good, two are not, at the edge", () => {
  // Two seeds a twentieth either way of their mean have a standard deviation of 0.05 · √2 in every group.
  const spread = 0.05 * Math.SQRT2;
  const chosen = (above: number) =>
    decideBatchSize("p", [
      record(1, 1, 1.95, 100),
      record(1, 2, 2.05, 100),
      record(8, 1, 1.95 + above, 900),
      record(8, 2, 2.05 + above, 900),
    ])!.value;
  assert.deepEqual([chosen(spread * 0.999), chosen(spread * 1.001)], [8, 1]);
});

Deno.test("of equal speed, and of equal loss, the smaller batch size is chosen", () => {
  const two = (rate: number) => [record(1, 1, 2, 100), record(8, 1, 2, rate)];
  assert.deepEqual([100, 100.1].map((rate) => decideBatchSize("p", two(rate))!.value), [1, 8]);
  assert.match(decideBatchSize("p", two(100))!.reason, /batch 1 is the fastest .* 2\.0000 is the lowest/);
});

Deno.test("batch sizes with a run that did not end well are no candidates, but stand in the figures", () => {
  const decision = decideBatchSize("p", [
    record(1, 1, 2, 100),
    record(1, 2, 2, 100),
    record(2, 1, 1.5, 500),
    record(2, 2, NaN, 500, "diverged"),
  ])!;
  assert.equal(decision.value, 1);
  assert.equal(decision.figures["batch 2"].heldOutLoss, null);
  assert.equal(decideBatchSize("p", [record(1, 1, 2, 100, "oom"), record(2, 1, 2, 100, "timeout")]), null);
});

Deno.test("repeats of a seed are one sample of what seeds do", () => {
  const decision = decideBatchSize(
    "p",
    [1, 2].flatMap((size) => [
      record(size, 1, 2, 100),
      record(size, 1, 2, 100),
      record(size, 2, 2.2, 100),
      record(size, 2, 2.2, 100),
    ]),
  )!;
  assert.ok(Math.abs(decision.figures["batch 1"].seedSpread! - 0.2 / Math.SQRT2) < 1e-12);
});

Deno.test("with one seed there is no spread: the lowest loss wins, whatever its speed", () => {
  assert.equal(decideBatchSize("p", [record(1, 1, 2, 100), record(2, 1, 2.0001, 900)])!.value, 1);
});

Deno.test("one batch size that a seed does not train well does not make the others look equal", () => {
  const decision = decideBatchSize("p", [
    record(1, 1, 2.80, 600),
    record(1, 2, 2.81, 600),
    record(2, 1, 2.93, 700),
    record(2, 2, 2.92, 700),
    record(8, 1, 3.58, 800),
    record(8, 2, 7.79, 800), // measured: a learning rate at the edge of stability
  ])!;
  assert.equal(decision.value, 1);
  assert.ok(decision.figures["batch 1"].seedSpread! < 0.01);
});

Deno.test("a sweep with a smallest choice measures smaller batch sizes but does not pick them", () => {
  const cells = [1, 2].flatMap((seed) => [record(1, seed, 2, 900), record(4, seed, 2, 100)]);
  assert.equal(decideBatchSize("p", cells)!.value, 1);
  const decision = decideBatchSize("p", cells, 4)!;
  assert.equal(decision.value, 4);
  assert.match(decision.rule, /^Of those of at least 4 sequences/);
  assert.match(decision.reason, /of those of at least 4 sequences/);
  assert.deepEqual(Object.keys(decision.figures), ["batch 1", "batch 4"]);
});

Deno.test("a batch size that a floor chose, the largest one, and few updates are said", () => {
  const kinds = (cells: CellRecord[], floor?: number) =>
    decideBatchSize("p", cells, floor)!.warnings?.map(({ kind }) => kind) ?? [];
  const steps = (updates: number, cells: CellRecord[]) => {
    for (const { config } of cells) config.steps = updates;
    return cells;
  };
  const small = () => [record(1, 1, 2, 300), record(4, 1, 2.5, 100), record(8, 1, 2.6, 90)];
  assert.deepEqual(kinds(steps(200, small())), []);
  assert.deepEqual(kinds(steps(200, small()), 4), ["floor"]);
  assert.deepEqual(kinds(steps(199, small()), 1), ["updates"]);
  const large = () => [record(1, 1, 2, 300), record(4, 1, 1.5, 400)];
  assert.deepEqual(kinds(steps(200, large()), 4), ["edge"]);
  assert.match(
    decideBatchSize("p", small(), 4)!.reason,
    /the floor of 4 chose: by the rule alone it would be batch 1; the largest batch size made \d+ updates/,
  );
});
