import { RUNTIME } from "../host.ts";
import type { GpuProvider } from "./provider_contract.ts";

/**
 * Deno's own WebGPU, which is wgpu.
 *
 * Source of what it says of itself: measured; Deno 2.9 `ext/webgpu`. Its compiler, naga 29, knows the
 * subgroup functions but not the directive that turns them on.
 */
export function openWgpu(): GpuProvider {
  return {
    id: "wgpu",
    version: `wgpu of ${RUNTIME}`,
    gpu: navigator.gpu,
    adapterAdvice: "install a Vulkan driver for your GPU, or a software adapter with `apt-get install " +
      "mesa-vulkan-drivers`",
    identify: ({ description, device }) => {
      const name = description || device || "unknown adapter";
      // Mesa's drivers put their version into the adapter's name.
      return { name, driver: name.match(/\(([^)]*)\)/)?.[1] ?? null };
    },
    wantedFeatures: ["subgroups", "shader-f16", "timestamp-query"],
    listsFeatures: false,
    subgroupsDirective: "",
    // wgpu has something like them under other names, which Deno does not offer.
    subgroupMatrixDirective: "",
    callsWaitForQueue: true,
    compilesInParallel: false,
  };
}
