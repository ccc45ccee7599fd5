import assert from "node:assert/strict";
import { ShapeError } from "../../../engine/graph/op.ts";
import { embedding, embeddingGrad } from "../../../kernels/embedding.ts";
import { checkVjp } from "../../support/check_op.ts";

const IDS = { shape: [6], dtype: "u32" as const, data: [4, 0, 4, 2, 0, 4] };
const ORDER = { shape: [6], dtype: "u32" as const, data: [1, 4, 3, 0, 2, 5] };

Deno.test("embedding: the VJP agrees with central differences, with and without an addend", () => {
  checkVjp(embedding, [IDS, ORDER, { shape: [5, 3] }], { addend: false });
  checkVjp(embedding, [IDS, ORDER, { shape: [7, 3] }], { addend: false, offset: 2 });
  checkVjp(embedding, [IDS, ORDER, { shape: [5, 3] }, { shape: [6, 3] }], { addend: true }, { wrt: [2] });
  checkVjp(embedding, [IDS, ORDER, { shape: [5, 3] }, { shape: [6, 3] }], { addend: true }, { wrt: [3] });
});

Deno.test("embedding: the row of a padding id gets what was there before, and nothing by its lookups", () => {
  const types = { inputs: [IDS, ORDER, { shape: [6, 1] }], outputs: [] } as unknown as Parameters<
    typeof embeddingGrad.reference
  >[2];
  const dy = Float64Array.of(1, 2, 3, 4, 5, 6);
  const inputs = [Float64Array.from(IDS.data), Float64Array.from(ORDER.data), dy];
  const [dtable] = embeddingGrad.reference(inputs, { vocabularySize: 5, prior: false, padding: 4 }, types);
  assert.deepEqual([...dtable], [7, 0, 4, 0, 0]);
});

Deno.test("embedding refuses operands that do not fit", () => {
  const ids = { shape: [6], dtype: "u32" as const };
  const table = { shape: [5, 3], dtype: "f32" as const };
  const addend = { shape: [6, 4], dtype: "f32" as const };
  assert.throws(() => embedding.inferTypes([ids, ids, table, addend], { addend: true }), ShapeError);
  assert.throws(() => embedding.inferTypes([table, ids, table], { addend: false }), ShapeError);
});
