import { f32, type ParamWord, u32 } from "../../engine/graph/launch.ts";
import { MATMUL_ROLES, type MatmulForm, type MatmulParams, type MatmulRole, type Width } from "./product.ts";
import { loadQuantized, QUANTIZED_FIELDS, quantizedDeclarations } from "./quantized.ts";
import { HALF_WORDS, type StorageForm, storageFormOf, storageWgsl } from "../storage_forms.ts";
import geluSource from "../gelu.wgsl" with { type: "text" };

/** Fields of the uniform block, in order. Offsets, row and batch strides count binding elements. */
const PARAM_FIELDS = [
  "m",
  "n",
  "k",
  "alpha",
  // Output tiles down and across; whether neighbouring workgroups walk down the
  // rows; workgroups in all and per grid row.
  "tilesM",
  "tilesN",
  "downFirst",
  "workgroups",
  "gridWidth",
  "batch1",
  "batch2",
  ...["a", "b", "c"].flatMap((role) =>
    ["Offset", "Row", "Batch0", "Batch1", "Batch2"].map((field) => role + field)
  ),
  "biasOffset",
  "residualOffset",
  "sumsOffset",
] as const;

function paramFields(form: MatmulForm): readonly string[] {
  const gelu = (["activated", "slope"] as const).filter((role) => form.types[role]);
  return [
    ...PARAM_FIELDS,
    ...gelu.map((role) => `${role}Offset`),
    ...form.quantized ? QUANTIZED_FIELDS : [],
  ];
}

/** The block in the order of its WGSL struct. @throws {TypeError} if a field is missing. */
export function paramWords(form: MatmulForm, params: MatmulParams): ParamWord[] {
  return paramFields(form).map((field) => {
    const value = params[field];
    if (value === undefined) throw new TypeError(`Cannot write matmul params: ${field} is missing`);
    if (typeof value !== "number") return value;
    return field === "alpha" ? f32(value) : u32(value);
  });
}

/** `0 … count − 1`. */
export const range = (count: number): number[] => [...Array(count).keys()];

/** Lines of `body(i)` for `0 ≤ i < count`. */
export const repeat = (count: number, body: (i: number) => string): string =>
  range(count).map(body).join("\n");

/** Elements per binding element of a role. */
export function widthOf({ widths }: Pick<MatmulForm, "widths">, role: MatmulRole): Width {
  if (role === "sums") return 1;
  return role === "a" || role === "b" ? widths[role] : widths.c;
}

/** The bindings that a product writes. */
export function writtenSlots({ slots }: Pick<MatmulForm, "slots">): number[] {
  return (["c", "sums", "activated"] as const).map((role) => slots[role]).filter((slot) =>
    slot !== undefined
  );
}

/** How a role that is bound is stored. */
function storageOfRole(form: MatmulForm, role: MatmulRole): StorageForm {
  return (role === "a" || role === "b") && form.words[role] > 0
    ? HALF_WORDS
    : storageFormOf(form.types[role]!);
}

/** WGSL type of a role's binding elements. */
function elementType(form: MatmulForm, role: MatmulRole): string {
  if (role === "b" && form.quantized) return "u32";
  return storageOfRole(form, role).element(widthOf(form, role));
}

/**
 * `to_half(v)`: what is left of v in f16. NVIDIA's compiler leaves out
 * conversions there and back, and packing and unpacking too; the bits in between
 * are therefore changed by what is always zero, which no compiler can know.
 */
const TO_HALF_WGSL = {
  1: `fn to_half(v: f32) -> f32 {
  return unpack2x16float(pack2x16float(vec2<f32>(v, 0.0)) ^ (params.gridWidth >> 31u)).x;
}
`,
  4: `fn to_half(v: vec4<f32>) -> vec4<f32> {
  let zero = params.gridWidth >> 31u;
  return vec4<f32>(unpack2x16float(pack2x16float(v.xy) ^ zero), unpack2x16float(pack2x16float(v.zw) ^ zero));
}
`,
};

/** How the roles in use are stored, those read from copies among them. */
function storagesOf(form: MatmulForm): StorageForm[] {
  return MATMUL_ROLES.filter((role) => form.types[role]).map((role) => storageFormOf(form.types[role]!));
}

