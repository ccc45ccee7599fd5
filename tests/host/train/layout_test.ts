import assert from "node:assert/strict";
import { PADDING_SEGMENT } from "../../../kernels/attention_shapes.ts";
import { type Document, documentLayout, oneDocumentEach } from "../../../engine/train/documents.ts";
import {
  emptyBatch,
  hiddenTokenSequences,
  labelledSequences,
  type MaskSettings,
} from "../../../engine/train/layout.ts";
import { RANDOM_SEQUENCES, randomData } from "../../../engine/train/random_data.ts";
import {
  heldOutBatches,
  MASKED_TARGET,
  type Sequences,
  trainingBatches,
} from "../../../engine/train/sequences.ts";
import { windowLayout } from "../../../engine/train/windows.ts";

const MASK: MaskSettings = {
  seed: 1,
  maskToken: 999,
  specialTokens: new Set([1, 2]),
  vocabularySize: 1000,
};

/** Documents of tokens that are never 0, 1, 2 or the mask's, between the special tokens 1 and 2. */
function documents(lengths: readonly number[]): Document[] {
  return lengths.map((length, d) => ({
    tokens: Uint32Array.from(
      { length },
      (_, t) => t === 0 ? 1 : t === length - 1 ? 2 : 3 + (7 * d + t) % 900,
    ),
    trained: null,
    place: `document ${d}`,
  }));
}

/** Tokens and targets of one sequence of one pass. */
function written(sequences: Sequences, index: number, draw: string): [number[], number[]] {
  const into = emptyBatch(1, sequences.sequenceLength);
  sequences.write(index, 0, into, draw);
  return [[...into.tokens], [...into.targets]];
}

Deno.test("a label is the one target of its sequence, and padding is no token", () => {
  const layout = documentLayout(oneDocumentEach(documents([3, 5])), 5);
  const sequences = labelledSequences(layout, [4, 6]);
  const into = { ...emptyBatch(2, 5), targets: new Int32Array(2) };
  sequences.write(1, 0, into, "");
  sequences.write(0, 1, into, "");
  assert.deepEqual([...into.targets], [6, 4]);
  assert.deepEqual([...into.tokens], [1, 11, 12, 13, 2, 1, 4, 2, 0, 0]);
  assert.deepEqual([...into.segments.subarray(5)], [0, 0, 0, PADDING_SEGMENT, PADDING_SEGMENT]);
  assert.deepEqual([...into.positions.subarray(5)], [0, 1, 2, 3, 4]);
  assert.deepEqual(sequences.counts(0), { targets: 1, tokens: 3 });
});

Deno.test("labels of rows that have no sequence are masked", () => {
  const sequences = labelledSequences(documentLayout(oneDocumentEach(documents([3, 4, 5])), 5), [4, 6, 8]);
  const into = { ...emptyBatch(2, 5), targets: new Int32Array(2) };
  const seen = [];
  for (const counts of heldOutBatches(sequences, into, { microBatchSize: 2 })) {
    seen.push([[...into.targets], counts]);
  }
  assert.deepEqual(seen, [
    [[4, 6], { targets: 2, tokens: 7 }],
    [[8, MASKED_TARGET], { targets: 1, tokens: 5 }],
  ]);
});

Deno.test("15 % of the tokens are to be predicted: 80 % of those hidden, 10 % replaced, 10 % shown", () => {
  const layout = documentLayout(oneDocumentEach(documents(Array(500).fill(202))), 210);
  const sequences = hiddenTokenSequences(layout, MASK);
  let [hidden, replaced, shown] = [0, 0, 0];
  for (let i = 0; i < 500; i++) {
    const [original] = written(labelledSequences(layout, Array(500).fill(0)), i, "");
    const [tokens, targets] = written(sequences, i, "epoch 0");
    const predicted = targets.map((target, t) => target === MASKED_TARGET ? -1 : t).filter((t) => t >= 0);
    assert.equal(predicted.length, 30); // of 200 tokens that are not special
    assert.equal(sequences.counts(i).targets, 30);
    for (const [t, token] of tokens.entries()) {
      if (!predicted.includes(t)) {
        assert.equal(token, original[t]);
        continue;
      }
      assert.equal(targets[t], original[t]);
      assert.ok(t > 0 && t < 201, "special tokens and padding are never hidden");
      if (token === MASK.maskToken) hidden++;
      else if (token === original[t]) shown++;
      else replaced++;
    }
  }
  // 15000 draws: four standard deviations are 0.013 of 0.8 and 0.01 of 0.1. One
  // in 1000 replacements is the token itself.
  assert.ok(Math.abs(hidden / 15000 - 0.8) < 0.014, `${hidden} hidden`);
  assert.ok(Math.abs(replaced / 15000 - 0.1) < 0.011, `${replaced} replaced`);
  assert.ok(Math.abs(shown / 15000 - 0.1) < 0.011, `${shown} shown`);
});

