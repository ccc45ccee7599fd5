import assert from "node:assert/strict";
import { type ProfiledStep, profileText } from "../../../suites/cli/profile_text.ts";

const STEP: ProfiledStep = {
  profile: [
    { kernel: "linear", dispatches: 16, ms: 80, flops: 8e8, bytes: 2e7 },
    { kernel: "adamw", dispatches: 1, ms: 15, flops: 0, bytes: 3e7 },
    { kernel: "layer_norm_parameter_partials_and_more", dispatches: 123456, ms: 5, flops: 0, bytes: 5e6 },
  ],
  profiling: { method: "timestamps", reason: null, wallMs: 98.76 },
  roofline: {
    matmulFlopsPerSecond: { f32: 2e10, f16: null },
    copyBytesPerSecond: 4e9,
    how: "fastest run",
  },
  dtype: "f32",
  modelFlopsPerStep: 8e8,
  stepMs: 100,
};

Deno.test("profileText() shows shares of time, rates, intensity and the share of the roof, in 80 columns", () => {
  const text = profileText(STEP);
  const lines = text.split("\n");
  for (const line of lines) assert.ok(line.length <= 80, `${line.length}: ${line}`);
  // 8e8 FLOP in 80 ms are 10 GFLOP/s, half of the ceiling; 3e7 bytes in 15 ms are 2 GB/s, half of the copy's.
  assert.match(lines[1], /^linear +16 +80\.00 +80\.0 +10\.0 +0\.25 +40\.0 +50$/);
  assert.match(lines[2], /^adamw +1 +15\.00 +15\.0 +– +2\.00 +– +50$/);
  assert.match(lines[3], /^layer_norm_parameter_part… +123456 /);
  assert.match(text, /123473 dispatches, 100\.0 ms, 55 MB moved, 0\.80 GFLOP in products/);
  assert.match(text, /8\.00 GFLOP\/s of model FLOPs in a step of 100\.0 ms, 40\.0 % of the ceiling/);
  assert.match(text, /ceilings: 20\.0 GFLOP\/s f32, no f16, copy 4\.0 GB\/s/);
  assert.match(text, /timed by the device's clock, a dispatch a pass; the step itself takes 98\.8 ms/);
});

Deno.test("profileText() leaves out what was not measured", () => {
  const text = profileText({
    ...STEP,
    roofline: null,
    stepMs: null,
    profiling: { method: "differential", reason: "the adapter has no timestamp-query", wallMs: 1 },
  });
  assert.match(text, /^adamw .* –$/m);
  assert.doesNotMatch(text, /ceiling/);
  assert.match(text, /by repeating each kernel's dispatches \(the adapter has no timestamp-query\)/);
});
