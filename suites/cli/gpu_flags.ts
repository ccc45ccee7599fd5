import {
  AUTOTUNE_MODES,
  autotuneModeNamed,
  defaultAutotuneMode,
  defaultProvider,
  GPU_PROVIDERS,
  providerNamed,
} from "../../mod.ts";
import type { Arguments, Flag } from "./flags.ts";

/** Flags of all commands that open a device. */
export const GPU_FLAGS: Readonly<Record<"gpu" | "autotune", Flag>> = {
  gpu: {
    value: GPU_PROVIDERS.join("|"),
    what: "implementation of WebGPU: wgpu is Deno's own, dawn is Chromium's, got from npm at its first use",
    default: "THREEFOLD_GPU, or wgpu",
  },
  autotune: {
    value: AUTOTUNE_MODES.join("|"),
    what: "time the kernels of matrix products once and keep the fastest; force times them anew, and on " +
      "software adapters too",
    default: "THREEFOLD_AUTOTUNE, or on",
  },
};

/**
 * Makes the flags hold for this process and for those it starts, by the variables that they read.
 *
 * @throws {InputError} for a flag or a variable with another value; before any device is opened.
 */
export function applyGpuFlags({ values: { gpu, autotune } }: Pick<Arguments, "values">): void {
  if (gpu !== undefined) Deno.env.set("THREEFOLD_GPU", providerNamed(gpu, "--gpu"));
  if (autotune !== undefined) Deno.env.set("THREEFOLD_AUTOTUNE", autotuneModeNamed(autotune, "--autotune"));
  defaultProvider();
  defaultAutotuneMode();
}
