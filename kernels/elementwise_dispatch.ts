import {
  type Dispatch,
  foldGrid,
  type Located,
  type ParamWord,
  type Target,
  u32,
} from "../engine/graph/op.ts";
import { DTYPE_BYTES, elementCount } from "../engine/graph/types.ts";
import { rowVectorWidth, vectorWgsl } from "./row_kernel.ts";
import { rowWindows, windowOf } from "./row_windows.ts";

/** A kernel whose invocation `i` reads and writes element vector `i` of every operand. */
export interface ElementwiseSpec {
  /** Name for profiles and of the entry point. */
  name: string;
  /** WGSL that uses `WG`, `vec_t` and the storage aliases `a_t`, `b_t`, … of the operands in order. */
  source: string;
  /** Operands in binding order, all with the same element count. */
  operands: readonly Located[];
  /** Words after `struct Params`' leading `count: u32`; gets the first element of the window. */
  params?: (firstElement: number) => ParamWord[];
}

const OPERAND_NAMES = ["a", "b", "c", "d"] as const;

/** Dispatches of an elementwise kernel: one for every window that fits the binding limit. */
export function elementwiseCommands(
  { name, source, operands, params }: ElementwiseSpec,
  target: Target,
): Dispatch[] {
  const count = elementCount(operands[0]);
  const width = rowVectorWidth(count);
  // On a CPU larger workgroups only cost balance; GPUs need them to fill a multiprocessor.
  const workgroupSize = target.software ? 64 : 256;
  // Entry points of the same source that use fewer operands still need every alias.
  const stored = Object.fromEntries(OPERAND_NAMES.map((alias, i) => [alias, operands[i]?.dtype ?? "f32"]));
  const kernel = {
    name,
    code: `const WG: u32 = ${workgroupSize}u;\n${vectorWgsl(width, stored)}${source}`,
    entryPoint: name,
  };
  const bytes = operands.map(({ dtype }) => DTYPE_BYTES[dtype]);
  return rowWindows(count, bytes, target).map((window) => ({
    kernel,
    bindings: operands.map((operand) => windowOf(operand, window, count)),
    params: [u32(window.count / width), ...(params?.(window.first) ?? [])],
    workgroups: foldGrid(Math.ceil(window.count / width / workgroupSize), target),
  }));
}
