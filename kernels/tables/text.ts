import { vectorWgsl } from "../rows/reduction.ts";
import type { Scratch } from "../scratch.ts";
import { type TableKernel, type TableOperand, type TableShared, wordsPerEntry } from "./kernel.ts";

/** What a binding is an array of. */
export type WindowElement = "vector" | "word";

/** The windows that a kernel has bound, and which of them serves each operand and shared value. */
export interface BoundWindows {
  windows: readonly { element: WindowElement }[];
  /** Window by operand, then by shared value. */
  of: readonly number[];
}

/** WGSL of the accesses to one operand; see `tableWgsl`. */
function operandWgsl(
  { name, access }: TableOperand,
  window: string,
  element: WindowElement,
  { width, copied }: { width: 1 | 4; copied: boolean },
): string {
  const each = [0, 1, 2, 3];
  const copy = copied ? `copy_of_${name}` : undefined;
  const declared = copy ? `var<private> ${copy}: u32;` : "";
  if (access === "word" || access === "scalar") {
    const one = copy ? `copied(${copy} + at / 4u)[at % 4u]` : `${window}[at]`;
    const type = access === "word" ? "u32" : "f32";
    const cast = access === "word" ? "" : "bitcast<f32>";
    return `${declared}
fn load_${name}(at: u32) -> ${type} { return ${cast}(${one}); }
fn store_${name}(at: u32, v: ${type}) { ${window}[at] = ${access === "word" ? "v" : "bitcast<u32>(v)"}; }`;
  }
  const narrow = element === "word" && width === 4;
  const bits = copy
    ? `copied(${copy} + at)`
    : narrow
    ? `vec4<u32>(${each.map((c) => `${window}[4u * at + ${c}u]`).join(", ")})`
    : `${window}[at]`;
  const store = narrow
    ? `let b = bitcast<vec4<u32>>(v); ${each.map((c) => `${window}[4u * at + ${c}u] = b[${c}];`).join(" ")}`
    : `${window}[at] = bitcast<index_t>(v);`;
  return `${declared}
fn bits_${name}(at: u32) -> index_t { return ${bits}; }
fn load_${name}(at: u32) -> vec_t { return bitcast<vec_t>(bits_${name}(at)); }
fn store_${name}(at: u32, v: vec_t) { ${store} }`;
}

/** WGSL of the accesses to one shared value; see `tableWgsl`. */
function sharedWgsl({ name }: TableShared, window: string, words: boolean, copy: boolean): string {
  const at = `(params.${name}_offset + i)`;
  const each = [0, 1, 2, 3];
  const load = copy
    ? `copied(params.${name}_copy + i)`
    : words
    ? `vec4<u32>(${each.map((c) => `${window}[4u * ${at} + ${c}u]`).join(", ")})`
    : `${window}[${at}]`;
  const store = words
    ? each.map((c) => `${window}[4u * ${at} + ${c}u] = bitcast<u32>(v[${c}]);`).join(" ")
    : `${window}[${at}] = bitcast<vec4<u32>>(v);`;
  return `fn load_${name}(i: u32) -> vec4<f32> { return bitcast<vec4<f32>>(${load}); }
fn store_${name}(i: u32, v: vec4<f32>) { ${store} }`;
}

/**
 * WGSL that a table-driven kernel builds on, in the scalar or the vector form (`vec_t`, `index_t`, …):
 *
 * - `params.blocks`: blocks of the dispatch.
 * - `block_at(number) -> Block`: the `index` of the block in its piece, the piece's own fields, and where
 *   each operand of the piece starts.
 * - of operands accessed as vectors `load_<operand>(at)`, `store_<operand>(at, v)`: the vector at
 *   `block.<operand> + i` as `vec_t`; `bits_<operand>(at)` its bits. Windows of f32 are bound as u32, because
 *   only bits tell a NaN from a number in WGSL.
 * - of operands accessed as words or scalars `load_<operand>(at)`,
 *   `store_<operand>(at, v)`: one `u32` or `f32`.
 * - `load_<shared>(i)`, `store_<shared>(i, v)`: elements 4·i … 4·i + 3 as `vec4<f32>`.
 *
 * Loads give what was there before the dispatch, or what it has stored: a kernel
 * must not load what it stores.
 */
export function tableWgsl(
  { windows, of }: BoundWindows,
  length: number,
  scratch: Scratch | null,
  kernel: TableKernel,
): string {
  const { width, operands, shared, fields } = kernel;
  const vectorsPerEntry = wordsPerEntry(kernel, scratch !== null) / 4;
  const entryWord = (index: number) =>
    `params.table[${vectorsPerEntry}u * low + ${index >> 2}u].${"xyzw"[index & 3]}`;
  const [firstOperand, firstCopyWord] = [1 + fields.length, 1 + fields.length + operands.length];
  const elementType = (element: WindowElement) => element === "word" ? "u32" : "index_t";
  return `${vectorWgsl(width)}
struct Params {
  entries: u32,
  blocks: u32,
${
    shared.map(({ name, often }) => `  ${name}_offset: u32,${often && scratch ? ` ${name}_copy: u32,` : ""}`)
      .join("\n")
  }
${(kernel.params ?? []).map(([name, { kind }]) => `  ${name}: ${kind},`).join("\n")}
${
    kernel.constants
      ? `  ${kernel.constants.name}: array<vec4<f32>, ${kernel.constants.words.length / 4}>,`
      : ""
  }
  table: array<vec4<u32>, ${length * vectorsPerEntry}>,
}
@group(1) @binding(0) var<uniform> params: Params;
${
    windows.map(({ element }, k) =>
      `@group(0) @binding(${k}) var<storage, read_write> window${k}: array<${elementType(element)}>;`
    ).join("\n")
  }
${scratch?.wgsl ?? ""}
struct Block {
  index: u32,
${[...fields, ...operands.map(({ name }) => name)].map((name) => `  ${name}: u32,`).join("\n")}
}
fn block_at(number: u32) -> Block {
  // The last entry that starts at or before the block.
  var low = 0u;
  var high = params.entries;
  while (high - low > 1u) {
    let middle = (low + high) / 2u;
    if (params.table[${vectorsPerEntry}u * middle].x <= number) { low = middle; } else { high = middle; }
  }
${
    operands.map(({ name }, k) => scratch ? `  copy_of_${name} = ${entryWord(firstCopyWord + k)};` : "")
      .join("\n")
  }
  return Block(number - ${entryWord(0)}, ${
    [...fields.map((_, k) => entryWord(1 + k)), ...operands.map((_, k) => entryWord(firstOperand + k))]
      .join(", ")
  });
}
${
    operands.map((operand, k) =>
      operandWgsl(operand, `window${of[k]}`, windows[of[k]].element, { width, copied: scratch !== null })
    ).join("\n")
  }
${
    shared.map((one, k) => {
      const window = of[operands.length + k];
      const words = width === 1 || windows[window].element === "word";
      return sharedWgsl(one, `window${window}`, words, scratch !== null && one.often === true);
    }).join("\n")
  }
`;
}
