import { InputError } from "../input_error.ts";

/** The device went away: driver reset, or the adapter was unplugged. */
export class DeviceLostError extends Error {
  /** Name of the class, for those who meet it across processes. */
  override name = "DeviceLostError";
}

/** The error of a loss. */
export function lossOf({ reason, message }: Pick<GPUDeviceLostInfo, "reason" | "message">): DeviceLostError {
  return new DeviceLostError(`The device was lost: ${message || reason}`);
}

/** The device has no room for a buffer of the plan. */
export class OutOfMemoryError extends Error {
  /** Name of the class, for those who meet it across processes. */
  override name = "OutOfMemoryError";
}

/** The device allows no buffer as large as the plan has them; more memory would not help. */
export class DeviceLimitError extends Error {
  /** Name of the class, for those who meet it across processes. */
  override name = "DeviceLimitError";
}

/** No adapter: what to do about it depends on the machine, so the message says both. */
export class NoAdapterError extends InputError {
  /** Name of the class, for those who meet it across processes. */
  override name = "NoAdapterError";
}

/** By name: each implementation of WebGPU has error classes of its own. */
export function isOutOfMemory(error: unknown): boolean {
  return error instanceof Object && error.constructor.name === "GPUOutOfMemoryError";
}
