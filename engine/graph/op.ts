import type { GraphBuilder } from "./builder.ts";
import type { Node, Role, TensorType, Value } from "./types.ts";

/** Types given to an op do not fit together. */
export class ShapeError extends TypeError {
  override name = "ShapeError";
}

/** What shape inference says of one output. */
export interface OutputType extends TensorType {
  /** Booked role of a transient output; default: the role of the phase (`activations` forward, `workspace` backward). */
  role?: Role;
  /** Index of the input whose storage this output takes over: the op works in place. */
  aliasOfInput?: number;
  /** Suffix for the value's name. */
  name?: string;
}

/**
 * What lowering may know of the machine. Nothing here but `software` may change the bytes of a plan: those
 * made without a GPU must equal those made with one.
 */
export interface Target {
  /** Largest range one binding may cover, bytes. */
  maxStorageBufferBindingSize: number;
  /** Largest workgroup count per dimension. */
  maxComputeWorkgroupsPerDimension: number;
  /** Workgroup memory in bytes. */
  maxComputeWorkgroupStorageSize: number;
  /** Invocations per workgroup. */
  maxComputeInvocationsPerWorkgroup: number;
  /** Storage buffers that one kernel may bind. */
  maxStorageBuffersPerShaderStage: number;
  /** Lanes per subgroup where the adapter has subgroups of one fixed size, else 0. */
  subgroupSize: number;
  /** Whether the adapter is a CPU: it wants kernels without workgroup memory and barriers. */
  software: boolean;
  /** Whether kernels may use `f16`. */
  shaderF16: boolean;
  /**
   * The matrices that a subgroup multiplies at once, f16 with sums in f32, where the adapter has such units, kernels can say so
   * and `subgroupSize` is not 0; absent means they cannot.
   */
  subgroupMatrix?: MatrixShape;
  /**
   * Most bytes that one dispatch may copy into the scratch texture, where loads from a storage texture are so much cheaper
   * than from a buffer that copying pays; absent or 0 means they are not. The texture is no value: a plan has it beside
   * them, as large as its largest dispatch needs.
   */
  texelBytes?: number;
}

/** Extents of one matrix product, m × k by k × n; multiples of 8. */
export interface MatrixShape {
  m: number;
  n: number;
  k: number;
}

/** A range of a planned buffer. */
export interface Binding {
  /** Index into the plan's buffers. */
  buffer: number;
  /** Bytes from the start of the buffer; a multiple of 256. */
  byteOffset: number;
  byteLength: number;
}

/** Whether two ranges share bytes. */
export function overlap(a: Binding, b: Binding): boolean {
  return a.buffer === b.buffer && a.byteOffset < b.byteOffset + b.byteLength &&
    b.byteOffset < a.byteOffset + a.byteLength;
}

/** A value with a place. */
export interface Located extends TensorType, Binding {
  name: string;
}

/** One WGSL entry point. Two kernels with the same code, entry point and constants share a pipeline. */
export interface Kernel {
  /** Name for profiles: `"matmul_nn"`. */
  name: string;
  /** WGSL without bindings for group 1 and without `enable` lines: the runtime adds both (`kernels/prelude.ts`). */
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
   * Ranges copied into the scratch texture before the launch, which finds it as a `texture_storage_2d<rgba32uint, read>`
   * at `SCRATCH_BINDING` of group 0.
   */
  texels?: TexelCopy[];
  workgroups: readonly [number, number, number];
  /** Bytes that the launch reaches of each binding, where that is not all of them: for profiles. */
  reached?: readonly number[];
  /** Floating-point operations of the launch, for profiles. */
  flops?: number;
  /** Where other kernels do the same; see `KernelChoice`. */
  choice?: KernelChoice;
}

/**
 * The kernels that can do one launch. They bind the same ranges and compute the same values, up to the order of sums on
 * GPUs; which is fastest depends on the adapter, so that planning chooses by rules and the runtime may choose by the clock.
 */
export interface KernelChoice {
  /** What the best kernel depends on besides the adapter, as text; launches with the same key share a choice. */
  key: string;
  /** The one that the rules chose: the launch as it stands. */
  chosen: string;
  /** All of them by name. Names say what a kernel is, so that a choice can be kept in a file. */
  names: readonly string[];
  /** The launch with one of them. */
  use(name: string): Dispatch;
}

/** Texels of the scratch texture in one of its rows, and their bytes: of 16 each, as WebGPU's widest format has them. */
export const TEXEL_ROW_TEXELS = 1024;
export const TEXEL_ROW_BYTES = 16 * TEXEL_ROW_TEXELS;

/** Binding of the scratch texture in group 0, beyond those of storage buffers. */
export const SCRATCH_BINDING = 31;

/** A range that begins at the first texel of a row of the scratch texture and goes on over the rows that follow. */
export interface TexelCopy {
  source: Binding;
  row: number;
}

/**
 * A word that says where in the scratch texture a copy lies.
 *
 * @param unitsPerRow What the kernel counts in, a row of the texture: 1024 for texels.
 * @param offset Units from the first of the copy; added modulo 2³².
 */
