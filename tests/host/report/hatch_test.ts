import assert from "node:assert/strict";
import { hatchPath } from "../../../report/charts/hatch.ts";
import type { Hatch } from "../../../report/charts/palette.ts";

const HATCHES: Exclude<Hatch, "plain">[] = ["rising", "falling", "dots", "level", "upright", "crossed"];

/** Ends of the lines of a path. */
function endsOf(path: string): [number, number][] {
  return [...path.matchAll(/M([\d.-]+),([\d.-]+)l([\d.-]+),([\d.-]+)/g)].flatMap((line) => {
    const [x, y, dx, dy] = line.slice(1).map(Number);
    return [[x, y], [x + dx, y + dy]] as [number, number][];
  });
}

Deno.test("hatchPath() stays in its box, and says nothing where there is no room", () => {
  const box = { x: 13.4, y: 20.2, width: 51.5, height: 22 };
  for (const hatch of HATCHES) {
    const ends = endsOf(hatchPath(hatch, box));
    assert(ends.length >= 6, hatch);
    for (const [x, y] of ends) {
      assert(x >= box.x - 0.11 && x <= box.x + box.width + 0.11, `${hatch}: x ${x}`);
      assert(y >= box.y - 0.11 && y <= box.y + box.height + 0.11, `${hatch}: y ${y}`);
    }
    assert.deepEqual(hatchPath(hatch, { ...box, width: 0, height: 0 }), "");
  }
  assert.deepEqual(hatchPath("plain", box), "");
});

Deno.test("hatchPath() goes on alike in the next box", () => {
  const [left, right] = [{ x: 0, y: 0, width: 30, height: 12 }, { x: 30, y: 0, width: 30, height: 12 }];
  assert.deepEqual(hatchPath("level", left), "M0,6l30,0");
  assert.deepEqual(hatchPath("level", right), "M30,6l30,0");
  assert.deepEqual(endsOf(hatchPath("rising", left))[0], [0, 6]);
});
