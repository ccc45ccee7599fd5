import assert from "node:assert/strict";
import { warmUpSteps } from "../../../suites/warm_up.ts";

/** Median 10, median absolute deviation 1: steps from 7 to 13 are like them. */
const STEADY = [9, 11, 10, 8, 12, 10, 11, 9];
const after = (...start: number[]) => warmUpSteps([...start, ...STEADY], start.length);

Deno.test("the warm-up is over at three steps in a row within three deviations of the later steps' median", () => {
  assert.equal(after(90, 10, 10), 1);
  assert.equal(after(10, 10, 10), 0);
  assert.equal(after(90, 40, 20), 3, "all that the suite gives");
  assert.equal(after(), 0, "the suite gives none");
});

Deno.test("three deviations are within, and what is more is not, above and below", () => {
  assert.equal(after(13, 7, 13), 0);
  assert.equal(after(13.001, 13, 7), 1);
  assert.equal(after(6.999, 13, 7), 1);
});

Deno.test("two steps in a row are not three", () => {
  assert.equal(after(10, 10, 90, 10), 3, "the fourth goes on with those that count in any case");
  assert.equal(after(10, 10, 90), 3);
  assert.equal(after(90, 10), 1, "one step of the warm-up and two behind it");
});

Deno.test("steps that count in any case decide nothing when they are fewer than three", () => {
  assert.equal(warmUpSteps([10, 10, 10, 10], 2), 2);
  assert.equal(warmUpSteps([10, 10, 10, 10, 10], 2), 0);
  assert.equal(warmUpSteps([10], 4), 4);
});

Deno.test("a clock so coarse that steady steps are all equal allows equal ones alone", () => {
  assert.equal(warmUpSteps([11, 10, 10, 10, 10, 10], 2), 1);
});