/** Bindings and the uniform block. */
export function declarations(form: MatmulForm): string {
  const bySlot: string[] = [];
  for (const role of MATMUL_ROLES) {
    const slot = form.slots[role];
    if (slot === undefined) continue;
    bySlot[slot] = `@group(0) @binding(${slot}) var<storage, read_write> storage${slot}: array<${
      elementType(form, role)
    }>;`;
  }
  return `${bySlot.join("\n")}
${storageWgsl(storagesOf(form))}struct Params {
${paramFields(form).map((field) => `  ${field}: ${field === "alpha" ? "f32" : "u32"},`).join("\n")}
}
@group(1) @binding(0) var<uniform> params: Params;
${form.quantized ? quantizedDeclarations(form) : ""}${
    form.gelu
      ? `alias vec_t = ${form.widths.c === 4 ? "vec4<f32>" : "f32"};\n${geluSource}${
        form.types.c === "f16" ? TO_HALF_WGSL[form.widths.c === 4 ? 4 : 1] : ""
      }`
      : ""
  }`;
}

/**
 * The element, or the four elements, of `role` at `index`, as f32. For widths 1 and 4.
 *
 * @param row The stored row of the operand, which codes of B need to find their scale.
 */
export function load(form: MatmulForm, role: MatmulRole, index: string, row = ""): string {
  if (role === "b" && form.quantized) return loadQuantized(form, index, row);
  if (form.copied?.includes(role)) return `fourOf_${form.types[role]}(${index})`;
  const width = widthOf(form, role) === 1 ? 1 : 4;
  return storageOfRole(form, role).load(`storage${form.slots[role]}[${index}]`, width);
}

/**
 * Which tile of which batch a workgroup computes: `tileM`, `tileN`, the operands' offsets
 * `aStart`, `bStart`, `cStart`, and `rowEnd`, the number of rows that may be stored. A
 * folded grid can have workgroups to spare: they compute the last tile and store nothing,
 * because a `return` would put the rest of the kernel under an execution mask.
 *
 * @param quotientOf Text of a quotient of whole numbers, rounded down.
 */
export function tileWgsl(quotientOf = (of: string, by: string) => `${of} / ${by}`): string {
  return `  let surplusIndex = group.y * params.gridWidth + group.x;
  let rowEnd = select(0u, params.m, surplusIndex < params.workgroups);
  let index = min(surplusIndex, params.workgroups - 1u);
  let tilesPerBatch = params.tilesM * params.tilesN;
  let batch = ${quotientOf("index", "tilesPerBatch")};
  let tile = index - batch * tilesPerBatch;
  let downFirst = params.downFirst != 0u;
  let extent = select(params.tilesN, params.tilesM, downFirst);
  let slow = ${quotientOf("tile", "extent")};
  let fast = tile - slow * extent;
  let tileM = select(slow, fast, downFirst);
  let tileN = select(fast, slow, downFirst);
  let z01 = ${quotientOf("batch", "params.batch2")};
  let z2 = batch - z01 * params.batch2;
  let z0 = ${quotientOf("z01", "params.batch1")};
  let z1 = z01 - z0 * params.batch1;
  let aStart = params.aOffset + z0 * params.aBatch0 + z1 * params.aBatch1 + z2 * params.aBatch2;
  let bStart = params.bOffset + z0 * params.bBatch0 + z1 * params.bBatch1 + z2 * params.bBatch2;
  let cBatch = z0 * params.cBatch0 + z1 * params.cBatch1 + z2 * params.cBatch2;
  let cStart = params.cOffset + cBatch;
  let residualStart = params.residualOffset + cBatch;
  let alpha = params.alpha;
`;
}

/** Declares what the stores of one group of four columns need; `column` is the first, as WGSL text. */
export function columnPrologue(form: MatmulForm, name: string, column: string): string {
  const lines = [`  let ${name} = ${column};`];
  if (form.types.bias) {
    if (form.widths.c === 4) {
      lines.push(
        `  let ${name}Bias = ${
          load(form, "bias", `params.biasOffset + min(${name} / 4u, params.n / 4u - 1u)`)
        };`,
      );
    } else {
      const parts = range(4).map((x) =>
        load(form, "bias", `params.biasOffset + min(${name} + ${x}u, params.n - 1u)`)
      );
      lines.push(`  let ${name}Bias = vec4<f32>(${parts.join(", ")});`);
    }
  }
  return lines.join("\n");
}

