// docs/performance.md: its tables are those of the published records, and it stays a page that can be read.
import assert from "node:assert/strict";
import type { CellRecord } from "../../results/record.ts";
import {
  comparedRows,
  machinesIn,
  PAGE,
  PUBLISHED,
  publishedMachines,
  tableText,
  trainedRows,
  withTables,
} from "../support/performance_page.ts";

const page = await Deno.readTextFile(PAGE);

Deno.test("the tables of docs/performance.md are those of the records", async () => {
  const isCurrent = page === await withTables(page, PUBLISHED);
  assert.ok(isCurrent, "docs/performance.md is stale: run `deno task performance`");
});

Deno.test("every machine with published runs has its table", async () => {
  assert.deepEqual(machinesIn(page).sort(), await publishedMachines(PUBLISHED));
});

Deno.test("docs/performance.md has at most 120 lines of at most 140 columns", () => {
  const lines = page.trimEnd().split("\n");
  assert.ok(lines.length <= 120, `${lines.length} lines`);
  assert.deepEqual(lines.filter((line) => line.length > 140), []);
});

/** As much of a cell's record as a row is made from. */
function cell(
  config: Partial<CellRecord["config"]>,
  ms: number[],
  more: Partial<CellRecord> = {},
): CellRecord {
  return {
    kind: "trained",
    status: "ok",
    warmupSteps: 1,
    samples: { ms: [1000, ...ms] },
    memory: { plannedPeakBytes: 5e6 },
    config: {
      model: "gpt2",
      sequenceLength: 64,
      microBatchSize: 2,
      gradientAccumulationSteps: 1,
      methods: [],
      methodOptions: {},
      optimizer: "adamw",
      optimizerOptions: {},
      startFrom: null,
      seed: 0,
      ...config,
    },
    ...more,
  } as unknown as CellRecord;
}

const run = (name: string, startedAt: string, cells: CellRecord[]) => ({ name, startedAt, cells });

Deno.test("a row has the timed steps of all seeds of the latest run", () => {
  const rows = trainedRows([
    run("late", "2026-02-02T00:00:00Z", [
      cell({ seed: 0, learningRate: 1 }, [10, 10, 10, 10]),
      cell({ seed: 1, learningRate: 2 }, [30, 30, 30, 30]),
    ]),
    run("early", "2026-01-01T00:00:00Z", [
      cell({}, Array(8).fill(99)),
      cell({ microBatchSize: 4 }, Array(8).fill(7)),
    ]),
  ]);
  assert.deepEqual(rows.map(({ engine, source }) => [engine?.medianMs, source]), [
    [20, "late, 2026-02-02"],
    [7, "early, 2026-01-01"],
  ]);
});

Deno.test("a row needs eight timed steps of cells that trained from the start", () => {
  const eight = Array(8).fill(10);
  const rows = trainedRows([
    run("run", "2026-01-01T00:00:00Z", [
      cell({ microBatchSize: 1 }, eight.slice(1)),
      cell({ microBatchSize: 2 }, eight),
      cell({ microBatchSize: 3 }, eight, { status: "diverged" }),
      cell({ microBatchSize: 4 }, eight, { kind: "planned" }),
      cell({ microBatchSize: 5, startFrom: "a" }, eight),
    ]),
  ]);
  assert.deepEqual(rows.map(({ microBatchSize }) => microBatchSize), [2]);
});

Deno.test("a table has PyTorch's step beside the one of its kind", () => {
  const step = (side: "threefold" | "torch", dtype: string, attention: string, ms: number) => ({
    side,
    round: 0,
    run: {
      case: "gpt2:b4:t64",
      dtype,
      attention,
      ms: [ms],
      medianMs: ms,
      tokensPerSecond: 1,
      loss: [],
      ...side === "torch" ? { peakBytes: 8e6 } : { plannedPeakBytes: 4e6 },
    },
  });
  const rows = comparedRows({
    cases: [{
      case: "gpt2:b4:t64",
      runs: [
        step("threefold", "f16", "flash", 3),
        step("threefold", "f32", "naive", 2),
        step("torch", "f32", "eager", 1),
        step("torch", "bf16", "sdpa", 0.5),
        step("torch", "f32", "sdpa", 0.7),
      ],
    }],
  }, "against.json");
  const text = tableText({ adapter: "A card", rows });
  assert.deepEqual(text.split("\n").slice(4), [
    "| gpt2 | 4 × 64 | – | adamw | 2.0 | 4 | 1.0 | 8 | against |",
    "| gpt2 | 4 × 64 | flash | adamw | – | – | 0.7 | 8 | against |",
    "| gpt2 | 4 × 64 | flash, fp16 | adamw | 3.0 | 4 | 0.5 | 8 | against |",
  ]);
});
