import { type Binding, whole } from "../../engine/graph/launch.ts";
import { elementOffset, type Part, type Window } from "./parts.ts";
import type { CheckedSpec, MatmulForm, MatmulParams, QuantizedForm, Width } from "./product.ts";

/** Fields that a quantized B adds to the uniform block. */
export const QUANTIZED_FIELDS = [
  // The row, or the element, at which the bound part of B begins; a block's size, or its logarithm.
  "blockOrigin",
  "blockSize",
  // Loads along k that surely share one scale.
  "scaleRun",
] as const;

/** Elements of the dynamic map, after which the tables hold the values of NF4. */
const NF4_AT = 256;

/** The form of a quantized B and the bindings it adds after `windows`; undefined where B is not quantized. */
export function quantizedForm(
  { b: { quantized, ld, offset = 0 } }: CheckedSpec,
  windows: readonly Window[],
  lanes: number,
): { form: QuantizedForm; bindings: Binding[] } | undefined {
  if (!quantized) return undefined;
  const { format, doubleQuantization, quantBlockSize, absmax, nested, tables } = quantized;
  const bindings: Binding[] = [];
  const bind = (value: typeof absmax) => windows.length + bindings.push(whole(value)) - 1;
  const slots: QuantizedForm["slots"] = { absmax: bind(absmax) };
  if (doubleQuantization) slots.nested = bind(nested);
  if (doubleQuantization || format === "nf4") slots.tables = bind(tables);
  const blocks = quantBlockSize === ld && offset === 0
    ? "row"
    : Number.isInteger(Math.log2(quantBlockSize))
    ? "shift"
    : "divide";
  return { form: { format, doubleQuantization, blocks, slots, lanes }, bindings };
}

/** The uniform fields of a quantized B. */
export function quantizedParams(
  { b: { quantized, ld, transposed } }: CheckedSpec,
  part: Part,
  windows: readonly Window[],
  { quantized: form, widths }: MatmulForm,
): MatmulParams {
  if (!quantized || !form) return {};
  const { quantBlockSize } = quantized;
  const stored = transposed ? part.n : part.k;
  const window = windows.find(({ spans }) => spans.some(({ role }) => role === "b"))!;
  const span = window.spans.find(({ role }) => role === "b")!;
  return {
    blockOrigin: form.blocks === "row" ? stored.first : span.first - elementOffset(span, window.binding),
    blockSize: form.blocks === "shift" ? Math.log2(quantBlockSize) : quantBlockSize,
    // Where blocks and rows begin together a scale serves a whole block, otherwise what divides both.
    scaleRun: gcd(gcd(quantBlockSize, span.first), stored.count === 1 ? 0 : ld) / widths.b,
  };
}

/** The widest load of codes, up to `limit`, that stays in one word and in one block. */
export function widestCodes({ b: { quantized } }: CheckedSpec, limit: Width): Width {
  const { format, quantBlockSize } = quantized!;
  const widths: Width[] = format === "nf4" ? [8, 4, 1] : [4, 1];
  return widths.find((width) => width <= limit && quantBlockSize % width === 0)!;
}

