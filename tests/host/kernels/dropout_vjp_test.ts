import assert from "node:assert/strict";
import { dropout } from "../../../kernels/dropout.ts";
import { dropoutKeep, dropoutThreshold, randomWord } from "../../../kernels/random.ts";
import { checkVjp } from "../../support/check_op.ts";

const KEY = { seed: 7, stepIndex: 3, microStepIndex: 1 };

Deno.test("dropout: the VJP agrees with central differences", () => {
  checkVjp(dropout, [{ shape: [5, 7] }], { probability: 0.4, stream: 2 });
  checkVjp(dropout, [{ shape: [8] }], { probability: 0, stream: 0 });
});

Deno.test("dropout keeps everything at probability 0 and refuses what is no probability", () => {
  for (let i = 0; i < 100; i++) assert.ok(dropoutKeep(KEY, 0, i, 0));
  for (const p of [-0.1, 1, 1.5, NaN]) assert.throws(() => dropoutThreshold(p), RangeError);
});

Deno.test("dropout drops its share of elements, in every component of a vector", () => {
  const count = 40_000;
  for (const p of [0.1, 0.5, 0.9]) {
    for (let component = 0; component < 4; component++) {
      let dropped = 0;
      for (let i = component; i < 4 * count; i += 4) dropped += Number(!dropoutKeep(KEY, 1, i, p));
      const deviations = Math.abs(dropped - p * count) / Math.sqrt(count * p * (1 - p));
      // Four standard deviations of a binomial: one chance in 16000, and the
      // numbers are the same in every run.
      assert.ok(deviations < 4, `p ${p}, component ${component}: ${dropped} of ${count} dropped`);
    }
  }
});

Deno.test("masks of other elements, streams, micro-steps, steps and seeds are independent", () => {
  const count = 20_000;
  const mask = (key: typeof KEY, stream: number, shift = 0) =>
    Array.from({ length: count }, (_, i) => Number(dropoutKeep(key, stream, i + shift, 0.5)) - 0.5);
  const base = mask(KEY, 1);
  const others = {
    "next element": mask(KEY, 1, 1),
    "next vector": mask(KEY, 1, 4),
    "next row of 768": mask(KEY, 1, 768),
    "next stream": mask(KEY, 2),
    "next micro-step": mask({ ...KEY, microStepIndex: 2 }, 1),
    "next step": mask({ ...KEY, stepIndex: 4 }, 1),
    "next seed": mask({ ...KEY, seed: 8 }, 1),
    "next step, seed before": mask({ ...KEY, stepIndex: 4, seed: 6 }, 1),
  };
  for (const [name, other] of Object.entries(others)) {
    // Correlation of independent signs: standard deviation 1/√count.
    const correlation = base.reduce((sum, v, i) => sum + 4 * v * other[i], 0) / count;
    assert.ok(Math.abs(correlation) < 4 / Math.sqrt(count), `${name}: correlation ${correlation}`);
  }
});

Deno.test("random words spread evenly over 256 bins", () => {
  const counts = new Array(256).fill(0);
  const draws = 256 * 400;
  for (let i = 0; i < draws; i++) counts[randomWord(KEY, 5, i) >>> 24]++;
  const chiSquare = counts.reduce((sum, n) => sum + (n - 400) ** 2 / 400, 0);
  // 255 degrees of freedom: mean 255, standard deviation √510; four of them either way.
  assert.ok(Math.abs(chiSquare - 255) < 4 * Math.sqrt(510), `chi square ${chiSquare}`);
});

Deno.test("random words do not repeat where the counter of their group passes 2³²", () => {
  const wrap = 4 * 2 ** 32;
  const words = (first: number) => Array.from({ length: 64 }, (_, i) => randomWord(KEY, 1, first + i));
  const starts = [0, wrap - 64, wrap, wrap + 64, 2 * wrap, 255 * wrap];
  const seen = new Set(starts.flatMap(words));
  assert.equal(seen.size, 64 * starts.length);
  // Nor are they those of a neighbouring step.
  for (const stepIndex of [KEY.stepIndex - 1, KEY.stepIndex + 1]) {
    assert.notEqual(randomWord({ ...KEY, stepIndex }, 1, 0), randomWord(KEY, 1, wrap));
  }
});

Deno.test("counters whose high words are below 2⁸ meet in steps that are millions apart", () => {
  for (let apart = 1; apart < 256; apart++) {
    const steps = Math.imul(apart, 0x9e3779b9) >>> 0;
    assert.ok(Math.min(steps, 2 ** 32 - steps) > 2 ** 22, `${apart} high words apart: ${steps}`);
  }
});
