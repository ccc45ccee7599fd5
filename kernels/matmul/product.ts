import type { Located, ParamWord } from "../../engine/graph/launch.ts";
import { isStored } from "../storage_forms.ts";

/** Element types a product reads and writes; sums are f32 always. */
export type MatmulDtype = "f32" | "f16";

/** The storage a kernel touches, in the order of its uniform block. */
export const MATMUL_ROLES = ["a", "b", "c", "bias", "residual", "sums", "activated", "slope"] as const;
export type MatmulRole = typeof MATMUL_ROLES[number];

/** Elements that one load takes. */
export type Width = 1 | 4 | 8;

/**
 * One operand of a batched, strided product: element (i, j) of batch z lies at offset + z·strides + i·ld + j.
 */
export interface MatmulOperand {
  value: Located;
  /** Elements from the start of the value to the first one. */
  offset?: number;
  /** Elements between rows as stored. */
  ld: number;
  /** Whether the operand is stored transposed: A as [k, m], B as [n, k]. */
  transposed?: boolean;
  /** Elements between batches, one per batch dimension; 0 repeats the operand. */
  strides?: readonly number[];
  /**
   * Whether rows go on after their last element, to `ld` or the next multiple of
   * four, with elements that may be read and, of C, written with anything: then
   * whole vectors will do where the extent is no multiple of four.
   */
  padded?: boolean;
  /** B alone: its value is u8 codes, decoded inside the product. */
  quantized?: QuantizedOperand;
}

/** How to decode an operand whose value holds codes; see `kernels/quantized_linear.ts`. Only B can be one. */
export interface QuantizedOperand {
  format: "nf4" | "int8";
  /** Largest magnitudes of blocks, f32 or (double quantization) u8 codes. */
  absmax: Located;
  /** The offset, then one absmax per 256 blocks; f32. */
  nested: Located;
  /** The signed dynamic map [256], then the values of NF4 [16]; f32. */
  tables: Located;
  quantBlockSize: number;
  doubleQuantization: boolean;
}

/** Σ_k A[m, k], of an A stored transposed, or Σ_k B[k, n]; f32. */
export interface OperandSums {
  of: "a" | "b";
  /** [m] or [n]. */
  value: Located;
  /** Whether the sums are added to what the value holds. */
  accumulate: boolean;
}

/** GELU on the way of a product's result, or its derivative. */
export interface FusedGelu {
  approximation: "tanh" | "erf";
  /** Where GELU(C) goes. */
  activated?: Located;
  /** What the derivative is taken at. */
  of?: Located;
}

/**
 * C[m, n] = alpha · A[m, k] · B[k, n] (+ bias[n]) (+ residual[m, n]) (+ C where
 * `accumulate`), for every batch.
 */
export interface MatmulSpec {
  /** Name for profiles. */
  name: string;
  m: number;
  n: number;
  k: number;
  /** Up to three batch extents, outermost first; default none. */
  batch?: readonly number[];
  a: MatmulOperand;
  b: MatmulOperand;
  c: MatmulOperand;
  alpha?: number;
  bias?: Located;
  /** Same layout as C; may be C itself, which is then added to in place. */
  residual?: Located;
  accumulate?: boolean;
  /**
   * f32, as many elements as C at least: where parts of an f16 C meet if its
   * terms are split. See `meetingType`.
   */
  meeting?: Located;
  /**
   * GELU of C as stored, kept beside it in the layout of C, or C = the rest ·
   * GELU′(of), with what `of` holds in that layout. Each product is rounded to
   * the type of C before, so that the bits are those of two kernels.
   */
  gelu?: FusedGelu;
  /** Sums of an operand over the terms, made on the way. Not batched. */
  sums?: OperandSums;
  /**
   * A square matrix, as stored, of which nothing above the diagonal matters: an A that holds zeros there, so
   * that its terms may be left out, or a C that nobody reads there, so that it may stay unwritten. A hint:
   * kernels may compute all.
   */
  triangle?: "a" | "c";
  /** Rows of the output tile, for tests and tuning; default by the product's size. */
  tileRows?: number;
}

/** A spec whose operands have exactly three batch dimensions and whose residual is not C. */
export type CheckedSpec = MatmulSpec & { batch: readonly number[] };

