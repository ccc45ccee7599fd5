import { environmentVariable } from "../host.ts";
import { InputError } from "../input_error.ts";

/**
 * `on`: kernels are timed on GPUs, once. `force`: they are timed anew, on
 * software adapters too. `off`: rules choose.
 */
export const AUTOTUNE_MODES = ["on", "off", "force"] as const;
/** One of `AUTOTUNE_MODES`. */
export type AutotuneMode = typeof AUTOTUNE_MODES[number];

/**
 * The mode that the environment variable `THREEFOLD_AUTOTUNE` names; `on` without it. @throws {InputError}
 */
export function defaultAutotuneMode(): AutotuneMode {
  const name = environmentVariable("THREEFOLD_AUTOTUNE");
  return name === undefined || name === "" ? "on" : autotuneModeNamed(name, "THREEFOLD_AUTOTUNE");
}

/**
 * The mode of this name. @param what How messages call the setting:
 * `"--autotune"`. @throws {InputError} for any other.
 */
export function autotuneModeNamed(name: string, what: string): AutotuneMode {
  const mode = AUTOTUNE_MODES.find((mode) => mode === name);
  if (mode) return mode;
  throw new InputError(`Cannot use ${what} ${name}: expected ${AUTOTUNE_MODES.join(", ")}`);
}
