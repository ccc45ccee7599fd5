import assert from "node:assert/strict";
import {
  type Document,
  nextTokenDocuments,
  oneDocumentEach,
  packDocuments,
} from "../../../engine/train/documents.ts";
import { emptyBatch } from "../../../engine/train/layout.ts";
import { keyedRandom } from "../../../engine/train/random.ts";
import { PADDING_SEGMENT } from "../../../kernels/attention_shapes.ts";

/** Documents of these lengths; document d has the tokens 100·d, 100·d + 1, ... */
function documents(...lengths: number[]): Document[] {
  return lengths.map((length, d) => ({
    tokens: Uint32Array.from({ length }, (_, t) => 100 * d + t),
    trained: null,
    place: String(d),
  }));
}

Deno.test("packed documents keep their own segments and positions, and predict nothing across a border", () => {
  const [first, second] = documents(3, 2);
  const sequences = nextTokenDocuments([[first, second]], 7);
  const into = emptyBatch(1, 7);
  sequences.write(0, 0, into, "");
  const pad = PADDING_SEGMENT;
  assert.deepEqual([...into.tokens], [0, 1, 2, 100, 101, 0, 0]);
  assert.deepEqual([...into.targets], [1, 2, -100, 101, -100, -100, -100]);
  assert.deepEqual([...into.segments], [0, 0, 0, 1, 1, pad, pad]);
  assert.deepEqual([...into.positions], [0, 1, 2, 0, 1, 2, 3]);
  assert.deepEqual(sequences.counts(0), { targets: 3, tokens: 5 });
});

Deno.test("without packing each document is padded, and positions are those of a whole sequence", () => {
  const sequences = nextTokenDocuments(oneDocumentEach(documents(3, 2)), 4);
  const into = emptyBatch(2, 4);
  sequences.write(0, 0, into, "");
  sequences.write(1, 1, into, "");
  assert.deepEqual([...into.targets], [1, 2, -100, -100, 101, -100, -100, -100]);
  assert.deepEqual([...into.positions], [0, 1, 2, 3, 0, 1, 2, 3]);
  assert.deepEqual([sequences.counts(0), sequences.counts(1)], [
    { targets: 2, tokens: 3 },
    { targets: 1, tokens: 2 },
  ]);
});

Deno.test("tokens of a prompt are read but not predicted", () => {
  const [document] = documents(5);
  const sequences = nextTokenDocuments([[{ ...document, trained: Uint8Array.of(0, 0, 0, 1, 1) }]], 6);
  const into = emptyBatch(1, 6);
  sequences.write(0, 0, into, "");
  assert.deepEqual([...into.tokens], [0, 1, 2, 3, 4, 0]);
  assert.deepEqual([...into.targets], [-100, -100, 3, 4, -100, -100]);
  assert.deepEqual(sequences.counts(0), { targets: 2, tokens: 5 });
});

Deno.test("packDocuments() leaves the least room it finds, in the order of the first documents", () => {
  const lengthsOf = (...lengths: number[]) =>
    packDocuments(documents(...lengths), 10).map((bin) => bin.map(({ tokens }) => tokens.length));
  assert.deepEqual(lengthsOf(3, 7, 6, 4, 10), [[3, 7], [6, 4], [10]]);
  assert.deepEqual(lengthsOf(1, 1, 1), [[1, 1, 1]]);
  // 6, 5 beside it, 3 where 4 are left, 2 where 5 are
  assert.deepEqual(lengthsOf(2, 5, 3, 6), [[2, 5], [3, 6]]);
});

Deno.test("packDocuments() keeps every document once, whole, and wastes less than one sequence in two", () => {
  const random = keyedRandom(4, "lengths");
  for (const most of [1, 7, 50, 100]) {
    const given = documents(...Array.from({ length: 300 }, () => 1 + random.below(most)));
    const bins = packDocuments(given, 100);
    const kept = bins.flat().map(({ place }) => Number(place));
    assert.deepEqual(kept.toSorted((a, b) => a - b), given.map((_, d) => d));
    const fill = bins.map((bin) => bin.reduce((sum, { tokens }) => sum + tokens.length, 0));
    assert.ok(fill.every((count) => count <= 100));
    // Two bins at most half full would have been one.
    assert.ok(fill.filter((count) => count <= 50).length <= 1);
    assert.deepEqual(bins, packDocuments(given, 100));
  }
});