/** What the text of a kernel depends on where B holds codes. */
export interface QuantizedForm {
  format: "nf4" | "int8";
  doubleQuantization: boolean;
  /** A block is a stored row of B, or follows from an element's place by a shift or a division. */
  blocks: "row" | "shift" | "divide";
  /** Group-0 bindings beside those of the product's roles; what a format does not read is not bound. */
  slots: { absmax: number; nested?: number; tables?: number };
  /** Lanes of a subgroup that hold the values of NF4 between them; 0 reads them from the tables. */
  lanes: number;
}

/**
 * What the text of a kernel depends on, and nothing else: extents, strides and offsets are uniforms, so that
 * products of one form share a pipeline whatever their size.
 */
export interface MatmulForm {
  /** A stored as [k, m], B stored as [n, k]. */
  aTransposed: boolean;
  bTransposed: boolean;
  /**
   * Elements per binding element; all but A, B and the sums, which are single,
   * follow C. Eight only of codes and as words.
   */
  widths: Readonly<Record<"a" | "b" | "c", Width>>;
  /**
   * Operands of halves bound as words of 32 bits and taken apart in registers, or 0: NVIDIA's compiler loads
   * the four halves of a vector one by one.
   */
  words: Readonly<Record<"a" | "b", 0 | 32>>;
  /** Element type by role; a role that is absent is not used, or is a B of codes. */
  types: Partial<Record<MatmulRole, MatmulDtype>>;
  /**
   * Group-0 binding of each role in use. Roles that read one range share a
   * binding: bound ranges may not overlap.
   */
  slots: Partial<Record<MatmulRole, number>>;
  /** Roles read from copies by `fourOf_<type>(i)`, four elements at a time; the others have a slot. */
  copied?: readonly MatmulRole[];
  /** Where B holds codes: how they are decoded. */
  quantized?: QuantizedForm;
  /** Whether C is read and added. */
  accumulate: boolean;
  /** GELU of C goes to `activated`, or C is multiplied by its derivative at `slope`, whichever is in use. */
  gelu?: "tanh" | "erf";
  /**
   * The operand that is summed over k beside the product, and whether the sums are added to what is there.
   */
  sums?: { of: "a" | "b"; accumulate: boolean };
  /** Whether the only loop steps by one k. */
  single: boolean;
  /** Whether k leaves a remainder after the steps of the main loop. */
  tail: boolean;
}

/** The uniform block by field name; see `PARAM_FIELDS` in text.ts. */
export type MatmulParams = Record<string, number | ParamWord>;

/** Completes a spec. @throws {TypeError | RangeError} if it is no product that can be computed. */
export function normalise(spec: MatmulSpec): CheckedSpec {
  const { name, m, n, k, batch = [] } = spec;
  if (!(m >= 1 && n >= 1 && k >= 1)) {
    throw new RangeError(`Cannot multiply ${m} × ${k} by ${k} × ${n} (${name})`);
  }
  if (batch.length > 3) {
    throw new RangeError(`Cannot batch ${name} over ${batch.length} dimensions: at most 3`);
  }
  if (spec.a.quantized || spec.c.quantized) {
    throw new TypeError(`Cannot multiply ${name} with codes in A or C: only B can be quantized`);
  }
  if (spec.b.quantized) requireCodes(spec, spec.b.quantized);
  if (spec.sums) requireSums(spec, spec.sums);
  for (const [role, value] of valuesOf(spec)) {
    if (role === "b" && spec.b.quantized) continue;
    if (!isStored(value.dtype)) {
      throw new TypeError(
        `Cannot multiply ${role} of ${name} with dtype ${value.dtype}: expected f32 or f16`,
      );
    }
  }
  if (spec.gelu) requireGelu(spec, spec.gelu);
  if (spec.triangle) requireTriangle(spec, spec.triangle);
  const padding = 3 - batch.length;
  const pad = (operand: MatmulOperand): MatmulOperand => {
    const strides = operand.strides ?? batch.map(() => 0);
    if (strides.length !== batch.length) {
      throw new TypeError(
        `Cannot batch ${name} [${batch}] with strides [${strides}]: expected one stride per dimension`,
      );
    }
    return { ...operand, strides: [...Array(padding).fill(0), ...strides] };
  };
  const c = spec.c.value;
  const inPlace = spec.residual?.buffer === c.buffer && spec.residual.byteOffset === c.byteOffset;
  if (inPlace && spec.accumulate) {
    throw new TypeError(`Cannot accumulate ${name} into C that is its own residual`);
  }
  return {
    ...spec,
    batch: [...Array(padding).fill(1), ...batch],
    a: pad(spec.a),
    b: pad(spec.b),
    c: pad(spec.c),
    residual: inPlace ? undefined : spec.residual,
    accumulate: spec.accumulate || inPlace,
  };
}

