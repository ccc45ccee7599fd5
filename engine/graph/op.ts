import type { Command, Located } from "./launch.ts";
import type { Role, TensorType, Value } from "./types.ts";

/** Types given to an op do not fit together. */
export class ShapeError extends TypeError {
  override name = "ShapeError";
}

/** What shape inference says of one output. */
export interface OutputType extends TensorType {
  /**
   * Booked role of a transient output; default: the role of the phase
   * (`activations` forward, `workspace` backward).
   */
  role?: Role;
  /** Index of the input whose storage this output takes over: the op works in place. */
  aliasOfInput?: number;
  /** Suffix for the value's name. */
  name?: string;
}

/**
 * What an op's `lower` gets.
 *
 * @typeParam Kernels The forms of kernels that it is lowered to, which the graph knows nothing of:
 *   `KernelSet` of kernels/kernel_set.ts.
 */
export interface LowerContext<Attrs, Kernels> {
  inputs: Located[];
  outputs: Located[];
  attrs: Attrs;
  kernels: Kernels;
}

/** What an op's gradient rule asks of the builder of a graph. */
export interface OpCaller {
  /**
   * Appends `op(inputs)` to the graph and returns its outputs. @throws {ShapeError} if the types do not fit.
   */
  call<Attrs>(op: OpDefinition<Attrs>, inputs: readonly Value[], attrs: Attrs): Value[];
}

/** What an op's `vjp` gets. */
export interface VjpContext<Attrs> {
  builder: OpCaller;
  inputs: readonly Value[];
  outputs: readonly Value[];
  attrs: Attrs;
  /** Gradients of the outputs; undefined where nothing downstream uses the output. */
  outGrads: readonly (Value | undefined)[];
  /** Whether anything needs the gradient of input `i`. */
  needs(i: number): boolean;
  /**
   * The gradient that other uses of input `i` have contributed so far, to be added in by this op's own
   * kernel. Calling it takes it over: the gradient then returned for input `i` must include it. Where it is
   * not called, autodiff adds.
   */
  takePrior(i: number): Value | undefined;
}

/** Everything the engine knows of one op. */
// deno-lint-ignore no-explicit-any -- a table of ops holds ops of every attribute type
export interface OpDefinition<Attrs = any, Kernels = any> {
  name: string;
  /** Types of the outputs; throws `ShapeError`. */
  inferTypes(inputs: readonly TensorType[], attrs: Attrs): OutputType[];
  /** Inputs whose storage the op writes without returning it as an output (optimizer state). */
  mutates?(inputs: readonly TensorType[], attrs: Attrs): number[];
  /** The node that `vjp` emits also does the forward work, so autodiff drops this one. */
  gradientReplacesForward?: boolean;
  /** Dispatches that compute the outputs. */
  lower(context: LowerContext<Attrs, Kernels>): Command[];
  /**
   * Gradients of the inputs, undefined where `needs(i)` is false or there is
   * none. Ops without it stop gradients.
   */
  vjp?(context: VjpContext<Attrs>): (Value | undefined)[];
  /**
   * The op in f64, by plain loops that share no code with the kernel. Returns one array per output, in place
   * or not; for mutated inputs it writes into the input arrays.
   */
  reference(inputs: Float64Array[], attrs: Attrs, types: ReferenceTypes): Float64Array[];
}
export interface ReferenceTypes {
  inputs: readonly TensorType[];
  outputs: readonly TensorType[];
}
