import { type Dispatch, type Located, type ParamWord, u32 } from "../../engine/graph/launch.ts";
import { foldGrid } from "../../engine/graph/target.ts";
import { DTYPE_BYTES, elementCount } from "../../engine/graph/types.ts";
import { accessOf } from "../access.ts";
import type { KernelSet } from "../kernel_set.ts";
import { rowVectorWidth, vectorWgsl } from "./reduction.ts";
import { rowWindows, windowOf } from "./windows.ts";

/** A kernel whose invocation `i` reads and writes element vector `i` of every operand. */
export interface ElementwiseSpec {
  /** Name for profiles and of the entry point. */
  name: string;
  /**
   * WGSL that uses `WG` and `vec_t`, loads by `load_a(i)`, `load_b(i)`, … of the operands in order, and
   * stores by `store_a(i, v)`, ….
   */
  source: string;
  /** Operands in binding order, all with the same element count. */
  operands: readonly Located[];
  /** How many of the operands, the first ones, may be loaded from copies; default none. */
  reads?: number;
  /** Which of the operands it stores; default the last. */
  writes?: readonly number[];
  /** Words after `struct Params`' leading `count: u32`; gets the first element of the window. */
  params?: (firstElement: number) => ParamWord[];
}

const OPERAND_NAMES = ["a", "b", "c", "d"] as const;

/** Dispatches of an elementwise kernel: one for every window that fits the binding limit. */
export function elementwiseCommands(
  { name, source, operands, reads = 0, writes = [operands.length - 1], params }: ElementwiseSpec,
  kernels: KernelSet,
): Dispatch[] {
  const count = elementCount(operands[0]);
  const width = rowVectorWidth(count);
  const workgroupSize = kernels.workgroups.elementwise;
  // Entry points of the same source that use more operands need their accesses all the same.
  const declared = OPERAND_NAMES.filter((name) => source.includes(`> ${name}: array<`));
  const access = accessOf(
    declared.map((name, i) => ({
      name,
      dtype: operands[i]?.dtype ?? "f32",
      reads: true,
      writes: true,
      copied: i < reads,
    })),
    { width, leastBytes: 0 },
    kernels,
  );
  const kernel = {
    name,
    code: `const WG: u32 = ${workgroupSize}u;\n${vectorWgsl(width)}${access.code(source)}`,
    entryPoint: name,
    writes,
  };
  const bytes = operands.map(({ dtype }) => DTYPE_BYTES[dtype]);
  return rowWindows(count, bytes, access.target).map((window) => {
    const bindings = operands.map((operand) => windowOf(operand, window, 1));
    const words = [u32(window.count / width), ...(params?.(window.first) ?? [])];
    return {
      kernel,
      bindings,
      ...access.of(bindings.slice(0, reads), words),
      workgroups: foldGrid(Math.ceil(window.count / width / workgroupSize), kernels.target),
    };
  });
}
