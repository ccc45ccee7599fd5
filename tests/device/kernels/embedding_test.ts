import assert from "node:assert/strict";
import type { Dtype } from "../../../engine/graph/types.ts";
import { embedding, embeddingGrad } from "../../../kernels/embedding.ts";
import { checkKernel } from "../../support/check_op.ts";
import { seededIntegers } from "../../support/seeded.ts";
import { deviceTest, deviceTestOf } from "../../support/with_device.ts";
import { KERNEL_KINDS } from "../../../kernels/kernel_set.ts";

/**
 * Tokens, vocabulary, width: one of each, primes, one run of one id, more ids
 * than tokens, several column tiles.
 */
const SIZES = [[1, 1, 1], [13, 7, 30], [64, 65, 4], [63, 1, 8], [40, 1001, 20], [100, 11, 260], [
  33,
  50,
  1028,
]];

function tokens(N: number, V: number) {
  const ids = seededIntegers(N, V, N);
  const order = Array.from(ids.keys()).sort((a, b) => ids[a] - ids[b] || a - b);
  return [{ shape: [N], dtype: "u32" as const, data: ids }, {
    shape: [N],
    dtype: "u32" as const,
    data: order,
  }];
}

for (const kind of KERNEL_KINDS) {
  for (const dtype of ["f32", "f16"] as Dtype[]) {
    const options = await deviceTestOf(dtype);
    Deno.test(
      `embedding in ${dtype} (${kind}) agrees with the reference`,
      options,
      async () => {
        for (const [N, V, C] of SIZES) {
          const table = { shape: [V, C], dtype };
          const addend = { shape: [N, C], dtype };
          await checkKernel(embedding, [...tokens(N, V), table], { addend: false }, {
            target: { kind },
            allowed: 0,
          });
          await checkKernel(embedding, [...tokens(N, V), table, addend], { addend: true }, {
            target: { kind },
          });
          const longer = { shape: [V + 2, C], dtype };
          await checkKernel(embedding, [...tokens(N, V), longer], { addend: false, offset: 2 }, {
            target: { kind, maxStorageBufferBindingSize: 256 * C * 4 + 512 },
            allowed: 0,
          });
        }
      },
    );

    Deno.test(
      `embedding gradient of ${dtype} (${kind}) agrees with the reference`,
      options,
      async () => {
        for (const [N, V, C] of SIZES) {
          const dy = { shape: [N, C], dtype };
          const check = { target: { kind }, terms: N };
          const shifted = { vocabularySize: V + 2, prior: false, offset: 2, padding: 3 };
          await checkKernel(embeddingGrad, [...tokens(N, V), dy], shifted, check);
          await checkKernel(embeddingGrad, [...tokens(N, V), dy], { vocabularySize: V, prior: false }, check);
          const prior = { shape: [V, C] };
          await checkKernel(
            embeddingGrad,
            [...tokens(N, V), dy, prior],
            { vocabularySize: V, prior: true },
            check,
          );
        }
      },
    );
  }
}

Deno.test(
  "embedding reads and writes tables over the binding limit in windows, with the same bits",
  deviceTest,
  async () => {
    const [N, V, C] = [700, 900, 10];
    const target = { maxStorageBufferBindingSize: 256 * C * 4 };
    const inputs = [...tokens(N, V), { shape: [V, C] }];
    await checkKernel(embedding, inputs, { addend: false }, { target, allowed: 0 });
    const attrs = { vocabularySize: V, prior: false };
    const [windowed] = await checkKernel(embeddingGrad, [...tokens(N, V), { shape: [N, C] }], attrs, {
      target,
      terms: 8,
    });
    const [whole] = await checkKernel(embeddingGrad, [...tokens(N, V), { shape: [N, C] }], attrs, {
      terms: 8,
    });
    assert.deepEqual(windowed, whole);
  },
);
