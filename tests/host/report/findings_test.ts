import assert from "node:assert/strict";
import { analyse, type Measured, type Sweep, type SweepRow } from "../../../report/derive.ts";
import {
  heldOutFinding,
  listed,
  lossDifference,
  memoryFinding,
  sentence,
  throughputFinding,
  verdictOf,
} from "../../../report/findings.ts";
import { markdownBlock } from "../../../report/markdown.ts";
import { loaded, SMALL } from "./support.ts";

const base = analyse(loaded(SMALL)).sweep!;

function measured(...values: number[]): Measured {
  const sorted = values.toSorted((a, b) => a - b);
  const interval = { low: sorted[0], estimate: sorted[sorted.length >> 1], high: sorted.at(-1)! };
  return {
    interval,
    byCell: values.map((value, seed) => ({ id: "000000000000", seed, values: [value] })),
    values,
  };
}

/** A sweep over batches 1, 4 and 8 with the given figures. */
function sweepWith(change: (row: SweepRow, i: number) => Partial<SweepRow>): Sweep {
  return { ...base, rows: base.rows.map((row, i) => ({ ...row, ...change(row, i) })) };
}

Deno.test("throughputFinding() names the fastest batch and its gain", () => {
  const rates = [measured(2000, 2010, 2020), measured(3000, 3010, 3020), measured(4090, 4100, 4110)];
  const sweep = sweepWith((_, i) => ({
    tokensPerSecond: rates[i],
    speedup: { low: 2, estimate: 2.04, high: 2.1 },
  }));
  assert.equal(throughputFinding(sweep), "Batch 8 trains fastest: 4.1\u202fk tokens/s, 2.04× batch 1");
});

Deno.test("throughputFinding() calls what lies inside the noise no difference", () => {
  const rates = [measured(2000, 2010, 2020), measured(4000, 4100, 4300), measured(4050, 4110, 4200)];
  const two = sweepWith((_, i) => ({
    tokensPerSecond: rates[i],
    speedup: { low: 2, estimate: 2.05, high: 2.1 },
  }));
  assert.equal(
    throughputFinding(two),
    "Batch 4 and batch 8 train fastest (no difference): 4.1\u202fk tokens/s, 2.05× batch 1",
  );
  const all = sweepWith((_, i) => ({ tokensPerSecond: measured(100 - i, 101, 102 + i) }));
  assert.equal(throughputFinding(all), "Batch size makes no difference to throughput: 101 tokens/s");
});

Deno.test("heldOutFinding() says what it cannot know from a single seed", () => {
  const sweep = sweepWith((_, i) => ({ heldOut: measured(3 + i / 10) }));
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

Deno.test("lossDifference() calls losses equal only where the test shows it", () => {
  const seeds = measured(3, 3.1, 3.2);
  assert.equal(lossDifference(seeds, measured(3.001, 3.101, 3.2015))!.outcome, "equal");
  assert.equal(lossDifference(seeds, measured(3.1, 3.2, 3.31))!.outcome, "worse");
  assert.equal(lossDifference(seeds, measured(2.9, 3.0, 3.09))!.outcome, "better");
  assert.equal(lossDifference(seeds, measured(2.8, 3.1, 3.5))!.outcome, "unshown");
  assert.equal(lossDifference(measured(3), measured(3))!.outcome, "unshown", "one seed shows nothing");
  assert.equal(lossDifference(null, seeds), null);
});

Deno.test("verdictOf() judges claim C1 from the ladder: slower than the baseline is not reproduced", () => {
  const { sentence, figures } = verdictOf(analyse(loaded({ ...SMALL, batches: [4], ladder: true })));
  assert.match(
    sentence,
    /“\+ Adafactor” needs 3\.\d\d× less memory at 0\.6\d× the throughput.*: claim C1 not reproduced\.$/,
  );
  assert.deepEqual(figures.map(({ name }) => name), ["Memory", "Throughput", "Held-out loss"]);
});

Deno.test("verdictOf() of a sweep names adapter, fastest batch and the rule's choice", () => {
  assert.match(
    verdictOf(analyse(loaded({ ...SMALL, batches: [1, 4, 8, 16] }))).sentence,
    /^On llvmpipe \(LLVM 15\.0\.6, 256 bits\), batch 16 trains fastest: [\d.]+\u202fk tokens\/s, [\d.]+× batch 1; the rule chose batch 8, /,
  );
});

Deno.test("markdownBlock() keeps records' text inside its cells and fences", () => {
  const hostile = "|<b>`x`*\n# y";
  const block = markdownBlock(analyse(loaded({ ...SMALL, hostile })));
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
