import { InputError } from "../input_error.ts";
import { DAWN_VERSION, installDawn, loadDawn } from "./dawn_package.ts";
import { paceDawnPolls } from "./dawn_polling.ts";
import { type GpuProvider, SUBGROUP_MATRIX } from "./provider_contract.ts";

/**
 * What is switched on in Dawn, besides its defaults.
 *
 * - `allow_unsafe_apis`: features that browsers do not offer, and timestamps to the nanosecond.
 * - `vulkan_enable_f16_on_nvidia`: Dawn hides `shader-f16` on NVIDIA for a few failures of f16 in conformance
 *   tests (crbug.com/42251215); sums here are f32, and the kernels have tests of their own.
 * - `use_vulkan_memory_model`: what Vulkan asks of a device for subgroup matrices.
 */
const TOGGLES = ["allow_unsafe_apis", "vulkan_enable_f16_on_nvidia", "use_vulkan_memory_model"];

/** One instance for the process: it loads the Vulkan driver. */
let instance: Promise<Pick<GPU, "requestAdapter">> | undefined;

/**
 * Dawn, Chromium's implementation of WebGPU, from the npm package `webgpu` through Node-API.
 *
 * @throws {InputError} where the package cannot be got or does not load on this system: with what to do.
 */
export async function openDawn(): Promise<GpuProvider> {
  instance ??= createInstance().catch((error) => {
    instance = undefined; // it may be there next time
    throw error;
  });
  return {
    id: "dawn",
    version: `Dawn of webgpu ${DAWN_VERSION}`,
    gpu: await instance,
    adapterAdvice:
      "install a Vulkan driver for your GPU; it asks more of a software adapter than Mesa 22 has: " +
      "SwiftShader will do, which Debian's chromium brings, with " +
      "VK_ICD_FILENAMES=/usr/lib/chromium/vk_swiftshader_icd.json",
    // The device's name comes with dashes for all but letters and digits; the description names the driver.
    identify: ({ device, architecture, description }) => ({
      name: device.replace(/-+$/, "") || architecture || "unknown adapter",
      driver: description || null,
    }),
    wantedFeatures: ["subgroups", "shader-f16", "timestamp-query", SUBGROUP_MATRIX],
    listsFeatures: true,
    // Kernels say by their tests, not by proof, that a subgroup stays together: a
    // lane number tells the compiler nothing.
    subgroupsDirective: "enable subgroups;\ndiagnostic(off, subgroup_uniformity);\n",
    subgroupMatrixDirective: "enable chromium_experimental_subgroup_matrix;\n",
    callsWaitForQueue: false,
    compilesInParallel: true,
  };
}

async function createInstance(): Promise<Pick<GPU, "requestAdapter">> {
  const folder = await installDawn();
  try {
    const created = loadDawn(folder).create([`enable-dawn-features=${TOGGLES.join(",")}`]);
    paceDawnPolls();
    return created;
  } catch (error) {
    throw new InputError(
      `Cannot load Dawn from ${folder}: ${
        (error as Error).message
      }; remove the folder to get it anew, or use --gpu wgpu`,
    );
  }
}
