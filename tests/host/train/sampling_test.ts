import assert from "node:assert/strict";
import { keyedRandom } from "../../../engine/train/random.ts";
import { nextToken, nucleus } from "../../../engine/train/sampling.ts";

const { logits, kept } = JSON.parse(
  await Deno.readTextFile(`${import.meta.dirname}/../../fixtures/generation/samplers.json`),
);

for (const { temperature, topP, ids, probabilities } of kept) {
  Deno.test(`at temperature ${temperature} and top-p ${topP}, transformers' tokens may come next`, () => {
    const found = nucleus(logits, { temperature, topP });
    const order = [...found.ids.keys()].sort((a, b) => found.probabilities[b] - found.probabilities[a]);
    assert.deepEqual(order.map((i) => found.ids[i]), ids);
    // transformers divides by the temperature in f32.
    for (const [k, i] of order.entries()) {
      assert.ok(Math.abs(found.probabilities[i] - probabilities[k]) < 1e-6);
    }
  });
}

Deno.test("at temperature 0 the first of the largest logits is taken", () => {
  const random = keyedRandom(1, "generate");
  assert.equal(nextToken(Float32Array.of(1, 3, 2, 3), { temperature: 0, topP: 1 }, random), 1);
  assert.equal(nextToken(Float32Array.of(-5, -Infinity), { temperature: 0, topP: 1 }, random), 0);
});

Deno.test("draws follow the probabilities, and the seed alone", () => {
  const draw = (seed: number) => {
    const random = keyedRandom(seed, "generate");
    return Array.from(
      { length: 4000 },
      () => nextToken(Float32Array.from(logits), { temperature: 1, topP: 0.9 }, random),
    );
  };
  const drawn = draw(3);
  assert.deepEqual(draw(3), drawn);
  assert.notDeepEqual(draw(4), drawn);
  const { ids, probabilities } = kept[1];
  for (const [i, id] of ids.entries()) {
    const share = drawn.filter((token) => token === id).length / drawn.length;
    // Five standard deviations of a share of 4000 draws.
    const allowed = 5 * Math.sqrt(probabilities[i] * (1 - probabilities[i]) / drawn.length);
    assert.ok(Math.abs(share - probabilities[i]) <= allowed, `${id}: ${share}, expected ${probabilities[i]}`);
  }
  assert.ok(drawn.every((token) => ids.includes(token)), "a token outside of the nucleus was drawn");
});

Deno.test("a logit that is no number is an error, not a token", () => {
  const random = keyedRandom(1, "generate");
  for (const bad of [NaN, Infinity]) {
    for (const temperature of [0, 1]) {
      assert.throws(() => nextToken(Float32Array.of(1, bad), { temperature, topP: 1 }, random), RangeError);
    }
  }
});
