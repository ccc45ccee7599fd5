// The engine on Dawn, and its kernels before Dawn's compiler. THREEFOLD_GPU=dawn
// runs all other device tests on it too.
//
// One file, because each file is an isolate of its own and `deno test --parallel` runs several in a process:
// Dawn's Node-API addon hangs or crashes there when the isolate of one file ends while another's still uses
// it. Whatever loads Dawn without being told to by THREEFOLD_GPU belongs in here.
import assert from "node:assert/strict";
import { dawnFolder, dawnIsInstalled, loadDawn } from "../../../engine/runtime/dawn_package.ts";
import { describeAdapter, openGpu } from "../../../engine/runtime/device.ts";
import { NoAdapterError } from "../../../engine/runtime/errors.ts";
import type { Gpu } from "../../../engine/runtime/gpu.ts";
import { completeWgsl, PipelineCache } from "../../../engine/runtime/pipelines.ts";
import { openProvider } from "../../../engine/runtime/provider.ts";
import {
  GPU_PROVIDERS,
  type GpuProviderId,
  SUBGROUP_MATRIX,
} from "../../../engine/runtime/provider_contract.ts";
import { readBuffer } from "../../../engine/runtime/readback.ts";
import { surveyProviders } from "../../../engine/runtime/survey.ts";
import { trainOn } from "../../../engine/train/train.ts";
import { fixtureOptions, gpt2Fixture } from "../../support/gpt2_fixture.ts";
import { assertClose } from "../../support/numerics.ts";
import { DAWN_KERNELS, kernelsOf } from "../../support/step_kernels.ts";
import { deviceTest } from "../../support/with_device.ts";

/** Whether Dawn is installed and takes this machine's adapter: it asks more of one than wgpu. */
async function dawnRuns(): Promise<boolean> {
  if (!await dawnIsInstalled()) return false;
  try {
    await describeAdapter("dawn");
    return true;
  } catch (error) {
    if (error instanceof NoAdapterError) return false;
    throw error;
  }
}

const NEEDS = "needs the npm package webgpu and an adapter that Dawn takes";
const options = { ...deviceTest, ignore: !await dawnRuns() };

/** Losses of the fixture's run on a provider. */
async function lossesOn(provider: GpuProviderId): Promise<{ losses: number[]; gpu: Gpu }> {
  const gpu = await openGpu({ provider, autotune: "off" });
  const losses: number[] = [];
  try {
    const device = { gpu, pipelines: new PipelineCache(gpu) };
    await trainOn(device, fixtureOptions(await gpt2Fixture(), { clip: 1 }), {
      onStep: ({ loss }) => losses.push(loss),
    });
  } finally {
    gpu.device.destroy();
  }
  return { losses, gpu };
}

Deno.test(`20 AdamW steps on Dawn follow PyTorch's losses, and wgpu's (${NEEDS})`, options, async () => {
  const onDawn = await lossesOn("dawn");
  assert.equal(onDawn.gpu.adapter.provider, "dawn");
  assert.match(onDawn.gpu.adapter.providerVersion, /^Dawn of webgpu \d/);
  const { expected } = await gpt2Fixture();
  assertClose(onDawn.losses, expected.runs.adamwClipLinearDecay.losses, 1e-6, "loss");
  const onWgpu = await lossesOn("wgpu");
  // One software adapter computes the same bits for both, unless their compilers
  // differ; a GPU's may contract products.
  const bound = onDawn.gpu.kernels.kind === "software" ? 0 : 1e-6;
  assertClose(onDawn.losses, onWgpu.losses, bound, "loss on Dawn against wgpu");
});

Deno.test(`what a device of Dawn reports is an error at the next readback (${NEEDS})`, options, async () => {
  const gpu = await openGpu({ provider: "dawn", autotune: "off" });
  try {
    const buffer = gpu.device.createBuffer({ size: 16, usage: GPUBufferUsage.COPY_SRC });
    assert.equal((await readBuffer(gpu, buffer, 0, 16)).byteLength, 16);
    gpu.device.createBuffer({ size: 2 ** 50, usage: GPUBufferUsage.STORAGE });
    await assert.rejects(readBuffer(gpu, buffer, 0, 16), /^Error: The device reported an error: /);
  } finally {
    gpu.device.destroy();
  }
});

Deno.test(`a kernel that is not valid WGSL says why on Dawn (${NEEDS})`, options, async () => {
  const gpu = await openGpu({ provider: "dawn", autotune: "off" });
  try {
    const pipelines = new PipelineCache(gpu);
    const kernel = {
      name: "broken",
      code: "@compute fn broken() { nonsense }",
      entryPoint: "broken",
      writes: [],
    };
    await assert.rejects(
      pipelines.compile([{ kernel, bindingCount: 0 }, { kernel, bindingCount: 1 }]),
      /Cannot compile kernel broken: [^]*nonsense/,
    );
    assert.equal(gpu.failure.error, null);
    assert.equal(pipelines.size, 0);
  } finally {
    gpu.device.destroy();
  }
});

// Every kernel of every kind of step, read by Chromium's compiler: wgpu's lets
// pass what the language forbids. No adapter is needed, as Dawn's null backend
// compiles and runs nothing, and has all features, f16 among them.
Deno.test({
  name: "Dawn's compiler takes every kernel (needs the npm package webgpu)",
  ...deviceTest,
  ignore: !await dawnIsInstalled(),
  async fn(t) {
    const gpu = loadDawn(dawnFolder()).create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);
    const adapter = await gpu.requestAdapter();
    assert.ok(adapter, "the null backend always has an adapter");
    const requiredFeatures = ["shader-f16", "subgroups", SUBGROUP_MATRIX] as GPUFeatureName[];
    const device = await adapter.requestDevice({ requiredFeatures });
    const provider = await openProvider("dawn");
    for (const [name, target] of Object.entries(DAWN_KERNELS)) {
      await t.step(name, async () => {
        const kernels = kernelsOf(target);
        assert.ok(kernels.length > 60, `only ${kernels.length} kernels found`);
        const refused: string[] = [];
        for (const { name, code, entryPoint, constants } of kernels) {
          device.pushErrorScope("validation");
          const module = device.createShaderModule({ code: completeWgsl(code, provider) });
          device.createComputePipeline({ layout: "auto", compute: { module, entryPoint, constants } });
          const error = await device.popErrorScope();
          if (error) refused.push(`${name}: ${error.message}`);
        }
        assert.deepEqual(refused, []);
      });
    }
    device.destroy();
  },
});

Deno.test("surveyProviders() says of every provider what it offers, or what to do", deviceTest, async () => {
  const surveys = await surveyProviders();
  assert.deepEqual(surveys.map(({ id }) => id), [...GPU_PROVIDERS]);
  for (const { id, adapter, problem, version } of surveys) {
    if (adapter === null) assert.match(problem ?? "", /^(not installed|No WebGPU adapter found by)/, id);
    else {
      assert.equal(problem, null);
      assert.deepEqual([adapter.provider, adapter.providerVersion], [id, version]);
    }
  }
  assert.ok(surveys.some(({ adapter }) => adapter !== null));
});
