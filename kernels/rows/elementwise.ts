import { type Dispatch, type Located, type ParamWord, u32 } from "../../engine/graph/launch.ts";
import { foldGrid, type Target } from "../../engine/graph/target.ts";
import { DTYPE_BYTES, elementCount } from "../../engine/graph/types.ts";
import { rowStoresWgsl, rowVectorWidth, vectorWgsl } from "./reduction.ts";
import { readsOf } from "../lavapipe/texel_reads.ts";
import { rowWindows, windowOf } from "./windows.ts";

/** A kernel whose invocation `i` reads and writes element vector `i` of every operand. */
export interface ElementwiseSpec {
  /** Name for profiles and of the entry point. */
  name: string;
  /**
   * WGSL that uses `WG`, `vec_t`, the storage aliases `a_t`, `b_t`, … of the operands in order, and may store by
   * `store_a(i, v)`, ….
   */
  source: string;
  /** Operands in binding order, all with the same element count. */
  operands: readonly Located[];
  /** How many of the operands, the first ones, the kernel reads by `load_a(i)`, `load_b(i)`, …; default none. */
  reads?: number;
  /** Which of the operands it stores; default the last. */
  writes?: readonly number[];
  /** Words after `struct Params`' leading `count: u32`; gets the first element of the window. */
  params?: (firstElement: number) => ParamWord[];
}

const OPERAND_NAMES = ["a", "b", "c", "d"] as const;

/** Dispatches of an elementwise kernel: one for every window that fits the binding limit. */
export function elementwiseCommands(
  { name, source, operands, reads: readCount = 0, writes = [operands.length - 1], params }: ElementwiseSpec,
  target: Target,
): Dispatch[] {
  const count = elementCount(operands[0]);
  const width = rowVectorWidth(count);
  // On a CPU larger workgroups only cost balance; GPUs need them to fill a multiprocessor.
  const workgroupSize = target.software ? 64 : 256;
  // Entry points of the same source that use fewer operands still need every alias.
  const stored = Object.fromEntries(OPERAND_NAMES.map((alias, i) => [alias, operands[i]?.dtype ?? "f32"]));
  const read = operands.slice(0, readCount);
  const reads = readsOf(
    read.map(({ dtype }, i) => ({ name: OPERAND_NAMES[i], dtype })),
    { width, leastBytes: 0 },
    target,
  );
  // Entry points of the same source that read more have their loads all the same.
  const others = OPERAND_NAMES.slice(readCount).map((name) =>
    `fn load_${name}(i: u32) -> vec_t { return vec_t(${name}[i]); }`
  );
  // Entry points of the same source that store more need theirs, too.
  const declared = OPERAND_NAMES.filter((name) => source.includes(`> ${name}: array<`));
  const stores = rowStoresWgsl(Object.fromEntries(declared.map((name) => [name, name])));
  const kernel = {
    name,
    code: `const WG: u32 = ${workgroupSize}u;\n${vectorWgsl(width, stored)}${
      readCount > 0 ? `${reads.code(source)}${others.join("\n")}\n` : source
    }${stores}`,
    entryPoint: name,
    writes,
  };
  const bytes = operands.map(({ dtype }) => DTYPE_BYTES[dtype]);
  return rowWindows(count, bytes, readCount > 0 ? reads.target : target).map((window) => {
    const bindings = operands.map((operand) => windowOf(operand, window, count));
    const words = [u32(window.count / width), ...(params?.(window.first) ?? [])];
    return {
      kernel,
      bindings,
      ...readCount > 0 ? reads.of(bindings.slice(0, readCount), words) : { params: words },
      workgroups: foldGrid(Math.ceil(window.count / width / workgroupSize), target),
    };
  });
}
