import assert from "node:assert/strict";
import { fastestOf } from "../../../engine/runtime/autotune.ts";
import { noiseWords } from "../../../engine/runtime/kernel_timer.ts";

Deno.test("noiseWords() are numbers of either sign as f16 and as f32", () => {
  const words = noiseWords(4096);
  const halves = new Float16Array(words.buffer);
  assert.ok(halves.every((number) => Math.abs(number) >= 0.5 && Math.abs(number) < 1));
  const singles = new Float32Array(words.buffer);
  assert.ok(singles.every((number) => Math.abs(number) > 2 ** -16 && Math.abs(number) < 0.01));
  for (const numbers of [halves, singles]) {
    const negative = numbers.filter((number) => number < 0).length / numbers.length;
    assert.ok(negative > 0.45 && negative < 0.55, `${negative} below zero`);
  }
  assert.ok(new Set(words).size > 4090);
});

Deno.test("fastestOf() stays with the rules below a gain of 3 %", () => {
  assert.equal(fastestOf(new Map([["rule", 1.03], ["other", 1.001]]), "rule"), "rule");
  assert.equal(fastestOf(new Map([["rule", 1.03], ["other", 0.999], ["third", 0.9995]]), "rule"), "other");
  assert.equal(fastestOf(new Map(), "rule"), "rule");
});

Deno.test("fastestOf() takes the fastest of the others where that of the rules cannot be had", () => {
  assert.equal(fastestOf(new Map([["slow", 2], ["fast", 1], ["middle", 1.5]]), "rule"), "fast");
  assert.equal(fastestOf(new Map([["only", 7]]), "rule"), "only");
});
