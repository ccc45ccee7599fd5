import assert from "node:assert/strict";
import { join } from "node:path";
import { compareLoaded, parseRule } from "../../../report/rows/compare.ts";
import { compareRuns } from "../../../report/main.ts";
import { syntheticRun } from "./synthetic_run.ts";
import type { LoadedRun } from "../../../results/load.ts";
import { asLoaded, inFolder, parsePage, SMALL, writtenRun } from "./support.ts";

const reference = asLoaded(syntheticRun(SMALL), "reference");
const slower = asLoaded(syntheticRun({ ...SMALL, slowness: 1.25 }), "slower");

Deno.test("parseRule() reads metric, side and bound, and names what it expected", () => {
  assert.deepEqual(parseRule(" tokensPerSecond < 0.9"), {
    text: "tokensPerSecond < 0.9",
    metric: "tokensPerSecond",
    operator: "<",
    bound: 0.9,
  });
  for (const text of ["speed<0.9", "tokensPerSecond", "tokensPerSecond<=0.9", "stepMs>x", ""]) {
    assert.throws(() => parseRule(text), {
      name: "InputError",
      message: /expected METRIC<RATIO or METRIC>RATIO/,
    });
  }
});

Deno.test("compareLoaded() takes ratios to the first run and tells differences from noise", () => {
  const { rows, failed } = compareLoaded([reference, slower, reference], []);
  assert.equal(failed, false);
  assert.equal(rows.length, 3);
  for (const { runs: [, other, same] } of rows) {
    const { ratio, isDifferent } = other.ratios.tokensPerSecond;
    // 3 % of noise a step leaves the median of some dozen steps within a few percent of 1 / 1.25.
    assert.ok(Math.abs(ratio!.estimate - 0.8) < 0.04, String(ratio!.estimate));
    assert.equal(isDifferent, true);
    assert.equal(same.ratios.tokensPerSecond.isDifferent, false);
    assert.equal(same.ratios.bookedPeakBytes.isDifferent, false);
  }
});

Deno.test("compareLoaded() fails a rule beyond its bound, and not within it", () => {
  const { failed, failures } = compareLoaded([reference, slower], ["tokensPerSecond<0.9"]);
  assert.equal(failed, true);
  assert.equal(failures.length, 3);
  assert.match(failures[0], /^tokensPerSecond<0\.9: batch 1 in slower is at 0\.(7|8)\d×$/);
  assert.equal(compareLoaded([reference, slower], ["tokensPerSecond<0.5", "stepMs>2"]).failed, false);
});

Deno.test("compareLoaded() does not fail a rule on noise", () => {
  const noisy = syntheticRun({ ...SMALL, noise: 0.6, slowness: 1.02 });
  const calm = syntheticRun({ ...SMALL, noise: 0.6 });
  const { rows, failures } = compareLoaded([asLoaded(calm), asLoaded(noisy)], ["tokensPerSecond<1"]);
  const inside = rows.filter(({ runs: [, other] }) => !other.ratios.tokensPerSecond.isDifferent);
  assert.ok(inside.length > 0, "the noise hides at least one of the differences");
  for (const { label } of inside) assert.ok(!failures.some((failure) => failure.includes(`${label} in`)));
});

Deno.test("compareLoaded() of one process a side goes by the figure, and a figure at the bound is not beyond it", () => {
  const single = (slowness: number) => asLoaded(syntheticRun({ ...SMALL, seeds: [0], slowness }));
  const failures = (slowness: number, rule: string) =>
    compareLoaded([single(1), single(slowness)], [rule]).failures.length;
  assert.deepEqual([failures(1.25, "tokensPerSecond<0.9"), failures(1.25, "tokensPerSecond<0.7")], [3, 0]);
  assert.deepEqual([failures(1, "tokensPerSecond<1"), failures(1, "tokensPerSecond>1")], [0, 0]);
});

Deno.test("compareLoaded() fails a rule where a configuration no longer runs, or is gone", () => {
  const crashed = asLoaded(syntheticRun({ ...SMALL, statuses: { 8: "oom" } }), "crashed");
  crashed.cells = crashed.cells.filter(({ label }) => label !== "batch 4");
  assert.deepEqual(compareLoaded([reference, crashed], ["tokensPerSecond<0.9"]).failures, [
    "tokensPerSecond<0.9: batch 4 in crashed has no figure (not in the run)",
    "tokensPerSecond<0.9: batch 8 in crashed has no figure (oom)",
  ]);
});

