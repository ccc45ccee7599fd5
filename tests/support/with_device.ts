import type { Dtype } from "../../engine/graph/types.ts";
import type { Gpu } from "../../engine/runtime/gpu.ts";
import { openGpu } from "../../engine/runtime/device.ts";
import { PipelineCache } from "../../engine/runtime/pipelines.ts";

let shared: Promise<{ gpu: Gpu; pipelines: PipelineCache }> | undefined;

/**
 * One device and one pipeline cache for all tests of a file; tests leave its buffers destroyed.
 * `THREEFOLD_GPU=dawn` runs them on Dawn. Kernels are those of the rules: timing others is a test of its own.
 */
export function sharedDevice(): Promise<{ gpu: Gpu; pipelines: PipelineCache }> {
  shared ??= openGpu({ autotune: "off" }).then((gpu) => ({ gpu, pipelines: new PipelineCache(gpu) }));
  return shared;
}

/**
 * Options of device tests: the shared device outlives each test, so Deno's
 * resource checks do not apply to it.
 */
export const deviceTest = { sanitizeResources: false, sanitizeOps: false } as const;

/**
 * Options of a test that computes in a dtype: skipped where that is f16 and the adapter has no `shader-f16`.
 */
export async function deviceTestOf(dtype: Dtype): Promise<typeof deviceTest & { ignore: boolean }> {
  return { ...deviceTest, ignore: dtype === "f16" && !(await sharedDevice()).gpu.kernels.target.shaderF16 };
}

/**
 * Whether the part of a test that needs `shader-f16` runs. Where the adapter lacks it, the test gets a step
 * that is skipped by the feature's name, so that reports count what was left out.
 */
export async function runsF16(t: Deno.TestContext): Promise<boolean> {
  const { shaderF16 } = (await sharedDevice()).gpu.kernels.target;
  if (!shaderF16) await t.step({ name: "needs shader-f16", ignore: true, fn() {} });
  return shaderF16;
}
