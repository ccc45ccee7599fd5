import assert from "node:assert/strict";
import type { Value } from "../../../engine/graph/types.ts";
import { alignUp, planArena } from "../../../engine/plan/arena.ts";
import type { LiveRange } from "../../../engine/plan/liveness.ts";
import { seededIntegers } from "../../support/seeded.ts";

/** Random live ranges over 40 nodes. */
function randomRanges(count: number, seed: number, largest: number): LiveRange[] {
  const numbers = seededIntegers(3 * count, 1 << 20, seed);
  return Array.from({ length: count }, (_, i) => {
    const first = numbers[3 * i] % 40;
    const last = Math.min(39, first + numbers[3 * i + 1] % 12);
    const bytes = 4 + (numbers[3 * i + 2] % largest);
    const value: Value = {
      id: i,
      name: `v${i}`,
      shape: [1],
      dtype: "f32",
      role: "activations",
      persistent: false,
    };
    return { value, role: "activations", first, last, bytes };
  });
}

Deno.test("planArena() never overlaps two values that are alive together", () => {
  for (let seed = 1; seed <= 40; seed++) {
    const { placements, bufferBytes } = planArena(randomRanges(60, seed, 5000), { maxBufferBytes: 20_000 });
    assert.equal(placements.length, 60);
    for (const [i, a] of placements.entries()) {
      assert.equal(a.byteOffset % 256, 0);
      assert.ok(a.byteOffset + a.range.bytes <= bufferBytes[a.buffer]);
      for (const b of placements.slice(0, i)) {
        const together = a.range.first <= b.range.last && b.range.first <= a.range.last;
        const apart = a.buffer !== b.buffer || a.byteOffset + a.range.bytes <= b.byteOffset ||
          b.byteOffset + b.range.bytes <= a.byteOffset;
        assert.ok(!together || apart, `seed ${seed}: ${a.range.value.name} and ${b.range.value.name}`);
      }
    }
  }
});

Deno.test("planArena() keeps buffers within the limit, and gives a larger value one of its own", () => {
  const ranges = [
    ...randomRanges(30, 7, 5000),
    ...randomRanges(1, 8, 1).map((range) => ({ ...range, bytes: 90_000 })),
  ];
  const { placements, bufferBytes } = planArena(ranges, { maxBufferBytes: 20_000 });
  const home = placements.find(({ range }) => range.bytes === 90_000)!.buffer;
  bufferBytes.forEach((bytes, i) =>
    assert.ok(bytes <= (i === home ? alignUp(90_000, 256) : 20_000), `buffer ${i}: ${bytes}`)
  );
});

Deno.test("planArena() needs no more than the lower bound where ranges nest, as those of a forward and a backward pass", () => {
  const ranges = randomRanges(20, 3, 5000).map((range, i) => ({ ...range, first: i, last: 39 - i }));
  const { bufferBytes } = planArena(ranges, { maxBufferBytes: 2 ** 30 });
  assert.deepEqual(bufferBytes, [ranges.reduce((sum, { bytes }) => sum + alignUp(bytes, 256), 0)]);
});
