import assert from "node:assert/strict";
import { keyedRandom } from "../../../engine/train/random.ts";
import { requireTokensBelow, TokenSorter } from "../../../engine/train/tokens.ts";
import { assertInputError } from "../formats/temporary_folder.ts";

/** Tokens that are their own positions. */
function positions(count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => i);
}

Deno.test("tokens beyond the vocabulary are refused with their position", async () => {
  requireTokensBelow(4, Uint32Array.of(0, 3), "x.u16");
  await assertInputError(
    () => requireTokensBelow(4, Uint32Array.of(0, 4), "x.u16"),
    "x.u16: token 1 is 4",
    "has 4 tokens",
  );
});

Deno.test("TokenSorter sorts positions by token, those of equal tokens in ascending order", () => {
  const random = keyedRandom(0, "sort");
  for (const vocabularySize of [1, 2, 255, 256, 257, 50257, 65536, 65537, 2 ** 24 + 1, 2 ** 32]) {
    const sorter = new TokenSorter({ vocabularySize, capacity: 1000 });
    for (const count of [0, 1, 2, 997, 1000]) {
      const tokens = Uint32Array.from(
        { length: count },
        () => random.below(random.below(2) ? vocabularySize : Math.min(7, vocabularySize)),
      );
      if (count > 0) tokens[0] = vocabularySize - 1;
      const order = new Uint32Array(count).fill(7);
      sorter.sort(tokens, order);
      assert.deepEqual([...order], [...positions(count)].sort((a, b) => tokens[a] - tokens[b] || a - b));
    }
  }
});

Deno.test("TokenSorter refuses more tokens than it has room for", () => {
  const sorter = new TokenSorter({ vocabularySize: 10, capacity: 4 });
  assert.throws(() => sorter.sort(new Uint32Array(5), new Uint32Array(5)), RangeError);
  assert.throws(() => sorter.sort(new Uint32Array(4), new Uint32Array(3)), RangeError);
});
