import assert from "node:assert/strict";
import { judge } from "../../../report/claims/judge.ts";
import { analyse } from "../../../report/rows/analysis.ts";
import { measure, type Measured } from "../../../results/measured.ts";
import type { Sweep, SweepRow } from "../../../report/rows/sweep.ts";
import { heldOutFinding, memoryFinding, throughputFinding } from "../../../report/page/findings.ts";
import { listed, sentence } from "../../../report/words/text.ts";
import { verdictOf } from "../../../report/page/verdict.ts";
import { markdownBlock } from "../../../report/page/markdown.ts";
import { loaded, SMALL } from "./support.ts";

const base = analyse(loaded(SMALL)).sweep!;

/** Configurations with one value a cell. */
function measured(...groups: number[][]): Measured[] {
  const cells = groups.map((values) =>
    values.map((value, seed) => ({ id: `${seed}`.padStart(12, "0"), seed, values: [value] }))
  );
  return cells.map((one) => measure(one)!);
}

/** A sweep over batches 1, 4 and 8 with the given figures. */
function sweepWith(change: (row: SweepRow, i: number) => Partial<SweepRow>): Sweep {
  return { ...base, rows: base.rows.map((row, i) => ({ ...row, ...change(row, i) })) };
}

Deno.test("throughputFinding() names the fastest batch and its gain", () => {
  const rates = measured([2000, 2010, 2020], [3000, 3010, 3020], [4090, 4100, 4110]);
  const sweep = sweepWith((_, i) => ({
    tokensPerSecond: rates[i],
    speedup: { low: 2, estimate: 2.04, high: 2.1 },
  }));
  assert.equal(throughputFinding(sweep), "Batch 8 trains fastest: 4.1\u202fk tokens/s, 2.04× batch 1");
});

Deno.test("throughputFinding() calls what lies inside the noise no difference", () => {
  const rates = measured([2000, 2010, 2020], [4000, 4100, 4300], [4050, 4110, 4200]);
  const two = sweepWith((_, i) => ({
    tokensPerSecond: rates[i],
    speedup: { low: 2, estimate: 2.05, high: 2.1 },
  }));
  assert.equal(
    throughputFinding(two),
    "Batch 4 and batch 8 train fastest (no difference): 4.1\u202fk tokens/s, 2.05× batch 1",
  );
  const near = measured([100, 101, 102], [99, 101, 103], [98, 101, 104]);
  const all = sweepWith((_, i) => ({ tokensPerSecond: near[i] }));
  assert.match(
    throughputFinding(all),
    /^No difference in throughput between batch sizes: 101\.0 \[9\d\.\d, 10\d\.\d\] tokens\/s$/,
  );
});

Deno.test("heldOutFinding() says what it cannot know from a single seed", () => {
  const losses = measured([3], [3.1], [3.2]);
  const sweep = sweepWith((_, i) => ({ heldOut: losses[i] }));
  assert.equal(
    heldOutFinding(sweep),
    "Batch 1 reaches the lowest held-out loss, 3.00; batch 8 ends 0.20 higher (single seed: noise unknown)",
  );
});

Deno.test("findings of a sweep in which nothing ran say so", () => {
  const sweep: Sweep = {
    ...sweepWith((row) => ({
      tokensPerSecond: null,
      heldOut: null,
      configuration: { ...row.configuration, memory: null },
    })),
    tokens: null,
  };
  assert.equal(throughputFinding(sweep), "No batch size has timed steps");
  assert.equal(memoryFinding(sweep), "No batch size has a memory record");
  assert.equal(heldOutFinding(sweep), "No held-out loss at equal tokens");
});

Deno.test("heldOutFinding() does not set a batch apart that it calls no different", () => {
  const losses = measured([3, 3.2], [3.4, 3.3], [3.3, 8]);
  const text = heldOutFinding(sweepWith((_, i) => ({ heldOut: losses[i] })));
  assert.match(text, /^No difference in held-out loss between batch sizes: 3\.10 \[/);
});

Deno.test("verdictOf() answers claim C1a by axis, in the words of the table of claims", () => {
  const analysis = analyse(loaded({ ...SMALL, batches: [4], ladder: true }));
  const { sentence, figures } = verdictOf(analysis, judge(analysis));
  const { says } = judge(analysis).verdicts.find(({ id }) => id === "C1a")!;
  assert.match(
    sentence,
    /gpt2-tiny, 8 steps, 2 seeds, accumulation \+ checkpointing \+ fp16 \+ Adafactor: a third of the memory: yes \(3\.\d\d×\); throughput held: no \(0\.6\d×\); quality held: /,
  );
  assert.ok(sentence.endsWith(`. Claim C1a: ${says}.`), sentence);
  assert.deepEqual(figures.map(({ name }) => name), [
    "Training memory (booked)",
    "Throughput",
    "Held-out loss",
  ]);
});

Deno.test("verdictOf() of a sweep names adapter, fastest batch and the rule's choice", () => {
  const sweep = analyse(loaded({ ...SMALL, batches: [1, 4, 8, 16], seeds: [0, 1, 2, 3] }));
  assert.match(
    verdictOf(sweep, judge(sweep)).sentence,
    /^On llvmpipe \(LLVM 15\.0\.6, 256 bits\), batch 16 trains fastest: [\d.]+\u202fk tokens\/s, [\d.]+× batch 1; the rule chose batch 8, /,
  );
});

Deno.test("markdownBlock() keeps records' text inside its cells and fences", () => {
  const hostile = "|<b>`x`*\n# y";
  const analysis = analyse(loaded({ ...SMALL, hostile }));
  const block = markdownBlock(analysis, judge(analysis));
  const rows = block.split("\n").filter((line) => line.startsWith("| "));
  assert.equal(rows.length, 1 + 3);
  for (const row of rows) assert.equal(row.match(/(?<!\\)\|/g)!.length, 5, row);
  assert.ok(!/(?<!\\)<b>/.test(block.replace(/``.*``/g, "")), "no tag outside code");
  assert.ok(block.includes("`` deno task bench --quick|<b>`x`* # y ``"));
});

Deno.test("listed() and sentence() read as English", () => {
  assert.equal(listed(["a"]), "a");
  assert.equal(listed(["a", "b", "c"]), "a, b and c");
  assert.equal(sentence("batch 8 is fastest. "), "Batch 8 is fastest.");
});
