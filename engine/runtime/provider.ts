import { environmentVariable, IS_PAGE } from "../host.ts";
import { InputError } from "../input_error.ts";
import { GPU_PROVIDERS, type GpuProvider, type GpuProviderId } from "./provider_contract.ts";
import { openBrowser } from "./provider_browser.ts";
import { openDawn } from "./provider_dawn.ts";
import { openWgpu } from "./provider_wgpu.ts";

/**
 * The implementation of WebGPU with this name; in a page the browser's, whatever the name.
 *
 * @param id Default: `THREEFOLD_GPU`, or wgpu.
 * @throws {InputError} for an unknown name, or where the implementation cannot be
 * loaded: with what to install.
 */
export async function openProvider(id: GpuProviderId = defaultProvider()): Promise<GpuProvider> {
  if (IS_PAGE) return openBrowser();
  switch (id) {
    case "wgpu":
      return openWgpu();
    case "dawn":
      return await openDawn();
    default:
      throw new TypeError(`Unknown provider ${id satisfies never}`);
  }
}

/**
 * The implementation that the environment variable `THREEFOLD_GPU` names; wgpu
 * without it. @throws {InputError}
 */
export function defaultProvider(): GpuProviderId {
  const name = environmentVariable("THREEFOLD_GPU");
  return name === undefined || name === "" ? "wgpu" : providerNamed(name, "THREEFOLD_GPU");
}

/**
 * The provider of this name. @param what How messages call the setting:
 * `"--gpu"`. @throws {InputError} for any other.
 */
export function providerNamed(name: string, what: string): GpuProviderId {
  const id = GPU_PROVIDERS.find((id) => id === name);
  if (id) return id;
  throw new InputError(`Cannot use ${what} ${name}: expected ${GPU_PROVIDERS.join(" or ")}`);
}