/**
 * Stores `sums` (vec4s) over k of A's rows or B's columns. Every tile across
 * (down) has the same: the first one stores.
 *
 * @param firsts The first of each vec4's four rows or columns, as WGSL text.
 * @param also Another condition, as WGSL text.
 */
export function storeSums(form: MatmulForm, sums: string[], firsts: string[], also = ""): string {
  const { of, accumulate } = form.sums!;
  const [tile, extent] = of === "a" ? ["tileN", "params.m"] : ["tileM", "params.n"];
  const stores = sums.flatMap((sum, i) =>
    range(4).map((x) => {
      const target = `storage${form.slots.sums}[params.sumsOffset + at${i} + ${x}u]`;
      return `    if (at${i} + ${x}u < ${extent}) { ${target} = ${
        accumulate ? `${target} + ` : ""
      }${sum}[${x}]; }`;
    })
  );
  return `  if (${tile} == 0u && rowEnd > 0u${also}) {
${firsts.map((first, i) => `    let at${i} = ${first};`).join("\n")}
${stores.join("\n")}
  }`;
}

/**
 * Stores `sum` (a vec4) to row `row`, columns `name … name + 3`, applying alpha, bias, residual and C in this
 * order, then GELU or its derivative to what C would hold.
 */
export function storeRow(form: MatmulForm, row: string, name: string, sum: string): string {
  const width = form.widths.c === 4 ? 4 : 1;
  const { load: of, store: as } = storageOfRole(form, "c");
  const bias = form.types.bias ? ` + ${name}Bias` : "";
  const element = (start: string, x?: number) =>
    `${start} + (${row}) * cRow + ${x === undefined ? `${name} / 4u` : `${name} + ${x}u`}`;
  const extra = (x?: number) =>
    (form.types.residual ? ` + ${load(form, "residual", element("residualStart", x))}` : "") +
    (form.accumulate ? ` + ${load(form, "c", element("cStart", x))}` : "");
  /** What C and, with GELU, `activated` get: names or terms, and the declarations before them. */
  const results = (
    value: string,
    x?: number,
  ): { before: string; of: [role: "c" | "activated", value: string][] } => {
    if (!form.gelu) return { before: "", of: [["c", value]] };
    const gelu = `gelu_${form.gelu}`;
    const kept = form.types.c === "f16" ? `to_half(${value})` : of(as(value, width), width);
    const rounded = `let r = ${kept};`;
    if (!form.types.slope) return { before: rounded, of: [["c", "r"], ["activated", `${gelu}_of(r)`]] };
    const slope = load(form, "slope", element("params.slopeOffset + cBatch", x));
    return { before: rounded, of: [["c", `r * ${gelu}_slope(${slope})`]] };
  };
  const place = (role: "c" | "activated", x?: number) =>
    element(role === "c" ? "cStart" : "params.activatedOffset + cBatch", x);
  const store = (role: "c" | "activated", at: string, value: string) =>
    `storage${form.slots[role]}[${at}] = ${
      storageOfRole(form, role).store(value, form.widths.c === 4 ? 4 : 1)
    };`;
  const stores = (value: string, x?: number) => {
    const { before, of } = results(value, x);
    return `${before} ${of.map(([role, result]) => store(role, place(role, x), result)).join(" ")}`;
  };
  if (form.widths.c === 4) {
    const value = `alpha * ${sum}${bias}${extra()}`;
    return `    if ((${row}) < rowEnd && ${name} < params.n) { ${stores(value)} }`;
  }
  const parts = range(4).map((x) => `if (${name} + ${x}u < params.n) { ${stores(`v[${x}]${extra(x)}`, x)} }`);
  return `    if ((${row}) < rowEnd) { let v = alpha * ${sum}${bias}; ${parts.join(" ")} }`;
}
