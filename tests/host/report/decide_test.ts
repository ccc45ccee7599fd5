// Every threshold of a verdict, at its edge.
import assert from "node:assert/strict";
import {
  above,
  allOf,
  answerOf,
  atLeast,
  atMost,
  below,
  between,
  not,
  processesNeeded,
  type Region,
} from "../../../report/claims/decide.ts";
import { type Axis, measuredAxis, outcomeOf, overall, plainAxis } from "../../../report/claims/claim.ts";
import { alone, intervalOf } from "../../../results/intervals.ts";
import { BEYOND_CONFIDENCE, MARGINS } from "../../../results/margins.ts";
import {
  CHECKPOINTING_SLOWDOWN,
  FOURFOLD,
  LORA,
  OPTIMIZER_STATE,
  THREEFOLD,
} from "../../../report/claims/paper.ts";
import { exactly } from "../../../results/stats.ts";

const interval = (low: number, high: number, n = 5) => ({ estimate: (low + high) / 2, low, high, n });

Deno.test("threefold is three: not 2.9, not 2.999", () => {
  const of = (ratio: number) => answerOf(exactly(ratio), atLeast(THREEFOLD));
  assert.deepEqual([2.9, 2.999, 3, 3.08].map(of), ["no", "no", "yes", "yes"]);
});

Deno.test("C3's band is 15 to 25 %, met by an interval inside it alone", () => {
  const { low, high } = CHECKPOINTING_SLOWDOWN;
  const of = (a: number, b: number) => answerOf(interval(a, b), between(low, high));
  assert.equal(of(1.151, 1.249), "yes");
  // 10 to 30 % is not the band: an interval that meets it shows nothing, one beside it refutes it.
  assert.equal(of(1.12, 1.22), "cannot tell");
  assert.equal(of(1.16, 1.28), "cannot tell");
  assert.equal(of(1.1, 1.3), "cannot tell");
  assert.equal(of(1.251, 1.3), "no");
  assert.equal(of(1.1, 1.149), "no");
});

Deno.test("throughput is held above 0.95, lost below it, and across it nobody can tell", () => {
  const held = atLeast(1 - MARGINS.throughput.value);
  const of = (low: number, high: number) => answerOf(interval(low, high), held);
  assert.equal(of(0.951, 1.2), "yes");
  assert.equal(of(0.949, 1.2), "cannot tell");
  assert.equal(of(0.8, 0.951), "cannot tell");
  assert.equal(of(0.8, 0.949), "no");
});

Deno.test("above() and below() leave out the edge, atLeast() and atMost() have it", () => {
  assert.equal(answerOf(exactly(1), above(1)), "no");
  assert.equal(answerOf(exactly(1), below(1)), "no");
  assert.deepEqual([answerOf(exactly(0), above(0)), answerOf(exactly(0), below(0))], ["no", "no"]);
  assert.deepEqual([answerOf(exactly(1e-5), above(0)), answerOf(exactly(-1e-5), below(0))], ["yes", "yes"]);
  assert.equal(answerOf(exactly(1.001), above(1)), "yes");
  assert.equal(answerOf(exactly(10), atMost(10)), "yes");
  assert.equal(answerOf(exactly(10.01), atMost(10)), "no");
});

Deno.test("an interval that ends at an edge is inside of it, and one that begins there is not outside", () => {
  const of = (low: number, high: number, region: Region) => answerOf(interval(low, high), region);
  assert.equal(of(0.95, 1.2, atLeast(0.95)), "yes");
  assert.equal(of(0.8, 0.95, atLeast(0.95)), "cannot tell");
  assert.equal(of(9, 10, atMost(10)), "yes");
  assert.equal(of(10, 11, atMost(10)), "cannot tell");
});

Deno.test("what is nearer to an edge than a billionth of it lies on it, as ratios come from logarithms", () => {
  const least = [3 - 2.9e-9, 3 - 3.1e-9].map((value) => answerOf(exactly(value), atLeast(3)));
  const most = [3 + 2.9e-9, 3 + 3.1e-9].map((value) => answerOf(exactly(value), atMost(3)));
  assert.deepEqual([least, most], [["yes", "no"], ["yes", "no"]]);
});

