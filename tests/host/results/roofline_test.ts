import assert from "node:assert/strict";
import {
  kernelRates,
  modelFlopsUtilisation,
  raisedRoofline,
  stepAsKernel,
} from "../../../results/roofline.ts";

const ROOFLINE = { matmulFlopsPerSecond: { f32: 1e9, f16: 4e9 }, copyBytesPerSecond: 1e8, how: "by hand" };
const kernel = (ms: number, flops: number, bytes: number) => ({
  kernel: "k",
  dispatches: 1,
  ms,
  flops,
  bytes,
});

Deno.test("kernelRates() measures a kernel of many FLOPs a byte against the products", () => {
  const rates = kernelRates(kernel(4, 2e6, 1e4), ROOFLINE);
  assert.equal(rates.flopsPerSecond, 5e8);
  assert.equal(rates.bytesPerSecond, 2.5e6);
  assert.equal(rates.intensity, 200);
  assert.equal(rates.ceilingShare, 0.5);
  assert.equal(kernelRates(kernel(4, 2e6, 1e4), ROOFLINE, "f16").ceilingShare, 0.125);
});

Deno.test("kernelRates() measures a kernel of few FLOPs a byte against the copies", () => {
  const rates = kernelRates(kernel(100, 1e6, 5e6), ROOFLINE);
  assert.equal(rates.intensity, 0.2);
  assert.equal(rates.ceilingShare, 0.5);
  assert.equal(kernelRates(kernel(100, 0, 5e6), ROOFLINE).ceilingShare, 0.5);
});

Deno.test("kernelRates() says nothing where there is nothing to say", () => {
  assert.equal(kernelRates(kernel(4, 2e6, 1e4), null).ceilingShare, null);
  assert.deepEqual(kernelRates(kernel(0, 2e6, 1e4), ROOFLINE), {
    flopsPerSecond: 0,
    bytesPerSecond: 0,
    intensity: 200,
    ceilingShare: null,
  });
  assert.equal(kernelRates(kernel(4, 0, 0), ROOFLINE).intensity, 0);
});

Deno.test("modelFlopsUtilisation() is the model's FLOPs over what the products could do in that time", () => {
  assert.equal(modelFlopsUtilisation({ modelFlopsPerStep: 3e8, stepMs: 1000 }, ROOFLINE), 0.3);
  assert.equal(modelFlopsUtilisation({ modelFlopsPerStep: 3e8, stepMs: 1000 }, ROOFLINE, "f16"), 0.075);
  const without = { ...ROOFLINE, matmulFlopsPerSecond: { f32: 1e9, f16: null } };
  assert.equal(modelFlopsUtilisation({ modelFlopsPerStep: 3e8, stepMs: 1000 }, without, "f16"), 0.3);
});

Deno.test("raisedRoofline() takes the best kernel seen, but for those too short to be timed", () => {
  const profile = [kernel(1000, 3e9, 1e6), kernel(500, 1e8, 9e7), kernel(1, 1e9, 1e9)];
  const raised = raisedRoofline(ROOFLINE, [profile]);
  assert.deepEqual(raised.matmulFlopsPerSecond, { f32: 3e9, f16: 4e9 });
  assert.equal(raised.copyBytesPerSecond, 1.8e8);
  // A hundredth of the step's time is long enough, less is not.
  const copies = (ms: number) =>
    raisedRoofline(ROOFLINE, [[kernel(1000 - ms, 1e6, 1e6), kernel(ms, 1e6, 1e9)]]).copyBytesPerSecond;
  assert.deepEqual([copies(10), copies(9.999)], [1e11, ROOFLINE.copyBytesPerSecond]);
  assert.match(raised.how, /^by hand; or the fastest kernel/);
  assert.equal(raisedRoofline(raised, [[kernel(1000, 5e9, 1e6)]]).how, raised.how, "said once");
  assert.equal(kernelRates(profile[0], raised).ceilingShare, 1);
  assert.equal(raisedRoofline(ROOFLINE, [profile], "f16").matmulFlopsPerSecond.f16, 4e9);
});

Deno.test("no share of a raised roof is above 1: neither of a short kernel nor of the step", () => {
  const step = { modelFlopsPerStep: 6e9, stepMs: 1000 };
  const profile = [kernel(1000, 3e9, 1e6), kernel(9, 1e9, 1e9)];
  const raised = raisedRoofline(ROOFLINE, [profile, [stepAsKernel(step)]]);
  assert.equal(raised.matmulFlopsPerSecond.f32, 6e9);
  assert.deepEqual(profile.map((one) => kernelRates(one, raised).ceilingShare), [0.5, 1]);
  assert.equal(modelFlopsUtilisation(step, raised), 1);
  const steadiness = {
    f32: { measurements: 3, spread: 0 },
    f16: null,
    copy: { measurements: 4, spread: 0.01 },
  };
  assert.deepEqual(raisedRoofline({ ...ROOFLINE, steadiness }, [profile]).steadiness, steadiness);
});

Deno.test("raisedRoofline() leaves a roof alone that nothing went through", () => {
  assert.equal(raisedRoofline(ROOFLINE, [[kernel(4, 2e6, 1e4)]]), ROOFLINE);
  assert.equal(raisedRoofline(ROOFLINE, []), ROOFLINE);
});
