import type { Binding, ParamWord, ScratchCopy } from "../engine/graph/launch.ts";
import type { Target } from "../engine/graph/target.ts";
import type { Dtype } from "../engine/graph/types.ts";
import type { KernelSet } from "./kernel_set.ts";
import { type StorageForm, storageFormOf, storageWgsl } from "./storage_forms.ts";

/** A storage variable of a kernel over rows or elements, and what the kernel does with it. */
export interface Operand {
  /** The variable, an array of `<name>_t`; accessed by `load_<name>(i)` and `store_<name>(i, v)`. */
  name: string;
  dtype: Dtype;
  /** Whether it is loaded. */
  reads?: boolean;
  /** Whether it is stored. */
  writes?: boolean;
  /** Whether loads may be from a copy; default where it is loaded at all. */
  copied?: boolean;
  /** Loads and stores are of one f32 each instead of a `vec_t`. */
  scalar?: boolean;
  /** It is a row alone, or a number a row: next to nothing beside the others. */
  small?: boolean;
}

/** How a kernel reaches its operands; see `accessOf`. */
export interface Access {
  /**
   * The kernel's source with its accesses. Where loads are from copies, its
   * `Params` begin with a field for each.
   */
  code(source: string): string;
  /** Further properties of a dispatch whose copied operands are bound so, in their order. */
  of(
    ranges: readonly Binding[],
    params: readonly ParamWord[],
  ): { params: ParamWord[]; copies?: ScratchCopy[] };
  /**
   * Which operands are loaded from copies where there are any, by their place:
   * `of` is given the ranges of these.
   */
  copied: readonly number[];
  /** Limits to split operands by: the binding limit is what a dispatch may copy of one, where it copies. */
  target: Target;
}

/**
 * How a kernel reaches its operands: bound as their storage has them, and loaded from copies where the set
 * has them and rows are vectors of four.
 *
 * @param width Elements of the kernel's `vec_t`.
 * @param leastBytes Bytes of an operand that a dispatch must take at least: more than may be copied are read
 *   where they lie.
 */
export function accessOf(
  operands: readonly Operand[],
  { width, leastBytes }: { width: 1 | 4; leastBytes: number },
  { scratch, target }: Pick<KernelSet, "scratch" | "target">,
): Access {
  const mayBeCopied = operands.map(({ reads = false, copied = reads }) => copied);
  const copied = [...operands.keys()].filter((i) => mayBeCopied[i]);
  const large = copied.filter((i) => !operands[i].small).length;
  const most = Math.min(
    target.maxStorageBufferBindingSize,
    (scratch?.rowBytes ?? 0) / Math.max(large, 1),
  );
  const copies = scratch !== null && copied.length > 0 && width === 4 && leastBytes <= most;
  const storages = operands.map(({ dtype }) => storageFormOf(dtype));
  const text = operands.map((operand, i) => accessWgsl(operand, storages[i], width, copies && mayBeCopied[i]))
    .join("");
  const functions = storageWgsl(storages);
  if (!copies) {
    return {
      code: (source) => `${functions}${source}\n${text}`,
      of: (_, params) => ({ params: [...params] }),
      copied,
      target,
    };
  }
  const fields = copied.map((i) => `  ${operands[i].name}_copy: u32,`).join("\n");
  return {
    code: (source) =>
      `${functions}${
        source.replace("struct Params {", `struct Params {\n${fields}\n`)
      }\n${scratch.wgsl}${text}`,
    of: (ranges, params) => {
      const placed = scratch.place(ranges);
      return {
        params: [...placed.map((_, copy) => scratch.vectorOf(placed, copy)), ...params],
        copies: placed,
      };
    },
    copied,
    target: { ...target, maxStorageBufferBindingSize: most },
  };
}

/** Alias, load and store of one operand. */
function accessWgsl(
  { name, reads = false, writes = false, scalar = false }: Operand,
  storage: StorageForm,
  width: 1 | 4,
  copied: boolean,
): string {
  const own = scalar ? 1 : width;
  const type = scalar ? "f32" : "vec_t";
  const first = `params.${name}_copy`;
  const loaded = !copied
    ? storage.load(`${name}[i]`, own)
    : scalar
    ? `bitcast<f32>(copied(${first} + i / 4u)[i % 4u])`
    : copiedFour(storage, first, "i");
  return [
    `alias ${name}_t = ${storage.element(own)};\n`,
    reads ? `fn load_${name}(i: u32) -> ${type} { return ${loaded}; }\n` : "",
    writes ? `fn store_${name}(i: u32, v: ${type}) { ${name}[i] = ${storage.store("v", own)}; }\n` : "",
  ].join("");
}

/**
 * WGSL of four elements from a copy.
 *
 * @param first Text of the vector of 16 bytes that the copy begins with.
 * @param i Text of the number of four elements before them.
 */
export function copiedFour({ bytes, ofWords }: StorageForm, first: string, i: string): string {
  return ofWords(bytes === 4 ? `copied(${first} + ${i})` : `copiedHalf(2u * ${first} + ${i})`);
}
