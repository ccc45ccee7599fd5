import assert from "node:assert/strict";
import { crossEntropyChunkRows, IGNORED_TARGET, linearCrossEntropy } from "../../../kernels/cross_entropy.ts";
import { checkVjp, type TestInput } from "../../support/check_op.ts";

for (const transposedWeight of [true, false]) {
  for (const bias of [true, false]) {
    const name = `weight ${transposedWeight ? "[V, C]" : "[C, V]"}, ${bias ? "with" : "without"} bias`;
    Deno.test(`the VJP of linear_cross_entropy matches central differences: ${name}`, () => {
      const inputs: TestInput[] = [
        { shape: [5, 4] },
        { shape: transposedWeight ? [7, 4] : [4, 7] },
        { shape: [5], dtype: "i32", data: [0, 6, IGNORED_TARGET, 3, 3] },
        { shape: [1] },
        ...(bias ? [{ shape: [7] }] : []),
      ];
      checkVjp(linearCrossEntropy, inputs, { chunkRows: 2, transposedWeight, bias }, {
        wrt: bias ? [0, 1, 4] : [0, 1],
      });
      checkVjp(linearCrossEntropy, inputs, { chunkRows: 2, transposedWeight, bias, logitCap: 0.5 }, {
        wrt: bias ? [0, 1, 4] : [0, 1],
      });
    });
  }
}

Deno.test("crossEntropyChunkRows() keeps a chunk's logits within 64 MiB, in multiples of 128 rows", () => {
  assert.equal(crossEntropyChunkRows(8192, 50257), 256);
  assert.equal(crossEntropyChunkRows(8192, 1001), 8192); // 16 640 would fit
  assert.equal(crossEntropyChunkRows(100_000, 1001), 16640);
  assert.equal(crossEntropyChunkRows(8192, 1_000_000), 128); // never fewer, whatever it takes
  assert.equal(crossEntropyChunkRows(7, 50257), 7);
});