Deno.test("the paper's other figures at their edges", () => {
  const { adamw, adafactor, adamw8bit } = OPTIMIZER_STATE;
  const of = ({ low, high }: { low: number; high: number }, value: number) =>
    answerOf(exactly(value), between(low, high));
  assert.deepEqual([7.49, 7.5, 8.5, 8.51].map((x) => of(adamw, x)), ["no", "yes", "yes", "no"]);
  assert.deepEqual([3.99, 4, 4.5, 4.51].map((x) => of(adafactor, x)), ["no", "yes", "yes", "no"]);
  assert.deepEqual([1.49, 1.5, 2.5, 2.51].map((x) => of(adamw8bit, x)), ["no", "yes", "yes", "no"]);
  const share = { low: LORA.shareLow, high: LORA.shareHigh };
  assert.deepEqual([0.0009, 0.001, 0.01, 0.0101].map((x) => of(share, x)), ["no", "yes", "yes", "no"]);
  assert.deepEqual([3.49, 3.5].map((x) => answerOf(exactly(x), atLeast(FOURFOLD.low))), ["no", "yes"]);
  assert.deepEqual([9.99, 10].map((x) => answerOf(exactly(x), atLeast(MARGINS.computing.value))), [
    "no",
    "yes",
  ]);
});

Deno.test("margins are what they are called, each with a reason", () => {
  assert.equal(MARGINS.throughput.value, 0.05);
  assert.equal(MARGINS.lossFloor.value, 0.01);
  assert.equal(MARGINS.lossTokens.value, 0.02);
  assert.equal(MARGINS.confidence.value, 0.9);
  assert.equal(MARGINS.tokens.value, 0.05);
  assert.equal(MARGINS.computing.value, 10);
  assert.equal(MARGINS.storage.value, 0.1);
  assert.equal(MARGINS.steadiness.value, 0.05);
  assert.equal(MARGINS.firstStep.value, 1e-4);
  assert.ok(Object.values(MARGINS).every(({ reason }) => reason.length > 20));
});

Deno.test("one process answers nothing, and what is not there answers nothing", () => {
  assert.equal(answerOf(alone(5), atLeast(3)), "cannot tell");
  assert.equal(answerOf(alone(1), atLeast(3)), "cannot tell");
  assert.equal(answerOf(null, atLeast(3)), "cannot tell");
  assert.equal(answerOf(exactly(NaN), atLeast(3)), "cannot tell");
});

Deno.test("allOf() and not() of answers", () => {
  assert.deepEqual([allOf(["yes", "yes"]), allOf(["yes", "no", "cannot tell"])], ["yes", "no"]);
  assert.deepEqual([allOf(["yes", "cannot tell"]), allOf([])], ["cannot tell", "cannot tell"]);
  assert.deepEqual([not("yes"), not("no"), not("cannot tell")], ["no", "yes", "cannot tell"]);
});

Deno.test("processesNeeded() is the count from which on the interval would end at the edge", () => {
  const of = (n: number, deviation = 0.1) =>
    intervalOf({ estimate: 1, standardError: deviation / Math.sqrt(n), degrees: n - 1, n }, 0.9);
  const needed = processesNeeded(of(3), atLeast(0.95))!;
  assert.ok(of(needed).low > 0.95 && of(needed - 1).low <= 0.95, `${needed}`);
  assert.equal(processesNeeded(alone(1), atLeast(0.95)), null);
  assert.equal(processesNeeded(of(3), atLeast(0.99999)), null, "nobody runs so many");
  assert.match(measuredAxis("throughput", of(3), atLeast(0.95)).why, new RegExp(`about ${needed} processes`));
});