function requireGelu({ name, c, accumulate, triangle }: MatmulSpec, { activated, of }: FusedGelu): void {
  if ((activated === undefined) === (of === undefined)) {
    throw new TypeError(
      `Cannot fuse GELU into ${name}: expected where it goes or what it is of, one of them`,
    );
  }
  if (triangle || (of && accumulate)) {
    throw new TypeError(`Cannot fuse GELU into ${name}: part of C is not written, or C is added to`);
  }
  const { dtype } = (activated ?? of)!;
  if (dtype !== c.value.dtype) {
    throw new TypeError(`Cannot fuse GELU in ${dtype} into ${name}: expected ${c.value.dtype}, as C`);
  }
}

function requireSums({ name, a, batch = [] }: MatmulSpec, { of, value }: OperandSums): void {
  if (value.dtype !== "f32") {
    throw new TypeError(`Cannot sum ${of} of ${name} in ${value.dtype}: expected f32`);
  }
  if (of === "a" && !a.transposed) {
    throw new TypeError(`Cannot sum A of ${name} over k: expected A stored as [k, m]`);
  }
  if (batch.some((extent) => extent !== 1)) throw new TypeError(`Cannot sum ${of} of ${name} over batches`);
}

function requireTriangle(
  { name, m, n, k, bias, residual, accumulate, sums }: MatmulSpec,
  of: "a" | "c",
): void {
  const columns = of === "a" ? k : n;
  if (m !== columns) {
    throw new RangeError(
      `Cannot leave out a triangle of ${of} of ${name}: it is no square but ${m} × ${columns}`,
    );
  }
  // What lies above the diagonal would depend on the kernel.
  if (sums || (of === "c" && (bias || residual || accumulate))) {
    throw new TypeError(
      `Cannot leave out a triangle of ${of} of ${name}: something is added to it, or summed`,
    );
  }
}

function requireCodes({ name, b }: MatmulSpec, quantized: QuantizedOperand): void {
  const { absmax, nested, tables, doubleQuantization, quantBlockSize } = quantized;
  const expected = [["u8", b.value], [doubleQuantization ? "u8" : "f32", absmax], ["f32", nested], [
    "f32",
    tables,
  ]] as const;
  for (const [dtype, value] of expected) {
    if (value.dtype === dtype) continue;
    throw new TypeError(
      `Cannot decode B of ${name}: "${value.name}" has dtype ${value.dtype}, expected ${dtype}`,
    );
  }
  if (!(Number.isInteger(quantBlockSize) && quantBlockSize >= 1)) {
    throw new RangeError(`Cannot decode B of ${name} in blocks of ${quantBlockSize}`);
  }
  if (b.strides?.some((stride) => stride !== 0)) {
    throw new TypeError(
      `Cannot batch ${name} over codes with strides [${b.strides}]: every batch reads the same B`,
    );
  }
}

/** The values of a product with their roles, those that decode B left out. */
export function valuesOf(spec: MatmulSpec): [MatmulRole, Located][] {
  const all: [MatmulRole, Located | undefined][] = [
    ["a", spec.a.value],
    ["b", spec.b.value],
    ["c", spec.c.value],
    ["bias", spec.bias],
    ["residual", spec.residual],
    ["activated", spec.gelu?.activated],
    ["slope", spec.gelu?.of],
    ["sums", spec.sums?.value],
  ];
  return all.filter((entry): entry is [MatmulRole, Located] => entry[1] !== undefined);
}
