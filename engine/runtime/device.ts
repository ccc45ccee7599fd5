import { disk } from "../host.ts";
import type { MatrixShape, Target } from "../graph/target.ts";
import { kernelsFor, MESA_SCRATCH_BYTES } from "../../kernels/kernel_sets.ts";
import { type AutotuneMode, defaultAutotuneMode } from "./autotune_mode.ts";
import { isOutOfMemory, lossOf, NoAdapterError, OutOfMemoryError } from "./errors.ts";
import type { AdapterDescription, Gpu } from "./gpu.ts";
import { lavapipeSettings } from "./lavapipe/environment.ts";
import { openProvider } from "./provider.ts";
import { type GpuProvider, type GpuProviderId, SUBGROUP_MATRIX } from "./provider_contract.ts";

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

/** The adapter that an implementation prefers for heavy work. @throws {NoAdapterError} */
async function requestAdapter({ gpu, version, adapterAdvice }: GpuProvider): Promise<GPUAdapter> {
  const adapter = await gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (adapter) return adapter;
  throw new NoAdapterError(
    `No WebGPU adapter found by ${version}: ${adapterAdvice}, then run \`deno task doctor\``,
  );
}

/**
 * What the adapter says of itself, without opening a device.
 *
 * @param id The implementation of WebGPU to ask; default: `THREEFOLD_GPU`, or wgpu.
 * @throws {NoAdapterError} without an adapter.
 * @throws {InputError} where the implementation cannot be loaded.
 */
export async function describeAdapter(id?: GpuProviderId): Promise<AdapterDescription> {
  const provider = await openProvider(id);
  return await describe(await requestAdapter(provider), provider);
}

async function describe(adapter: GPUAdapter, provider: GpuProvider): Promise<AdapterDescription> {
  const { info } = adapter;
  const listed = await offeredFeatures(adapter, provider);
  const { name, driver } = provider.identify(info);
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
    driver: await nvidiaDriver(name) ?? driver,
    provider: provider.id,
    providerVersion: provider.version,
    software,
    features: listed.sort(),
    limits,
    subgroupSize: low !== undefined && low === high && listed.includes("subgroups") ? low : 0,
    ...lavapipeSettings(name),
    subgroupMatrix: listed.includes(SUBGROUP_MATRIX) ? largestMatrix(info) : undefined,
  };
}

/** What Dawn says of an adapter's matrix units, one entry for each product they can do. */
interface SubgroupMatrixInfo {
  subgroupMatrixConfigs?: Iterable<
    { componentType: string; resultComponentType: string; M: number; N: number; K: number }
  >;
}

/** The largest matrices of f16 whose products are summed in f32: sums in f16 are no good for training. */
function largestMatrix(info: GPUAdapterInfo): MatrixShape | undefined {
  const shapes = [...(info as SubgroupMatrixInfo).subgroupMatrixConfigs ?? []]
    .filter(({ componentType, resultComponentType, M, N, K }) =>
      componentType === "f16" && resultComponentType === "f32" && [M, N, K].every((size) => size % 8 === 0)
    );
  const size = ({ M, N, K }: typeof shapes[number]) => M * N * K;
  const [largest] = shapes.sort((one, other) => size(other) - size(one));
  return largest ? { m: largest.M, n: largest.N, k: largest.K } : undefined;
}

/**
 * What adapters were found to offer, by provider and name: asking opens devices, which takes NVIDIA's driver
 * a tenth of a second each.
 */
const offered = new Map<string, Promise<string[]>>();

/**
 * What the adapter offers: Deno grants some features, `subgroups` among them,
 * that `adapter.features` does not list.
 */
async function offeredFeatures(adapter: GPUAdapter, provider: GpuProvider): Promise<string[]> {
  if (provider.listsFeatures) return [...adapter.features].map(String);
  const key = `${provider.id} ${provider.identify(adapter.info).name}`;
  let features = offered.get(key);
  if (!features) {
    features = askForFeatures(adapter, provider);
    features.catch(() => offered.delete(key));
    offered.set(key, features);
  }
  return [...await features];
}

async function askForFeatures(adapter: GPUAdapter, provider: GpuProvider): Promise<string[]> {
  const found = [...adapter.features].map(String);
  for (const feature of provider.wantedFeatures) {
    if (found.includes(feature)) continue;
    const requiredFeatures = [feature as GPUFeatureName];
    const device = await openDevice(provider, { requiredFeatures });
    if (device?.features.has(requiredFeatures[0])) found.push(feature);
    device?.destroy();
  }
  return found;
}