Deno.test("processesNeeded() counts from two processes to a thousand, and more where there were two looks", () => {
  const scattered = (n: number, looks = 1) => ({
    ...intervalOf(
      { estimate: 1, standardError: 0.1 / Math.sqrt(n), degrees: n - 1, n },
      1 - 0.1 / looks,
    ),
    looks,
  });
  assert.ok(processesNeeded(scattered(2), atLeast(0.95))! > 2);
  const edge = (share: number) => atLeast(1 - share * (1 - scattered(1000).low));
  assert.equal(processesNeeded(scattered(3), edge(1 + 1e-9)), 1000);
  assert.equal(processesNeeded(scattered(3), edge(1 - 1e-9)), null);
  const needed = processesNeeded(scattered(3, 2), atLeast(0.95))!;
  assert.ok(scattered(needed, 2).low > 0.95 && scattered(needed - 1, 2).low <= 0.95, `${needed}`);
});

Deno.test("outcomeOf() lets what decides decide, and what is reported be", () => {
  const axis = (holds: boolean | null, weight: Axis["weight"] = "decides") =>
    plainAxis("", holds, { weight });
  assert.equal(outcomeOf([axis(true), axis(false, "reported")]), "reproduced");
  assert.equal(outcomeOf([axis(true), axis(null)]), "cannot tell");
  assert.equal(outcomeOf([axis(null), axis(false)]), "not reproduced");
  assert.equal(outcomeOf([axis(true, "by construction")]), "by construction");
  assert.equal(outcomeOf([axis(true), axis(false, "by construction")]), "not reproduced");
  assert.equal(outcomeOf([axis(null, "by construction")]), "cannot tell");
});

Deno.test("overall() lets no setting speak for the others", () => {
  assert.equal(overall([]), "not tested here");
  assert.equal(overall(["reproduced", "reproduced"]), "reproduced");
  assert.equal(overall(["reproduced", "cannot tell"]), "cannot tell");
  assert.equal(overall(["reproduced", "not reproduced", "cannot tell"]), "depends on the setting");
  assert.equal(overall(["not reproduced", "cannot tell"]), "cannot tell");
  assert.equal(overall(["not reproduced", "not reproduced"]), "not reproduced");
});

Deno.test("beyond a region with two ends the wider interval decides, inside and beside one end the other", () => {
  const at = (estimate: number, reach: number) => ({
    estimate,
    low: estimate - reach,
    high: estimate + reach,
    n: 5,
  });
  const axis = (estimate: number, region: Region) =>
    measuredAxis("x", at(estimate, 0.02), region, { beyond: at(estimate, 0.03) });
  const { low, high } = CHECKPOINTING_SLOWDOWN;
  const of = (estimate: number) => axis(estimate, between(low, high)).answer;
  assert.deepEqual([1.1701, 1.2299, 1.1699, 1.2301].map(of), ["yes", "yes", "cannot tell", "cannot tell"]);
  assert.deepEqual([1.1199, 1.1201, 1.2799, 1.2801].map(of), ["no", "cannot tell", "cannot tell", "no"]);
  // A region with one end can be missed on one side alone.
  assert.deepEqual([0.929, 0.931].map((x) => axis(x, atLeast(0.95)).answer), ["no", "cannot tell"]);
  // The figure is the interval that decided.
  assert.equal(axis(1.27, between(low, high)).figure!.low, 1.24);
  assert.equal(axis(1.2, between(low, high)).figure!.low, 1.18);
});

Deno.test("both ends together err as often as one: 90 % inside, 95 % beyond", () => {
  assert.equal(BEYOND_CONFIDENCE, 0.95);
});

Deno.test("processesNeeded() beyond a region with two ends goes by the wider interval", () => {
  const of = (n: number, confidence: number) =>
    intervalOf({ estimate: 1.3, standardError: 0.1 / Math.sqrt(n), degrees: n - 1, n }, confidence);
  const needed = processesNeeded(of(3, BEYOND_CONFIDENCE), between(1.15, 1.25))!;
  assert.ok(of(needed, BEYOND_CONFIDENCE).low > 1.25 && of(needed - 1, BEYOND_CONFIDENCE).low <= 1.25);
});