Deno.test("hidden tokens depend on seed, pass and sequence, not on order or micro-batches", () => {
  const layout = windowLayout(Uint32Array.from({ length: 7 * 20 }, (_, i) => 3 + i), {
    sequenceLength: 20,
    start: [],
    end: [],
    what: "",
  });
  const sequences = hiddenTokenSequences(layout, MASK);
  assert.deepEqual(written(sequences, 3, "epoch 0"), written(sequences, 3, "epoch 0"));
  assert.notDeepEqual(written(sequences, 3, "epoch 0"), written(sequences, 3, "epoch 1"));
  const other = hiddenTokenSequences(layout, { ...MASK, seed: 2 });
  assert.notDeepEqual(written(other, 3, "epoch 0"), written(sequences, 3, "epoch 0"));
  const take = (microBatchSize: number) => {
    const source = trainingBatches(sequences, { shuffle: true, seed: 5 });
    const into = emptyBatch(microBatchSize, 20);
    const taken: { tokens: number[]; targets: number[] } = { tokens: [], targets: [] };
    for (let taking = 0; taking < 12; taking += microBatchSize) {
      source.next(microBatchSize, into);
      taken.tokens.push(...into.tokens);
      taken.targets.push(...into.targets);
    }
    return taken;
  };
  assert.deepEqual(take(3), take(12));
  assert.deepEqual(take(1), take(12));
});

Deno.test("one token is hidden however short the text", () => {
  const sequences = hiddenTokenSequences(documentLayout(oneDocumentEach(documents([3])), 8), MASK);
  assert.deepEqual(sequences.counts(0), { targets: 1, tokens: 3 });
  assert.deepEqual(written(sequences, 0, "")[1].filter((target) => target !== MASKED_TARGET), [4]);
});

Deno.test("windows of hidden tokens stand between the special tokens", () => {
  const layout = windowLayout(Uint32Array.from({ length: 11 }, (_, i) => 10 + i), {
    sequenceLength: 5,
    start: [1],
    end: [2],
    what: "",
  });
  assert.equal(layout.count, 3);
  const into = emptyBatch(1, 5);
  layout.place(1, 0, into);
  assert.deepEqual([...into.tokens], [1, 13, 14, 15, 2]);
  const cut = { sequenceLength: 2, start: [1], end: [2], what: "x.txt" };
  assert.throws(() => windowLayout(new Uint32Array(9), cut), {
    name: "InputError",
    message: /x\.txt.*room for 0/,
  });
});

Deno.test("the corpus random has 512 sequences and depends on the seed alone: its hash must never change", () => {
  const settings = { seed: 3, sequenceLength: 16, vocabularySize: 100, labelCount: 2 };
  const { tokens, labels, sha256 } = randomData(settings);
  assert.equal(sha256, randomData(settings).sha256);
  assert.equal(sha256, "9bc680b43e65a32db5018c1a74cb4e61b8a36e95fcec5a480c0f41512f08b5b9");
  assert.notEqual(randomData({ ...settings, seed: 4 }).sha256, sha256);
  assert.deepEqual([tokens.length, labels.length], [RANDOM_SEQUENCES * 16 + 1, RANDOM_SEQUENCES]);
  // Means of uniform draws: 8193 of deviation 29, 512 of deviation 1/2; four standard deviations.
  const mean = (numbers: Uint32Array) => numbers.reduce((a, b) => a + b) / numbers.length;
  assert.ok(Math.abs(mean(tokens) - 49.5) < 1.3);
  assert.ok(Math.abs(mean(labels) - 0.5) < 0.09);
});