export function texelWord(
  copies: readonly TexelCopy[],
  copy: number,
  unitsPerRow: number,
  offset = 0,
): ParamWord {
  return u32((copies[copy].row * unitsPerRow + offset) >>> 0);
}

/** Zeroes a range; encoded as a buffer clear. */
export interface Clear {
  clear: Binding;
}
export type Command = Dispatch | Clear;

/** What an op's `lower` gets. */
export interface LowerContext<Attrs> {
  inputs: Located[];
  outputs: Located[];
  attrs: Attrs;
  target: Target;
}

/** What an op's `vjp` gets. */
export interface VjpContext<Attrs> {
  builder: GraphBuilder;
  node: Node & { attrs: Attrs };
  inputs: readonly Value[];
  outputs: readonly Value[];
  attrs: Attrs;
  /** Gradients of the outputs; undefined where nothing downstream uses the output. */
  outGrads: readonly (Value | undefined)[];
  /** Whether anything needs the gradient of input `i`. */
  needs(i: number): boolean;
  /**
   * The gradient that other uses of input `i` have contributed so far, to be added in by this op's own kernel. Calling
   * it takes it over: the gradient then returned for input `i` must include it. Where it is not called, autodiff adds.
   */
  takePrior(i: number): Value | undefined;
}

/** Everything the engine knows of one op. */
// deno-lint-ignore no-explicit-any -- a table of ops holds ops of every attribute type
export interface OpDefinition<Attrs = any> {
  name: string;
  /** Types of the outputs; throws `ShapeError`. */
  inferTypes(inputs: readonly TensorType[], attrs: Attrs): OutputType[];
  /** Inputs whose storage the op writes without returning it as an output (optimizer state). */
  mutates?(inputs: readonly TensorType[], attrs: Attrs): number[];
  /** The node that `vjp` emits also does the forward work, so autodiff drops this one. */
  gradientReplacesForward?: boolean;
  /** Dispatches that compute the outputs. */
  lower(context: LowerContext<Attrs>): Command[];
  /** Gradients of the inputs, undefined where `needs(i)` is false or there is none. Ops without it stop gradients. */
  vjp?(context: VjpContext<Attrs>): (Value | undefined)[];
  /**
   * The op in f64, by plain loops that share no code with the kernel. Returns one array per output, in place or not;
   * for mutated inputs it writes into the input arrays.
   */
  reference(inputs: Float64Array[], attrs: Attrs, types: ReferenceTypes): Float64Array[];
}
export interface ReferenceTypes {
  inputs: readonly TensorType[];
  outputs: readonly TensorType[];
}

/** Declares an op; the one place that knows it. */
export function defineOp<Attrs = Record<string, never>>(
  definition: OpDefinition<Attrs>,
): OpDefinition<Attrs> {
  return definition;
}

/** The range of `value` that covers elements `first … first + count − 1`, widened to binding alignment. */
export function elementRange(
  value: Located,
  first: number,
  count: number,
  bytesPerElement: number,
): Binding & { firstElement: number } {
  const start = Math.floor((first * bytesPerElement) / BINDING_ALIGNMENT) * BINDING_ALIGNMENT;
  const end = Math.min(Math.ceil(((first + count) * bytesPerElement) / 16) * 16, value.byteLength);
  return {
    buffer: value.buffer,
    byteOffset: value.byteOffset + start,
    byteLength: Math.max(end - start, 4),
    /** Index of element `first` inside the returned range. */
    firstElement: first - start / bytesPerElement,
  };
}

/** Storage-buffer offsets are multiples of this on every WebGPU adapter. */
export const BINDING_ALIGNMENT = 256;

/** The whole value as a binding. */
export function whole({ buffer, byteOffset, byteLength }: Located): Binding {
  return { buffer, byteOffset, byteLength };
}

/** Workgroup counts for `count` workgroups in a row, folded into y where one dimension would pass the limit. */
export function foldGrid(count: number, target: Target): readonly [number, number, number] {
  const limit = target.maxComputeWorkgroupsPerDimension;
  if (count <= limit) return [Math.max(count, 1), 1, 1];
  const y = Math.ceil(count / limit);
  return [Math.ceil(count / y), y, 1];
}

/** Splits `rows` into ranges whose bytes stay within the binding limit for every operand with these row sizes. */
export function rowRanges(
  rows: number,
  bytesPerRow: readonly number[],
  target: Target,
): { first: number; count: number }[] {
  const largest = Math.max(...bytesPerRow, 1);
  const limit = target.maxStorageBufferBindingSize - 2 * BINDING_ALIGNMENT;
  if (rows * largest <= limit) return [{ first: 0, count: rows }];
  const perRange = Math.floor(limit / largest);
  if (perRange < 1) {
    throw new RangeError(
      `Cannot bind a row of ${largest} bytes: the adapter's maxStorageBufferBindingSize is ${target.maxStorageBufferBindingSize}`,
    );
  }
  const ranges = [];
  for (let first = 0; first < rows; first += perRange) {
    ranges.push({ first, count: Math.min(perRange, rows - first) });
  }
  return ranges;
}
