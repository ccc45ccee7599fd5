import assert from "node:assert/strict";
import { measureRoofline } from "../../../engine/runtime/roofline.ts";
import { deviceTest, sharedDevice } from "../../support/with_device.ts";

Deno.test("measureRoofline() finds ceilings that some machine could have", deviceTest, async () => {
  const { gpu: { kernels: { target } } } = await sharedDevice();
  const { matmulFlopsPerSecond: { f32, f16 }, copyBytesPerSecond, how, steadiness } = await measureRoofline({
    budgetMs: 100,
  });
  // From a naive kernel on one core of a busy machine to a thousand times the GPUs of today.
  for (const rate of [f32, ...f16 === null ? [] : [f16]]) {
    assert.ok(rate > 1e8 && rate < 1e17, `${rate} FLOP/s`);
  }
  assert.equal(f16 === null, !target.shaderF16);
  assert.ok(copyBytesPerSecond > 1e8 && copyBytesPerSecond < 1e15, `${copyBytesPerSecond} B/s`);
  assert.equal(steadiness.f16 === null, f16 === null);
  for (const one of [steadiness.f32, steadiness.copy, ...steadiness.f16 ? [steadiness.f16] : []]) {
    assert.ok(one.measurements >= 3 && one.measurements <= 12, `${one.measurements}`);
    assert.ok(one.measurements === 12 || one.spread <= 0.05, `${one.spread}`);
  }
  assert.match(how, /; last 3 of f32 \d+, .*copy \d+ measurements within \d+ %/);
  assert.match(how, /^fastest run: \d+³ f32 product.* 64 MiB copied/);
});
