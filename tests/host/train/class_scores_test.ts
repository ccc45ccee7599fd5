import assert from "node:assert/strict";
import { classScores } from "../../../engine/train/class_scores.ts";
import { assertClose } from "../../support/numerics.ts";

function assertScores(
  confusion: number[][],
  [accuracy, macroF1, majorityShare]: [number, number, number],
): void {
  const found = classScores(confusion);
  assertClose(
    [found.accuracy, found.macroF1, found.majorityShare],
    [accuracy, macroF1, majorityShare],
    1e-15,
    JSON.stringify(confusion),
    1,
  );
}

Deno.test("classScores() is what one computes by hand from a confusion matrix", () => {
  assertScores([[5, 0], [0, 5]], [1, 1, 0.5]);
  // TP 3, FN 2, FP 1 of the first; TP 4, FN 1, FP 2 of the second.
  assertScores([[3, 2], [1, 4]], [7 / 10, (6 / 9 + 8 / 11) / 2, 1 / 2]);
  // Three labels: 2/(2·2+1+1), 1/(…) and so on, from rows 4, 3, 3 and columns 3, 4, 3.
  assertScores([[2, 1, 1], [1, 2, 0], [0, 1, 2]], [
    6 / 10,
    (4 / (4 + 3) + 4 / (3 + 4) + 4 / (3 + 3)) / 3,
    4 / 10,
  ]);
});

Deno.test("a label that is there and never predicted has an F1 of 0, and counts", () => {
  assertScores([[8, 0], [2, 0]], [0.8, (16 / 18 + 0) / 2, 0.8]);
  assertScores([[0, 8], [2, 0]], [0, 0, 0.8]);
});

Deno.test("a label that is predicted and not there counts with 0; one that is neither is left out", () => {
  assertScores([[9, 1], [0, 0]], [0.9, (18 / 19 + 0) / 2, 1]);
  assertScores([[4, 1, 0], [2, 3, 0], [0, 0, 0]], [0.7, (8 / 11 + 6 / 9) / 2, 0.5]);
  assertScores([[7, 0], [0, 0]], [1, 1, 1]);
});

Deno.test("no examples have no scores", () => {
  assert.throws(() => classScores([[0, 0], [0, 0]]), /RangeError: Cannot score no examples/);
});
