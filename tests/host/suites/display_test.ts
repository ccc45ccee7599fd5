import assert from "node:assert/strict";
import type { CellRecord } from "../../../results/record.ts";
import type { Cell } from "../../../suites/matrix.ts";
import {
  barLine,
  plainLine,
  Progress,
  type ProgressState,
  recordLine,
} from "../../../suites/cli/progress.ts";
import { wrap } from "../../../suites/cli/wrap.ts";
import { closest, editDistance } from "../../../suites/did_you_mean.ts";
import { calibrate, durationText, estimateMs } from "../../../suites/estimate.ts";
import { run } from "./command_line.ts";

const STATE: ProgressState = {
  done: 3,
  total: 16,
  label: "batch 4",
  seed: 1,
  phase: "",
  step: 40,
  steps: 128,
  loss: 2.3456,
  tokensPerSecond: 5120.4,
  elapsedMs: 62_000,
  remainingMs: 190_000,
};

Deno.test("barLine() shows cells, step, loss, speed and time, within the terminal whatever the label", () => {
  assert.equal(
    barLine(STATE, 80),
    "[█·······] 3/16 batch 4, seed 1 40/128 loss 2.346 5120 tok/s    1:02, 3:10 left",
  );
  const long = "QLoRA, NF4 + checkpointing + mixed precision + FlashAttention-2, T 1024";
  for (const columns of [40, 60, 80]) {
    for (
      const state of [STATE, { ...STATE, label: long }, {
        ...STATE,
        label: long,
        step: 0,
        phase: "compiling ".repeat(9),
      }]
    ) {
      for (const remainingMs of [0, 3_599_000, 360_000_000]) {
        const line = barLine({ ...state, remainingMs }, columns);
        assert.ok(line.length < columns, `${line.length} of ${columns}: ${line}`);
      }
    }
  }
  assert.match(barLine({ ...STATE, label: long }, 80), /40\/128 loss 2\.346/, "the label gives way first");
});

Deno.test("plainLine() and recordLine() stay within 80 columns; colour only where asked for", () => {
  assert.equal(
    plainLine(STATE),
    "3/16 batch 4, seed 1: step 40/128, loss 2.346, 5120 tok/s; 1:02, 3:10 left",
  );
  assert.ok(plainLine({ ...STATE, label: "x".repeat(200) }).length <= 80);
  const record = {
    status: "error",
    label: "batch 4",
    config: { seed: 1 },
    reason: `${"long ".repeat(40)}\nsecond line`,
    heldOut: [],
    samples: null,
    memory: null,
  } as unknown as CellRecord;
  const plain = recordLine(record, "4/16", { colour: false, columns: 80 });
  assert.ok(plain.length < 80 && plain.startsWith("4/16 error batch 4, seed 1: long"));
  assert.ok(recordLine(record, "4/16", { colour: true, columns: 80 }).includes("\x1b[31merror\x1b[0m"));
  // deno-lint-ignore no-control-regex -- the escape is what must not be there
  assert.ok(!/\x1b/.test(plain));
});

Deno.test("plain progress writes at most one line every five seconds, but every cell that failed", () => {
  let now = 0;
  const lines: string[] = [];
  const progress = new Progress({
    terminal: false,
    columns: 80,
    colour: false,
    writeLine: (line) => lines.push(line),
    now: () => now,
  });
  const cell = { id: "a", label: "batch 4", config: { seed: 1, steps: 100 } } as unknown as Cell;
  progress.onCell(cell, { done: 0, total: 2, remainingMs: 20_000, cellMs: 10_000 });
  for (let step = 0; step < 100; step++) {
    now += 100;
    progress.onMessage({
      type: "step",
      report: {
        step,
        loss: 2,
        tokens: 512,
        targets: 512,
        ms: 100,
        gradientNorm: 1,
        learningRate: 1,
        lossScale: 1,
        skipped: false,
        bytes: 1,
      },
    }, "a");
  }
  assert.equal(lines.length, 3, lines.join("\n")); // at 0, 5 and 10 seconds
  assert.match(lines[2], /step 100\/100, loss 2\.000, 5120 tok\/s; 0:10, 0:10 left$/);
  const ended = (status: string) =>
    ({
      status,
      label: "batch 4",
      config: { seed: 1 },
      reason: "why",
      heldOut: [],
      memory: null,
      samples: null,
      wallMs: 1,
    }) as unknown as CellRecord;
  progress.onRecord(ended("ok"), { done: 1, total: 2 });
  assert.equal(lines.length, 3);
  progress.onRecord(ended("not-run"), { done: 1, total: 2 }); // told by phase, when all is over
  progress.onRecord(ended("oom"), { done: 2, total: 2 });
  assert.deepEqual(lines.slice(3), ["2/2 oom batch 4, seed 1: why"]);
});

