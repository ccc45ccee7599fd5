import assert from "node:assert/strict";
import { keyedRandom } from "../../../engine/train/random.ts";
import {
  type BatchSource,
  countWindows,
  heldOutBatches,
  MASKED_TARGET,
  requireTokensBelow,
  splitTokens,
  TokenSorter,
  trainingBatches,
} from "../../../engine/train/tokens.ts";
import { assertInputError } from "../formats/temporary_folder.ts";

/** Tokens that are their own positions. */
function positions(count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => i);
}

/** The next `steps` batches of B sequences, as [inputs, targets] of each. */
function take(source: BatchSource, steps: number, microBatchSize: number): [number[], number[]][] {
  const inputs = new Uint32Array(microBatchSize * source.sequenceLength);
  const targets = new Int32Array(microBatchSize * source.sequenceLength);
  return Array.from({ length: steps }, () => {
    assert.equal(source.next(microBatchSize, inputs, targets), inputs.length);
    return [[...inputs], [...targets]];
  });
}

/** The first token of each of the next `count` sequences. */
function firstTokens(source: BatchSource, count: number): number[] {
  return take(source, count, 1).map(([inputs]) => inputs[0]);
}

Deno.test("splitTokens() holds out the last tokens", () => {
  const { training, heldOut } = splitTokens(positions(100), { sequenceLength: 4 });
  assert.deepEqual([training.length, training[89], heldOut!.length, heldOut![0]], [90, 89, 10, 90]);
  const whole = splitTokens(positions(5), { sequenceLength: 4, heldOutFraction: 0 });
  assert.deepEqual([whole.training.length, whole.heldOut], [5, null]);
});

Deno.test("splitTokens() says how many tokens there are and how many are needed", async () => {
  const split = (count: number, sequenceLength: number, heldOutFraction: number) => () =>
    splitTokens(positions(count), { sequenceLength, heldOutFraction });
  await assertInputError(split(100, 10, 0.1), "10 held-out tokens", "of 100", "at least 11");
  await assertInputError(split(4, 4, 0), "4 training tokens", "at least 5");
  await assertInputError(split(100, 10, 0.95), "5 training tokens", "at least 11");
  await assertInputError(split(100, 10, 1), "hold out 1 ");
  await assertInputError(split(100, 10, -0.1), "hold out -0.1");
  await assertInputError(split(100, 10, NaN), "hold out NaN");
});

Deno.test("tokens beyond the vocabulary are refused with their position", async () => {
  requireTokensBelow(4, Uint32Array.of(0, 3), "x.u16");
  await assertInputError(
    () => requireTokensBelow(4, Uint32Array.of(0, 4), "x.u16"),
    "x.u16: token 1 is 4",
    "has 4 tokens",
  );
});

Deno.test("without shuffling, step k takes windows k·B to k·B + B − 1, and wraps at the last whole window", () => {
  // 12 tokens and T = 3: windows start at 0, 3, 6 (the target of token 8 is 9); 9 would need a token 12.
  const source = trainingBatches(positions(12), { sequenceLength: 3, shuffle: false, seed: 0 });
  assert.equal(source.windowCount, 3);
  assert.deepEqual(take(source, 2, 2), [
    [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]],
    [[6, 7, 8, 0, 1, 2], [7, 8, 9, 1, 2, 3]],
  ]);
});

Deno.test("countWindows() needs one token more than the inputs", () => {
  assert.deepEqual([0, 1, 3, 4, 6, 7, 10].map((count) => countWindows(count, 3)), [0, 0, 0, 1, 1, 2, 3]);
});

Deno.test("each shuffled epoch has every window once, in another order", () => {
  const source = trainingBatches(positions(101), { sequenceLength: 1, shuffle: true, seed: 3 });
  const epochs = [firstTokens(source, 100), firstTokens(source, 100)];
  for (const epoch of epochs) assert.deepEqual(epoch.toSorted((a, b) => a - b), [...positions(100)]);
  assert.notDeepEqual(epochs[0], epochs[1]);
  assert.notDeepEqual(epochs[0], [...positions(100)]);
});

Deno.test("the shuffled order depends on the seed alone: these numbers must never change", () => {
  const order = (seed: number) =>
    firstTokens(trainingBatches(positions(9), { sequenceLength: 1, shuffle: true, seed }), 16);
  assert.deepEqual(order(1), [3, 7, 0, 4, 5, 6, 2, 1, 3, 5, 7, 6, 2, 4, 1, 0]);
  assert.notDeepEqual(order(1), order(2));
});

Deno.test("the sequences do not depend on how many are taken at a time, also across epochs", () => {
  for (const shuffle of [false, true]) {
    const options = { sequenceLength: 4, shuffle, seed: 5 };
    const tokens = positions(4 * 7 + 1); // 7 windows: no batch size divides an epoch
    const whole = take(trainingBatches(tokens, options), 5, 12);
    for (const microBatchSize of [1, 2, 3, 4, 6]) {
      const parts = take(trainingBatches(tokens, options), 5 * 12 / microBatchSize, microBatchSize);
      for (const part of [0, 1] as const) {
        assert.deepEqual(parts.flatMap((batch) => batch[part]), whole.flatMap((batch) => batch[part]));
      }
    }
  }
});

Deno.test("seek() continues a run where state() was taken, in any epoch", () => {
  for (const shuffle of [false, true]) {
    const options = { sequenceLength: 2, shuffle, seed: 5 };
    const tokens = positions(21);
    const source = trainingBatches(tokens, options);
    take(source, 9, 3);
    const state = JSON.parse(JSON.stringify(source.state()));
    assert.deepEqual(state, { sequenceIndex: 27 });
    const rest = take(source, 4, 3);
    const continued = trainingBatches(tokens, options);
    take(continued, 1, 1);
    continued.seek(state.sequenceIndex);
    assert.deepEqual(take(continued, 4, 3), rest);
    continued.seek(27);
    assert.deepEqual(take(continued, 4, 3), rest);
    assert.throws(() => continued.seek(-1), RangeError);
    assert.throws(() => continued.seek(0.5), RangeError);
  }
});

Deno.test("next() refuses arrays of another size", async () => {
  const source = trainingBatches(positions(12), { sequenceLength: 3, shuffle: false, seed: 0 });
  assert.throws(() => source.next(2, new Uint32Array(6), new Int32Array(5)), RangeError);
  assert.throws(() => source.next(1, new Uint32Array(6), new Int32Array(6)), RangeError);
  await assertInputError(
    () => trainingBatches(positions(3), { sequenceLength: 3, shuffle: false, seed: 0 }),
    "3 training",
  );
});

Deno.test("held-out batches have every window once, and mask the rows that have none", () => {
  const seen: [number[], number[], number][] = [];
  for (const batch of heldOutBatches(positions(12), { sequenceLength: 3, microBatchSize: 2 })) {
    seen.push([[...batch.inputs], [...batch.targets], batch.unmaskedTargets]);
  }
  assert.deepEqual(seen, [
    [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6], 6],
    [[6, 7, 8, 0, 0, 0], [7, 8, 9, MASKED_TARGET, MASKED_TARGET, MASKED_TARGET], 3],
  ]);
  const limited = [
    ...heldOutBatches(positions(12), { sequenceLength: 3, microBatchSize: 2, maxSequences: 1 }),
  ];
  assert.deepEqual(limited.map(({ unmaskedTargets }) => unmaskedTargets), [3]);
  assert.throws(() => [...heldOutBatches(positions(3), { sequenceLength: 3, microBatchSize: 2 })], {
    name: "InputError",
  });
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