Deno.test("compareLoaded() counts any change of planned bytes: they have no noise", () => {
  const grown = structuredClone(syntheticRun(SMALL));
  for (const cell of grown.cells) cell.memory!.plannedPeakBytes += 1;
  assert.equal(compareLoaded([reference, asLoaded(grown)], ["plannedPeakBytes>1"]).failures.length, 3);
  assert.equal(compareLoaded([reference, asLoaded(grown)], ["bookedPeakBytes>1"]).failures.length, 0);
  const [{ runs: [, other] }] = compareLoaded([reference, asLoaded(grown)], []).rows;
  assert.equal(other.ratios.plannedPeakBytes.isDifferent, true, "one byte");
});

Deno.test("compareLoaded() names the settings in which configurations of one name differ, and gives no ratio", () => {
  const renewed = structuredClone(syntheticRun(SMALL));
  for (const cell of renewed.cells) Object.assign(cell.config, { heldOutWindows: 99, model: "gpt2" });
  const { rows, failures } = compareLoaded([reference, asLoaded(renewed, "renewed")], ["bookedPeakBytes>1"]);
  for (const { runs: [, other] } of rows) {
    assert.deepEqual(other.differs, ["model", "heldOutWindows"]);
    assert.ok(other.configuration && other.heldOut === null);
    assert.ok(Object.values(other.ratios).every(({ ratio }) => ratio === null));
  }
  assert.match(failures[0], /batch 1 in renewed is not compared: it differs in model, heldOutWindows$/);
});

Deno.test("compareLoaded(): a setting that an earlier record leaves out is at its default", () => {
  const later = structuredClone(syntheticRun(SMALL));
  for (const { config } of later.cells) Object.assign(config, { overlong: "refuse", packing: false });
  const { rows } = compareLoaded([reference, asLoaded(later)], []);
  assert.ok(rows.every(({ runs: [, other] }) => other.differs.length === 0 && other.ratios.stepMs.ratio));
  const adapters = (init?: string) => {
    const run = structuredClone(syntheticRun(SMALL));
    for (const { config } of run.cells) {
      Object.assign(config, { methods: ["lora"], methodOptions: { lora: { rank: 8, ...init && { init } } } });
    }
    return asLoaded(run);
  };
  const differs = (init: string) => compareLoaded([adapters(), adapters(init)], []).rows[0].runs[1].differs;
  assert.deepEqual([differs("uniform"), differs("normal")], [[], ["methodOptions"]]);
});

Deno.test("compareLoaded() lists the same configurations whichever run comes first", () => {
  const larger = asLoaded(syntheticRun({ ...SMALL, batches: [1, 2, 16] }), "larger");
  const names = (...runs: LoadedRun[]) => compareLoaded(runs, []).rows.map(({ label }) => label).sort();
  assert.deepEqual(names(reference, larger), names(larger, reference));
  assert.deepEqual(names(reference, larger), ["batch 1", "batch 16", "batch 2", "batch 4", "batch 8"]);
  assert.deepEqual(names(reference, larger, larger), names(reference, larger));
});

Deno.test("compareLoaded() of a run with itself has ratios of exactly 1 and losses equal to the bit", () => {
  const { rows } = compareLoaded([reference, reference], []);
  for (const { runs: [, same] } of rows) {
    assert.equal(same.sameLosses, true);
    for (const { ratio } of Object.values(same.ratios)) {
      if (ratio) assert.deepEqual([ratio.estimate, ratio.low, ratio.high], [1, 1, 1]);
    }
  }
  const changed = structuredClone(syntheticRun(SMALL));
  changed.cells[0].samples!.loss[1]! += 2 ** -40;
  assert.equal(compareLoaded([reference, asLoaded(changed)], []).rows[0].runs[1].sameLosses, false);
});

