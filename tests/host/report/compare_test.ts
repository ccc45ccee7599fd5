import assert from "node:assert/strict";
import { join } from "node:path";
import { compareLoaded, parseRule } from "../../../report/rows/compare.ts";
import { compareRuns } from "../../../report/main.ts";
import { syntheticRun } from "./synthetic_run.ts";
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

Deno.test("compareLoaded() matches configurations by label where a version changed their settings", () => {
  const renewed = structuredClone(syntheticRun(SMALL));
  for (const cell of renewed.cells) cell.config.heldOutWindows = 99;
  const { rows } = compareLoaded([reference, asLoaded(renewed)], []);
  assert.ok(rows.every(({ runs: [, other] }) => other.configuration));
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
