import assert from "node:assert/strict";
import { emptyBatch } from "../../../engine/train/layout.ts";
import {
  type BatchSource,
  heldOutBatches,
  MASKED_TARGET,
  trainingBatches,
} from "../../../engine/train/sequences.ts";
import { countWindows, nextTokenWindows, splitWindows } from "../../../engine/train/windows.ts";
import { assertInputError } from "../formats/temporary_folder.ts";

/** Tokens that are their own positions. */
function positions(count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => i);
}

/** Batches of windows of so many tokens. */
function windowBatches(
  count: number,
  { sequenceLength, ...order }: { sequenceLength: number; shuffle: boolean; seed: number },
): BatchSource {
  return trainingBatches(nextTokenWindows(positions(count), sequenceLength), order);
}

/** The next `steps` batches of B sequences, as [inputs, targets] of each. */
function take(source: BatchSource, steps: number, microBatchSize: number): [number[], number[]][] {
  const into = emptyBatch(microBatchSize, source.sequenceLength);
  return Array.from({ length: steps }, () => {
    const count = microBatchSize * source.sequenceLength;
    assert.deepEqual(source.counts(microBatchSize), { targets: count, tokens: count });
    source.next(microBatchSize, into);
    return [[...into.tokens], [...into.targets]];
  });
}

/** The first token of each of the next `count` sequences. */
function firstTokens(source: BatchSource, count: number): number[] {
  return take(source, count, 1).map(([inputs]) => inputs[0]);
}

Deno.test("splitWindows() holds out the last tokens", () => {
  const { training, heldOut } = splitWindows(positions(100), { sequenceLength: 4, heldOutFraction: 0.1 });
  // 90 tokens hold 22·4 and a target, 10 hold 2·4
  assert.deepEqual([training.count, heldOut!.count], [22, 2]);
  const into = emptyBatch(1, 4);
  training.write(21, 0, into, "");
  assert.deepEqual([...into.targets], [85, 86, 87, 88]);
  heldOut!.write(0, 0, into, "");
  assert.deepEqual([...into.tokens], [90, 91, 92, 93]);
  const whole = splitWindows(positions(5), { sequenceLength: 4, heldOutFraction: 0 });
  assert.deepEqual([whole.training.count, whole.heldOut], [1, null]);
});

Deno.test("splitWindows() says how many tokens there are and how many are needed", async () => {
  const split = (count: number, sequenceLength: number, heldOutFraction: number) => () =>
    splitWindows(positions(count), { sequenceLength, heldOutFraction });
  await assertInputError(split(100, 10, 0.1), "10 held-out tokens", "of 100", "at least 11");
  await assertInputError(split(4, 4, 0), "4 training tokens", "at least 5");
  await assertInputError(split(100, 10, 0.95), "5 training tokens", "at least 11");
  await assertInputError(split(100, 10, 1), "hold out 1 ");
  await assertInputError(split(100, 10, -0.1), "hold out -0.1");
  await assertInputError(split(100, 10, NaN), "hold out NaN");
});

Deno.test("without shuffling, step k takes windows k·B to k·B + B − 1, and wraps at the last whole window", () => {
  // 12 tokens and T = 3: windows start at 0, 3, 6 (the target of token 8 is 9); 9 would need a token 12.
  const source = windowBatches(12, { sequenceLength: 3, shuffle: false, seed: 0 });
  assert.equal(source.sequenceCount, 3);
  assert.deepEqual(take(source, 2, 2), [
    [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]],
    [[6, 7, 8, 0, 1, 2], [7, 8, 9, 1, 2, 3]],
  ]);
});

Deno.test("countWindows() needs one token more than the inputs", () => {
  assert.deepEqual([0, 1, 3, 4, 6, 7, 10].map((count) => countWindows(count, 3)), [0, 0, 0, 1, 1, 2, 3]);
});

Deno.test("each shuffled epoch has every window once, in another order", () => {
  const source = windowBatches(101, { sequenceLength: 1, shuffle: true, seed: 3 });
  const epochs = [firstTokens(source, 100), firstTokens(source, 100)];
  for (const epoch of epochs) assert.deepEqual(epoch.toSorted((a, b) => a - b), [...positions(100)]);
  assert.notDeepEqual(epochs[0], epochs[1]);
  assert.notDeepEqual(epochs[0], [...positions(100)]);
});

Deno.test("the shuffled order depends on the seed alone: these numbers must never change", () => {
  const order = (seed: number) =>
    firstTokens(windowBatches(9, { sequenceLength: 1, shuffle: true, seed }), 16);
  assert.deepEqual(order(1), [3, 7, 0, 4, 5, 6, 2, 1, 3, 5, 7, 6, 2, 4, 1, 0]);
  assert.notDeepEqual(order(1), order(2));
});

Deno.test("the sequences do not depend on how many are taken at a time, also across epochs", () => {
  for (const shuffle of [false, true]) {
    const options = { sequenceLength: 4, shuffle, seed: 5 };
    const tokens = 4 * 7 + 1; // 7 windows: no batch size divides an epoch
    const whole = take(windowBatches(tokens, options), 5, 12);
    for (const microBatchSize of [1, 2, 3, 4, 6]) {
      const parts = take(windowBatches(tokens, options), 5 * 12 / microBatchSize, microBatchSize);
      for (const part of [0, 1] as const) {
        assert.deepEqual(parts.flatMap((batch) => batch[part]), whole.flatMap((batch) => batch[part]));
      }
    }
  }
});

Deno.test("seek() continues a run where state() was taken, in any epoch", () => {
  for (const shuffle of [false, true]) {
    const options = { sequenceLength: 2, shuffle, seed: 5 };
    const tokens = 21;
    const source = windowBatches(tokens, options);
    take(source, 9, 3);
    const state = JSON.parse(JSON.stringify(source.state()));
    assert.deepEqual(state, { sequenceIndex: 27 });
    const rest = take(source, 4, 3);
    const continued = windowBatches(tokens, options);
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
  const source = windowBatches(12, { sequenceLength: 3, shuffle: false, seed: 0 });
  assert.throws(() => source.next(2, { ...emptyBatch(2, 3), targets: new Int32Array(5) }), RangeError);
  assert.throws(() => source.next(1, emptyBatch(2, 3)), RangeError);
  await assertInputError(() => nextTokenWindows(positions(3), 3), "3 training");
});

Deno.test("held-out batches have every window once, and mask the rows that have none", () => {
  const into = emptyBatch(2, 3);
  const windows = nextTokenWindows(positions(12), 3);
  const seen = [];
  for (const { targets } of heldOutBatches(windows, into, { microBatchSize: 2 })) {
    seen.push([[...into.tokens], [...into.targets], targets]);
  }
  assert.deepEqual(seen, [
    [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6], 6],
    [[6, 7, 8, 0, 0, 0], [7, 8, 9, MASKED_TARGET, MASKED_TARGET, MASKED_TARGET], 3],
  ]);
  const limited = [...heldOutBatches(windows, into, { microBatchSize: 2, maxSequences: 1 })];
  assert.deepEqual(limited.map(({ targets }) => targets), [3]);
});