/** Bindings and functions that decode B. */
export function quantizedDeclarations(form: MatmulForm): string {
  const { format, doubleQuantization, blocks, slots, lanes } = form.quantized!;
  const codes = `storage${form.slots.b}`;
  const [absmax, nested, tables] = [slots.absmax, slots.nested, slots.tables].map((slot) => `storage${slot}`);
  const storage = (slot: number | undefined, type: string) =>
    slot === undefined
      ? ""
      : `@group(0) @binding(${slot}) var<storage, read_write> storage${slot}: array<${type}>;\n`;
  const block = {
    row: "params.blockOrigin + row",
    shift: "(params.blockOrigin + element) >> params.blockSize",
    divide: "(params.blockOrigin + element) / params.blockSize",
  }[blocks];
  const scale = doubleQuantization
    ? `  let code = (${absmax}[block >> 2u] >> (8u * (block & 3u))) & 255u;
  return ${roundedFirst("f32", `${tables}[code] * ${nested}[1u + (block >> 8u)]`)} + ${nested}[0];`
    : `  return ${absmax}[block];`;
  const parameter = format === "nf4" && lanes > 0 ? `, values: ${valuesType(lanes)}` : "";
  const argument = parameter ? ", values" : "";
  return `${storage(slots.absmax, doubleQuantization ? "u32" : "f32")}${storage(slots.nested, "f32")}${
    storage(slots.tables, "f32")
  }
fn blockScale(row: u32, element: u32) -> f32 {
  let block = ${block};
${scale}
}
${
    format === "nf4"
      ? `fn nf4Value(code: u32${parameter}) -> f32 {
  return ${nf4Lookup(lanes, tables)};
}
fn decodeFour(codes: u32, scale: f32${parameter}) -> vec4<f32> {
  let code = (vec4<u32>(codes) >> vec4<u32>(4u, 0u, 12u, 8u)) & vec4<u32>(15u);
  return vec4<f32>(${["x", "y", "z", "w"].map((x) => `nf4Value(code.${x}${argument})`).join(", ")}) * scale;
}
fn codesOf(vector: u32) -> u32 { return ${codes}[vector >> 1u] >> (16u * (vector & 1u)); }
fn decodeElement(row: u32, element: u32${parameter}) -> f32 {
  let code = (${codes}[element >> 3u] >> (4u * ((element ^ 1u) & 7u))) & 15u;
  return nf4Value(code${argument}) * blockScale(row, element);
}`
      : `fn decodeFour(codes: u32, scale: f32) -> vec4<f32> {
  let code = bitcast<vec4<i32>>(vec4<u32>(codes) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
  return ${roundedFirst("vec4<f32>", "vec4<f32>(code) * scale")} * ${Math.fround(1 / 127)};
}
fn codesOf(vector: u32) -> u32 { return ${codes}[vector]; }
fn decodeElement(row: u32, element: u32) -> f32 {
  let code = bitcast<i32>(${codes}[element >> 2u] << (24u - 8u * (element & 3u))) >> 24u;
  return ${roundedFirst("f32", "f32(code) * blockScale(row, element)")} * ${Math.fround(1 / 127)};
}`
  }
fn decodeVector(row: u32, vector: u32${parameter}) -> vec4<f32> {
  return decodeFour(codesOf(vector), blockScale(row, 4u * vector)${argument});
}
`;
}

/**
 * A product that is rounded before anything is done with it: WGSL lets compilers
 * fuse it with a sum and regroup factors around a constant, which would round
 * otherwise than the reference does. The maximum changes no finite number.
 */
function roundedFirst(type: string, product: string): string {
  return `max(${product}, ${type}(-3.4e38))`;
}

/** Declares what the lanes of a subgroup hold of the values of NF4. */
export function quantizedPrologue({ quantized }: MatmulForm): string {
  if (!quantized || quantized.format !== "nf4" || quantized.lanes === 0) return "";
  const { lanes, slots } = quantized;
  const parts = valueParts(lanes).map((part) =>
    `storage${slots.tables}[${NF4_AT + part * lanes}u + (lane & 15u)]`
  );
  return `  let nf4Values = ${valuesType(lanes)}(${parts.join(", ")});\n`;
}

/**
 * The element, or the four elements, of B at `index` of the stored row `row`, decoded. For widths 1 and 4.
 */
export function loadQuantized(form: MatmulForm, index: string, row: string): string {
  return `${form.widths.b === 1 ? "decodeElement" : "decodeVector"}(${row}, ${index}${valuesArgument(form)})`;
}

/** Declares the eight elements of B at `index` of the stored row `row` as two vec4s, `names` in order. */
export function loadEightQuantized(
  form: MatmulForm,
  index: string,
  row: string,
  names: [string, string],
): string {
  const word = `${names[0]}Word`;
  return `    let ${word} = storage${form.slots.b}[${index}];
    let ${word}Scale = blockScale(${row}, 8u * (${index}));
${
    names.map((name, i) => `    let ${name} = ${decodeFour(form, `${word} >> ${16 * i}u`, `${word}Scale`)};`)
      .join("\n")
  }`;
}

/** Four weights from the low bits of `codes`. */
export function decodeFour(form: MatmulForm, codes: string, scale: string): string {
  return `decodeFour(${codes}, ${scale}${valuesArgument(form)})`;
}

function valuesArgument({ quantized }: MatmulForm): string {
  return quantized?.format === "nf4" && quantized.lanes > 0 ? ", nf4Values" : "";
}

/** Numbers of the groups of `lanes` values of NF4 that each lane holds one of. */
function valueParts(lanes: number): number[] {
  return [...Array(Math.max(1, 16 / lanes)).keys()];
}

function valuesType(lanes: number): string {
  const parts = valueParts(lanes).length;
  return parts === 1 ? "f32" : `vec${parts}<f32>`;
}

/** A permutation of a register is cheaper by far than a load, wherever lanes hold the table. */
function nf4Lookup(lanes: number, tables: string): string {
  if (lanes === 0) return `${tables}[${NF4_AT}u + code]`;
  const parts = valueParts(lanes);
  if (parts.length === 1) return "subgroupShuffle(values, code)";
  return parts.reduce((text, part) => {
    const value = `subgroupShuffle(values[${part}], code & ${lanes - 1}u)`;
    return text ? `select(${text}, ${value}, code >= ${part * lanes}u)` : value;
  }, "");
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
