import type { Target } from "../graph/op.ts";
import { InputError } from "../input_error.ts";

/** A WebGPU device with what lowering and records need to know of it. */
export interface Gpu {
  device: GPUDevice;
  target: Target;
  adapter: AdapterDescription;
  /** The first error the device reported outside an error scope, or its loss; fatal at the next readback. */
  readonly failure: { error: Error | null };
}

/** What an adapter says of itself. */
export interface AdapterDescription {
  name: string;
  vendor: string;
  architecture: string;
  driver: string | null;
  /** Runs on the CPU. */
  software: boolean;
  features: string[];
  limits: Record<string, number>;
  /** Lanes per subgroup where all have the same number, else 0. */
  subgroupSize: number;
}

/** The device went away: driver reset, or the adapter was unplugged. */
export class DeviceLostError extends Error {
  override name = "DeviceLostError";
}

/** The device has no room for a buffer of the plan. */
export class OutOfMemoryError extends Error {
  override name = "OutOfMemoryError";
}

/** No adapter: what to do about it depends on the machine, so the message says both. */
export class NoAdapterError extends InputError {
  override name = "NoAdapterError";
}

const WANTED_FEATURES = [
  "subgroups",
  "shader-f16",
  "timestamp-query",
  "wgpu-shader-int64",
] as GPUFeatureName[];
const RECORDED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupsPerDimension",
  "minStorageBufferOffsetAlignment",
  "minUniformBufferOffsetAlignment",
] as const;

/**
 * What plans assume where no adapter is asked: a software adapter with 128 MiB bindings, the tightest we know. Sizes do
 * not depend on it; how many dispatches a step takes does.
 */
export const DEFAULT_TARGET: Target = {
  maxStorageBufferBindingSize: 2 ** 27,
  maxComputeWorkgroupsPerDimension: 65535,
  maxComputeWorkgroupStorageSize: 32768,
  maxComputeInvocationsPerWorkgroup: 1024,
  subgroupSize: 8,
  software: true,
  shaderF16: true,
};

/** The adapter WebGPU prefers for heavy work. @throws {NoAdapterError} */
export async function requestAdapter(): Promise<GPUAdapter> {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (adapter) return adapter;
  throw new NoAdapterError(
    "No WebGPU adapter found: install a Vulkan driver for your GPU, or a software adapter with " +
      "`apt-get install mesa-vulkan-drivers`, then run `deno task doctor`",
  );
}

/** What an adapter says of itself. Features are asked for one by one: not every one it grants is listed. */
export async function describeAdapter(adapter: GPUAdapter): Promise<AdapterDescription> {
  const { info } = adapter;
  const listed = await offeredFeatures(adapter);
  const name = info.description || info.device || "unknown adapter";
  const software = info.isFallbackAdapter || /llvmpipe|lavapipe|swiftshader|software/i.test(name);
  const limits: Record<string, number> = {};
  for (const limit of RECORDED_LIMITS) limits[limit] = Number(adapter.limits[limit]);
  const { subgroupMinSize: low, subgroupMaxSize: high } = info as {
    subgroupMinSize?: number;
    subgroupMaxSize?: number;
  };
  return {
    name,
    vendor: info.vendor,
    architecture: info.architecture,
    driver: await driverVersion(name),
    software,
    features: listed.sort(),
    limits,
    subgroupSize: low !== undefined && low === high && listed.includes("subgroups") ? low : 0,
  };
}

/** What the adapter offers: Deno grants some features, `subgroups` among them, that `adapter.features` does not list. */
async function offeredFeatures(adapter: GPUAdapter): Promise<string[]> {
  const offered = [...adapter.features].map(String);
  for (const feature of WANTED_FEATURES) {
    if (offered.includes(feature)) continue;
    try {
      // An adapter gives one device, so each question needs one of its own.
      const device = await (await requestAdapter()).requestDevice({ requiredFeatures: [feature] });
      if (device.features.has(feature)) offered.push(feature);
      device.destroy();
    } catch (error) {
      // Refusing is how an adapter says no; any other failure shows when the real device is asked for.
      if (error instanceof InputError) throw error;
    }
  }
  return offered;
}

/** The NVIDIA driver's version from the kernel, where there is one; Mesa's stands in the adapter's name. */
async function driverVersion(name: string): Promise<string | null> {
  if (/nvidia/i.test(name)) {
    try {
      return (await Deno.readTextFile("/proc/driver/nvidia/version")).match(/Module\s+(\S+)/)?.[1] ?? null;
    } catch {
      return null;
    }
  }
  return name.match(/\(([^)]*)\)/)?.[1] ?? null;
}

/**
 * Opens a device with every feature the engine can use and the adapter's own limits.
 *
 * @throws {NoAdapterError} without an adapter.
 */
export async function openGpu(): Promise<Gpu> {
  const adapter = await requestAdapter();
  const description = await describeAdapter(adapter);
  const requiredFeatures = WANTED_FEATURES.filter((feature) =>
    description.features.includes(feature)
  ) as GPUFeatureName[];
  const requiredLimits: Record<string, number> = {};
  for (const [limit, value] of Object.entries(description.limits)) {
    if (!limit.startsWith("min")) requiredLimits[limit] = value;
  }
  const device = await adapter.requestDevice({ requiredFeatures, requiredLimits });
  const failure: { error: Error | null } = { error: null };
  device.lost.then(({ reason, message }) => {
    if (reason !== "destroyed") failure.error = new DeviceLostError(`The device was lost: ${message}`);
  });
  device.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    const { error } = event as GPUUncapturedErrorEvent;
    failure.error ??= isOutOfMemory(error)
      ? new OutOfMemoryError(`The device ran out of memory: ${error.message}`)
      : new Error(`The device reported an error: ${error.message}`);
  });
  return {
    device,
    failure,
    adapter: description,
    target: {
      maxStorageBufferBindingSize: description.limits.maxStorageBufferBindingSize,
      maxComputeWorkgroupsPerDimension: description.limits.maxComputeWorkgroupsPerDimension,
      maxComputeWorkgroupStorageSize: description.limits.maxComputeWorkgroupStorageSize,
      maxComputeInvocationsPerWorkgroup: description.limits.maxComputeInvocationsPerWorkgroup,
      subgroupSize: requiredFeatures.includes("subgroups" as GPUFeatureName) ? description.subgroupSize : 0,
      software: description.software,
      shaderF16: requiredFeatures.includes("shader-f16"),
      shaderInt64: requiredFeatures.includes("wgpu-shader-int64" as GPUFeatureName),
    },
  };
}

export function isOutOfMemory(error: unknown): boolean {
  return typeof GPUOutOfMemoryError !== "undefined" && error instanceof GPUOutOfMemoryError;
}