/** Times a device is asked for that the driver has no room for: other processes may be opening theirs. */
const OPENING_ATTEMPTS = 4;
const OPENING_PAUSE_MS = 250;

/**
 * A device of an adapter of its own, because an adapter gives one; null where the
 * adapter lacks what is required.
 *
 * A refusal is a `TypeError`. Anything else, such as a driver that has no room for
 * one more process just now, says nothing of what the adapter can do: taken for a
 * refusal it would take features away, and with them kernels and their bits.
 *
 * @throws {NoAdapterError} without an adapter; what the last attempt threw, if none succeeds.
 */
async function openDevice(provider: GpuProvider, descriptor: GPUDeviceDescriptor): Promise<GPUDevice | null> {
  for (let attempt = 1;; attempt++) {
    const adapter = await requestAdapter(provider);
    try {
      return await adapter.requestDevice(descriptor);
    } catch (error) {
      if (error instanceof TypeError) return null;
      if (attempt === OPENING_ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, attempt * OPENING_PAUSE_MS));
    }
  }
}

/**
 * The NVIDIA driver's version from the kernel, where there is one: no
 * implementation of WebGPU tells it exactly.
 */
async function nvidiaDriver(name: string): Promise<string | null> {
  if (!/nvidia/i.test(name)) return null;
  try {
    return (await disk.readTextFile("/proc/driver/nvidia/version")).match(/Module\s+(?:for\s+\S+\s+)?(\S+)/)
      ?.[1] ?? null;
  } catch {
    return null;
  }
}

/** How a device is opened. */
export interface GpuOptions {
  /** The implementation of WebGPU; default: `THREEFOLD_GPU`, or wgpu. */
  provider?: GpuProviderId;
  /** Whether kernels are chosen by the clock; default: `THREEFOLD_AUTOTUNE`, or on. */
  autotune?: AutotuneMode;
}

/**
 * Opens a device with every feature the engine can use and the adapter's own limits.
 *
 * @throws {NoAdapterError} without an adapter.
 * @throws {InputError} where the implementation cannot be loaded, or an
 * environment variable has no such value.
 */
export async function openGpu(options: GpuOptions = {}): Promise<Gpu> {
  const autotune = options.autotune ?? defaultAutotuneMode();
  const provider = await openProvider(options.provider);
  const adapter = await requestAdapter(provider);
  const description = await describe(adapter, provider);
  const requiredFeatures = provider.wantedFeatures.filter((feature) =>
    description.features.includes(feature)
  ) as GPUFeatureName[];
  const requiredLimits: Record<string, number> = {};
  for (const [limit, value] of Object.entries(description.limits)) {
    if (!limit.startsWith("min")) requiredLimits[limit] = value;
  }
  const device = await openDevice(provider, { requiredFeatures, requiredLimits });
  if (!device) {
    throw new Error(`${description.name} refuses a device with what it offers: ${requiredFeatures}`);
  }
  const failure: { error: Error | null } = { error: null };
  // Before all that it causes. A device is destroyed in the end, too: then nobody asks any more.
  device.lost.then((loss) => {
    failure.error = lossOf(loss);
  });
  device.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    const { error } = event as GPUUncapturedErrorEvent;
    failure.error ??= isOutOfMemory(error)
      ? new OutOfMemoryError(`The device ran out of memory: ${error.message}`)
      : new Error(`The device reported an error: ${error.message}`);
  });
  const { limits, subgroupSize, software } = description;
  const target: Target = {
    maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
    maxComputeWorkgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
    maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
    // Kernels have their invocations in a row.
    maxComputeInvocationsPerWorkgroup: Math.min(
      limits.maxComputeInvocationsPerWorkgroup,
      limits.maxComputeWorkgroupSizeX,
    ),
    maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
    subgroupSize: requiredFeatures.includes("subgroups" as GPUFeatureName) ? subgroupSize : 0,
    shaderF16: requiredFeatures.includes("shader-f16"),
    subgroupMatrix: subgroupSize > 0 ? description.subgroupMatrix : undefined,
  };
  // That copies into the scratch texture pay was measured on Mesa's adapter alone.
  const scratchBytes = /llvmpipe|lavapipe/i.test(description.name) ? MESA_SCRATCH_BYTES : 0;
  const kernels = kernelsFor(software ? "software" : "gpu", target, scratchBytes);
  return { device, provider, autotune, failure, adapter: description, kernels };
}
