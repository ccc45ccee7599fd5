import assert from "node:assert/strict";
import { timestampProblem } from "../../../engine/runtime/timing.ts";

Deno.test("timestampProblem() believes sums up to the wall time", () => {
  assert.equal(timestampProblem([1, 2, 7], 10), null);
  assert.equal(timestampProblem([1, 2, 7.5], 10), null, "both clocks are rounded");
  assert.equal(timestampProblem([0.5, 0, 0.4], 10), null, "short dispatches with pauses between them");
});

Deno.test("timestampProblem() disbelieves zeros, another unit, and ends before beginnings", () => {
  assert.match(timestampProblem([0, 0, 0], 10)!, /add up to 0\.00 ms of 10\.0 ms/);
  assert.match(timestampProblem([1e6, 2e6], 10)!, /more than the 10\.0 ms/);
  assert.match(timestampProblem([3, -1], 10)!, /ends before it begins/);
  assert.match(timestampProblem([3, NaN], 10)!, /ends before it begins/);
});
