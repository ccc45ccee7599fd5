import type { TensorType } from "./types.ts";

/** A range of a planned buffer. */
export interface Binding {
  /** Index into the plan's buffers. */
  buffer: number;
  /** Bytes from the start of the buffer; a multiple of 256. */
  byteOffset: number;
  byteLength: number;
}

/** Storage-buffer offsets are multiples of this on every WebGPU adapter. */
export const BINDING_ALIGNMENT = 256;

/** Whether two ranges share bytes. */
export function overlap(a: Binding, b: Binding): boolean {
  return a.buffer === b.buffer && a.byteOffset < b.byteOffset + b.byteLength &&
    b.byteOffset < a.byteOffset + a.byteLength;
}

/** A value with a place. */
export interface Located extends TensorType, Binding {
  name: string;
}

/** The whole value as a binding. */
export function whole({ buffer, byteOffset, byteLength }: Located): Binding {
  return { buffer, byteOffset, byteLength };
}

/** One WGSL entry point. Two kernels with the same code, entry point and constants share a pipeline. */
export interface Kernel {
  /** Name for profiles: `"matmul_nn"`. */
  name: string;
  /**
   * WGSL without bindings for group 1 and without `enable` lines: the runtime
   * adds both (`kernels/prelude.ts`).
   */
  code: string;
  entryPoint: string;
  constants?: Record<string, number>;
  /**
   * Bindings that it writes, by their place among those of a dispatch. Declared, as all are bound
   * `read_write` and no text is read for it; the bindings that are not named keep their bytes.
   */
  writes: readonly number[];
  /** Workgroup memory that it takes, bytes; default none. */
  workgroupBytes?: number;
}

/** A word of a kernel's uniform `params` block, in the order of its WGSL struct. */
export interface ParamWord {
  kind: "u32" | "i32" | "f32";
  value: number;
}

/**
 * @throws {RangeError} for what is no whole number below 2³²: a buffer would take it modulo 2³², without its
 * fraction.
 */
export function u32(value: number): ParamWord {
  if (value >>> 0 !== value) {
    throw new RangeError(`Cannot pass ${value} as u32: expected 0 to ${2 ** 32 - 1}`);
  }
  return { kind: "u32", value };
}

/** @throws {RangeError} for what is no whole number of 32 bits with a sign. */
export function i32(value: number): ParamWord {
  if ((value | 0) !== value) {
    throw new RangeError(`Cannot pass ${value} as i32: expected ${-(2 ** 31)} to ${2 ** 31 - 1}`);
  }
  return { kind: "i32", value };
}

/** @throws {RangeError} for NaN, which no setting is. */
export function f32(value: number): ParamWord {
  if (Number.isNaN(value)) throw new RangeError("Cannot pass NaN as f32: expected a number");
  return { kind: "f32", value };
}

/** One kernel launch: what the hot loop replays. */
export interface Dispatch {
  kernel: Kernel;
  /** Bound to group 0 in order, all `read_write`: ranges of one arena buffer may not mix access modes. */
  bindings: Binding[];
  params: ParamWord[];
  /**
   * Ranges copied into the scratch texture before the launch, which finds it as a
   * `texture_storage_2d<rgba32uint, read>` at `SCRATCH_BINDING` of group 0.
   */
  copies?: readonly ScratchCopy[];
  workgroups: readonly [number, number, number];
  /** Bytes that the launch reaches of each binding, where that is not all of them: for profiles. */
  reached?: readonly number[];
  /** Floating-point operations of the launch, for profiles. */
  flops?: number;
  /** Where other kernels do the same; see `KernelChoice`. */
  choice?: KernelChoice;
}

/**
 * The kernels that can do one launch. They bind the same ranges and compute the same values, up to the order
 * of sums on GPUs; which is fastest depends on the adapter, so that planning chooses by rules and the runtime
 * may choose by the clock.
 */
export interface KernelChoice {
  /**
   * What the best kernel depends on besides the adapter, as text; launches with the same key share a choice.
   */
  key: string;
  /** The one that the rules chose: the launch as it stands. */
  chosen: string;
  /** All of them by name. Names say what a kernel is, so that a choice can be kept in a file. */
  names: readonly string[];
  /** The launch with one of them. */
  use(name: string): Dispatch;
}

/**
 * Vectors of 16 bytes, the largest format of WebGPU, in a row of the scratch texture, and their bytes.
 *
 * The texture is no value: a plan has it beside them, as large as its largest dispatch needs.
 */
export const SCRATCH_ROW_VECTORS = 1024;
export const SCRATCH_ROW_BYTES = 16 * SCRATCH_ROW_VECTORS;

/** Binding of the scratch texture in group 0, beyond those of storage buffers. */
export const SCRATCH_BINDING = 31;

/** A range that begins with a row of the scratch texture and goes on over the rows that follow. */
export interface ScratchCopy {
  source: Binding;
  row: number;
}

/** Zeroes a range; encoded as a buffer clear. */
export interface Clear {
  clear: Binding;
}
export type Command = Dispatch | Clear;
