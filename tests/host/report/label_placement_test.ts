import assert from "node:assert/strict";
import { boxOf, type Label, placeLabels } from "../../../report/charts/label_placement.ts";
import { seededRandom } from "../../../results/stats.ts";

const bounds = { x0: 0, y0: 0, x1: 400, y1: 300 };

Deno.test("placeLabels() keeps labels inside, off marks, off each other, and nearest to their own mark", () => {
  const random = seededRandom(7);
  for (let round = 0; round < 200; round++) {
    const labels: Label[] = Array.from({ length: 2 + round % 12 }, () => ({
      at: { x: 20 + random() * 360, y: 20 + random() * 260 },
      width: 20 + random() * 100,
      isImportant: random() < 0.5,
    }));
    const marks = labels.map(({ at }) => at);
    const placed = placeLabels(labels, { marks, line: [], bounds });
    const boxes = placed.map((place, i) => place && boxOf(labels[i], place));
    boxes.forEach((box, i) => {
      if (!box) return;
      assert.ok(box.x0 >= 0 && box.y0 >= 0 && box.x1 <= 400 && box.y1 <= 300);
      const inside = ({ x, y }: { x: number; y: number }) =>
        x > box.x0 && x < box.x1 && y > box.y0 && y < box.y1;
      assert.ok(!marks.some(inside), "on a mark");
      const near = ({ x, y }: { x: number; y: number }) =>
        Math.hypot(Math.max(box.x0 - x, 0, x - box.x1), Math.max(box.y0 - y, 0, y - box.y1));
      if (!placed[i]!.leader) {
        assert.ok(marks.every((mark) => near(mark) >= near(labels[i].at)), "reads as another's");
      }
      boxes.forEach((other, j) => {
        if (!other || j <= i) return;
        const touches = box.x0 < other.x1 && other.x0 < box.x1 && box.y0 < other.y1 && other.y0 < box.y1;
        assert.ok(!touches, "on another label");
      });
    });
  }
});

Deno.test("placeLabels() puts a lone label right of its mark, and left of it at the right edge", () => {
  const label = { at: { x: 200, y: 100 }, width: 50, isImportant: true };
  assert.deepEqual(placeLabels([label], { marks: [label.at], line: [], bounds }), [{
    x: 209,
    y: 104,
    leader: false,
  }]);
  const edge = { ...label, at: { x: 380, y: 100 } };
  assert.deepEqual(placeLabels([edge], { marks: [edge.at], line: [], bounds }), [{
    x: 321,
    y: 104,
    leader: false,
  }]);
});

Deno.test("placeLabels() leaves out a label without room, unless it is worth a leader", () => {
  const at = { x: 200, y: 150 };
  // A wall of marks around the one: nothing fits beside it.
  const wall = Array.from(
    { length: 40 },
    (_, i) => ({ x: 140 + (i % 8) * 17, y: 125 + Math.floor(i / 8) * 12 }),
  );
  const marks = [at, ...wall];
  const label = { at, width: 40, isImportant: false };
  assert.deepEqual(placeLabels([label], { marks, line: [], bounds }), [null]);
});