Deno.test("help of every command fits 80 columns and shows examples; --help ends with 0", async () => {
  for (const command of ["bench", "train", "eval", "plan", "report", "compare", "doctor", "validate"]) {
    const { code, out } = await run(command, "--help");
    assert.equal(code, 0);
    assert.match(out, new RegExp(`^Usage: deno task ${command}`));
    assert.match(out, /\nExamples:\n {2}deno task /);
    for (const line of out.split("\n")) assert.ok(line.length <= 80, `${command}: ${line.length}: ${line}`);
  }
  assert.match((await run("--help")).out, /bench .*\n.*train/);
  assert.equal((await run()).code, 2);
});

Deno.test("closest() finds slips of the finger and leaves other words alone", () => {
  assert.equal(editDistance("fp61", "fp16"), 1, "a swap of neighbours is one slip");
  assert.equal(editDistance("kitten", "sitting"), 3);
  const known = ["checkpoint", "fp16", "flash", "batch-size"];
  assert.equal(closest("chekpoint", known), "checkpoint");
  assert.equal(closest("batchSize", known), "batch-size");
  assert.equal(closest("BATCH_SIZE", known), "batch-size");
  assert.equal(closest("quantum", known), null);
  // Three of nine letters may differ, four may not.
  assert.deepEqual([closest("batchxxxe", known), closest("batchxxxx", known)], ["batch-size", null]);
});

Deno.test("wrap() breaks at spaces and indents what follows", () => {
  assert.deepEqual(wrap("one two three four", 9, "  "), ["one two", "  three", "  four"]);
  assert.deepEqual(wrap("", 10), []);
});

Deno.test("estimates scale the assumption by how long the steps of finished cells took, and all else of them", () => {
  const work = { steps: 100, modelFlopsPerStep: 9e8 };
  const assumed = estimateMs(work, calibrate([], "software"));
  assert.equal(assumed, 1800 + 100 * 100); // 0.9 GFLOP at 9 GFLOP/s is 100 ms
  const cell = (
    stepMs: number,
    startMs: number,
    { steps = 100, status = "ok", sameRunAs = null as string | null } = {},
  ) =>
    ({
      status,
      sameRunAs,
      wallMs: steps * stepMs + startMs,
      samples: { ms: Array.from({ length: steps }, () => stepMs) },
      modelFlopsPerStep: 9e8,
      config: { steps },
    }) as unknown as CellRecord;
  const finished = [
    cell(200, 1000),
    cell(200, 1000, { steps: 10 }),
    cell(1e6, 1e6), // one that stalled
    cell(1, 1, { status: "oom" }),
    cell(1, 1, { sameRunAs: "000000000000" }),
  ];
  assert.equal(estimateMs(work, calibrate(finished, "software")), 1000 + 100 * 200);
  assert.equal(estimateMs({ ...work, steps: 2 }, calibrate(finished, "software")), 1000 + 2 * 200);
  // Before the first cell half of what the device can do at best: 0.9 GFLOP at 18 GFLOP/s are 50 ms.
  const matmulFlopsPerSecond = { f32: 36e9, f16: null };
  const roofline = { matmulFlopsPerSecond, copyBytesPerSecond: 1e9, how: "by hand" };
  assert.equal(estimateMs(work, calibrate([], "software", roofline)), 1800 + 100 * 50);
  assert.deepEqual([45_000, 200_000, 7_500_000].map(durationText), ["45 s", "3 min 20 s", "2 h 5 min"]);
});
