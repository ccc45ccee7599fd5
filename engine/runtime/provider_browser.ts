import { RUNTIME } from "../host.ts";
import type { GpuProvider } from "./provider_contract.ts";

/** The WebGPU of the browser that a page runs in, as the standard has it. */
export function openBrowser(): GpuProvider {
  return {
    id: "browser",
    version: RUNTIME,
    gpu: navigator.gpu,
    adapterAdvice: "open the page by https or from localhost, in a browser that has WebGPU switched on",
    // Browsers say little of a device, so that pages cannot tell whose it is.
    identify: ({ description, device, vendor, architecture }) => ({
      name: description || device || `${vendor} ${architecture}`.trim() || "unknown adapter",
      driver: null,
    }),
    wantedFeatures: ["subgroups", "shader-f16", "timestamp-query"],
    listsFeatures: true,
    // Kernels say by their tests, not by proof, that a subgroup stays together: as in Dawn.
    subgroupsDirective: "enable subgroups;\ndiagnostic(off, subgroup_uniformity);\n",
    subgroupMatrixDirective: "",
    callsWaitForQueue: false,
    compilesInParallel: true,
  };
}