Deno.test("the comparison begins with losses where those of one adapter, driver and numerics differ, and with nothing of them elsewhere", async () => {
  await inFolder(async (dir) => {
    const verdictOf = async (other: Parameters<typeof writtenRun>[2], change = (_: string) => {}) => {
      const [first, second] = [await writtenRun(dir, "first", SMALL), await writtenRun(dir, "second", other)];
      change(second);
      await compareRuns([first, second], join(dir, "out"));
      return parsePage(await Deno.readTextFile(join(dir, "out", "index.html"))).text(".verdict")[0];
    };
    assert.match(await verdictOf(SMALL), /^Losses are equal to the bit\. No difference/);
    const changed = await verdictOf(SMALL, (folder) => {
      const [{ name }] = [...Deno.readDirSync(join(folder, "cells"))];
      const path = join(folder, "cells", name);
      const cell = JSON.parse(Deno.readTextFileSync(path));
      cell.samples.loss[0] += 1e-9;
      Deno.writeTextFileSync(path, JSON.stringify(cell));
    });
    assert.match(
      changed,
      /^Losses differ in 1 of 3 comparisons, although adapter, driver and numerics are the same\./,
    );
    assert.doesNotMatch(await verdictOf({ ...SMALL, adapter: "Other" }), /Losses/);
  });
});

Deno.test("a rule that finds no figure fails, and says so", () => {
  const silent = structuredClone(syntheticRun(SMALL));
  for (const cell of silent.cells) cell.heldOut = [];
  const { failures } = compareLoaded([asLoaded(silent), asLoaded(silent, "silent")], ["heldOutLoss>0.5"]);
  assert.deepEqual(failures, ["heldOutLoss>0.5: no figure in silent to hold the rule to"]);
});

Deno.test("parseRule() takes a change in percent", () => {
  const bound = (text: string) => parseRule(text).bound;
  assert.ok(Math.abs(bound("bookedPeakBytes>1%") - bound("bookedPeakBytes>1.01")) < 1e-12);
  assert.ok(Math.abs(bound("tokensPerSecond < 5 %") - 0.95) < 1e-12);
});

Deno.test("published runs that share no configuration are not compared", async () => {
  await inFolder(async (dir) => {
    const [gpu, software] = ["nvidia-h100-80gb-hbm3/paper-seeds", "llvmpipe/learning"].map((name) =>
      join(import.meta.dirname!, "../../../results", name)
    );
    assert.deepEqual(await compareRuns([gpu, software], dir), { failed: false, failures: [] });
    const { text } = parsePage(await Deno.readTextFile(join(dir, "index.html")));
    assert.match(
      text(".verdict")[0],
      /share no configuration that ran in both. Those of the same name differ in model,/,
    );
    assert.match(
      text("details summary")[0],
      /^Not compared: \d+ differ in a setting; \d+ are in the first run alone; \d+ are in this run alone$/,
    );
    assert.ok(!text("#content")[0].includes("0.005"));
    for (const failOn of [["tokensPerSecond<0.9"], ["plannedPeakBytes>1"]]) {
      assert.equal((await compareRuns([gpu, software], dir, { failOn })).failed, true);
    }
    const guides = ["nvidia-h100-80gb-hbm3/hf-guide", "nvidia-h200/hf-guide"].map((name) =>
      join(import.meta.dirname!, "../../../results", name)
    );
    const { failures } = await compareRuns(guides, dir, { failOn: ["heldOutLoss>0.5"] });
    assert.deepEqual(failures, ["heldOutLoss>0.5: no figure in nvidia-h200/hf-guide to hold the rule to"]);
  });
});

Deno.test("compareRuns() writes one page and returns what failed", async () => {
  await inFolder(async (dir) => {
    const first = await writtenRun(dir, "first", SMALL);
    const second = await writtenRun(dir, "second", { ...SMALL, slowness: 1.25, adapter: "Other <b>GPU</b>" });
    const out = join(dir, "out");
    const result = await compareRuns([first, second], out, { failOn: ["tokensPerSecond<0.9"] });
    assert.equal(result.failed, true);
    const { text, all } = parsePage(await Deno.readTextFile(join(out, "index.html")));
    assert.equal(
      text(".verdict")[0],
      "Throughput: 0 of 3 comparisons faster, 3 slower, 0 without a difference.",
    );
    assert.equal(text(".note li").length, 3);
    assert.equal(text("#against-1")[0], "second, Other <b>GPU</b>");
    assert.equal(all("b").length, 0);
    await assert.rejects(compareRuns([first], out), { name: "InputError" });
  });
});
