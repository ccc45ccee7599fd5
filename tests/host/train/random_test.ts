import assert from "node:assert/strict";
import { keyedRandom, Random } from "../../../engine/train/random.ts";

Deno.test("nextU32() gives the numbers of the reference implementation of xoshiro128**", () => {
  const random = new Random([1, 2, 3, 4]);
  // The test vector of the crate rand_xoshiro, made with the authors' C code.
  const expected = [
    11520,
    0,
    5927040,
    70819200,
    2031721883,
    1637235492,
    1287239034,
    3734860849,
    3729100597,
    4258142804,
  ];
  assert.deepEqual(expected.map(() => random.nextU32()), expected);
});

Deno.test("keyedRandom() is the same everywhere: these numbers must never change", () => {
  const random = keyedRandom(42, "wte");
  assert.deepEqual([random.nextU32(), random.nextU32()], [3043838790, 564198380]);
  assert.deepEqual([keyedRandom(-1, "").uniform(), keyedRandom(0, "é").normal()], [
    0.5124095889070341,
    -2.0444814336782042,
  ]);
});

Deno.test("streams of different seeds or keys differ, those of the same do not, whatever was drawn before", () => {
  const first = (seed: number, key: string) => keyedRandom(seed, key).nextU32();
  const drawn = [first(0, "a"), first(0, "b"), first(1, "a"), first(1, "1:a"), first(11, "a")];
  assert.equal(new Set(drawn).size, drawn.length);
  assert.equal(first(0, "a"), drawn[0]);
  assert.throws(() => keyedRandom(0.5, "a"), RangeError);
  assert.throws(() => keyedRandom(NaN, "a"), RangeError);
});

const COUNT = 200_000;

Deno.test("uniform() is in [0, 1) with the moments of the uniform distribution", () => {
  const random = keyedRandom(1, "uniform");
  const values = Array.from({ length: COUNT }, () => random.uniform());
  assert.ok(values.every((value) => value >= 0 && value < 1));
  assertMoments(values, 1 / 2, 1 / 12);
});

Deno.test("normal() has the moments and the tails of the normal distribution", () => {
  const random = keyedRandom(1, "normal");
  const values = Array.from({ length: COUNT }, () => random.normal());
  assertMoments(values, 0, 1);
  const beyondTwo = values.filter((value) => Math.abs(value) > 2).length / COUNT;
  assert.ok(
    Math.abs(beyondTwo - 0.0455) < 5 * Math.sqrt(0.0455 / COUNT),
    `${beyondTwo} of the values are beyond 2`,
  );
});

Deno.test("fillNormal() gives the numbers of normal(), whatever was drawn before", () => {
  const filling = keyedRandom(1, "fill"), drawing = keyedRandom(1, "fill");
  for (const length of [0, 1, 0, 4, 5, 2, 1]) {
    const values = new Float32Array(length);
    filling.fillNormal(values, 0.02);
    assert.deepEqual(values, Float32Array.from({ length }, () => drawing.normal() * 0.02));
    if (length === 5) assert.equal(filling.nextU32(), drawing.nextU32());
  }
  assert.equal(filling.normal(), drawing.normal());
});

Deno.test("below() takes every number equally often", () => {
  const random = keyedRandom(1, "below");
  const counts = new Array(7).fill(0);
  for (let i = 0; i < COUNT; i++) counts[random.below(7)]++;
  for (const count of counts) assert.ok(Math.abs(count - COUNT / 7) < 5 * Math.sqrt(COUNT / 7), `${counts}`);
  assert.equal(random.below(1), 0);
});

/**
 * Mean and variance of so many samples lie within five standard errors of the
 * distribution's (fourth moment ≤ 3σ⁴).
 */
function assertMoments(values: number[], mean: number, variance: number): void {
  const actualMean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const actualVariance = values.reduce((sum, value) => sum + (value - actualMean) ** 2, 0) / values.length;
  assert.ok(Math.abs(actualMean - mean) < 5 * Math.sqrt(variance / values.length), `mean ${actualMean}`);
  assert.ok(
    Math.abs(actualVariance - variance) < 5 * variance * Math.sqrt(2 / values.length),
    `variance ${actualVariance}`,
  );
}
