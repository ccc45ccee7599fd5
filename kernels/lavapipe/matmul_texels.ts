import { type Dispatch, SCRATCH_ROW_BYTES, SCRATCH_ROW_VECTORS } from "../../engine/graph/launch.ts";
import { foldGrid, type Target } from "../../engine/graph/target.ts";
import { DTYPE_BYTES } from "../../engine/graph/types.ts";
import {
  columnPrologue,
  declarations,
  load,
  range,
  repeat,
  storeRow,
  storeSums,
  tileWgsl,
  writtenSlots,
} from "../matmul/text.ts";
import {
  elementOffset,
  type Part,
  type Span,
  spansOf,
  split,
  startsTerms,
  wholeMatrices,
  windowsOf,
} from "../matmul/parts.ts";
import { matmulParams } from "../matmul/params.ts";
import { copiedFour } from "../access.ts";
import { storageFormOf } from "../storage_forms.ts";
import { placeCopies, SCRATCH_WGSL, scratchWord } from "./scratch.ts";
import type { CheckedSpec, MatmulDtype, MatmulForm, MatmulRole } from "../matmul/product.ts";
import { formOf, widestAligned } from "../matmul/form.ts";
import type { TileLoads } from "../matmul/tile.ts";
import { tilesOf, type Triangle } from "../matmul/triangle.ts";

/** Roles that only the end of a product reads. */
const ADDED_ROLES: readonly MatmulRole[] = ["bias", "residual", "slope"];
const isOperand = ({ role }: Span) => role === "a" || role === "b";

/**
 * The dispatches of a product that reads its operands from the scratch texture, or undefined where it cannot:
 * the adapter reads buffers as fast, an operand holds codes, or does not fall into whole vectors of four.
 *
 * Mesa lavapipe runs a load from a buffer as a loop over the lanes, some 8 ns a lane and component; a load
 * from a storage texture takes 10 ns for all lanes, and copying an operand into the texture a ninth of a
 * nanosecond a byte. Measured, a product is two to three times as fast so, in tiles of a quarter of the code.
 */
export function texelProduct(
  spec: CheckedSpec,
  whole: Part,
  adapter: TexelAdapter,
): Dispatch[] | undefined {
  if (spec.b.quantized || !aligned(spec, whole)) return undefined;
  const parts = partsOf(spec, whole, adapter);
  const fits = parts?.every((part) =>
    aligned(spec, part) &&
    (!spec.gelu || part.k.count === spec.k) &&
    // Partial sums meet in C, which must be f32 then.
    (startsTerms(part) || spec.c.value.dtype === "f32")
  );
  return fits ? parts!.map((part) => texelDispatch(spec, part, adapter)) : undefined;
}

/** Limits of an adapter, and the bytes that a dispatch may copy into its scratch texture. */
export interface TexelAdapter {
  target: Target;
  scratchBytes: number;
}

function partsOf(spec: CheckedSpec, whole: Part, adapter: TexelAdapter): Part[] | undefined {
  try {
    return split(spec, adapter.target, whole, (spec, _, part) => excessTexels(spec, adapter, part));
  } catch (error) {
    // No way of halving makes the operands fit.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/**
 * Copies of spans, by default of the operands, one behind the other in the
 * texture, and where in it each begins.
 */
function copiesOf(spec: CheckedSpec, part: Part, spans = spansOf(spec, part).filter(isOperand)) {
  const windows = windowsOf(spec, spans);
  const copies = placeCopies(windows.map(({ binding }) => binding));
  return windows.map(({ spans }, i) => ({ spans, copy: copies[i] }));
}

/** Bytes that copies take of the texture. */
function bytesOf(copies: ReturnType<typeof copiesOf>): number {
  return copies.reduce(
    (sum, { copy }) => sum + Math.ceil(copy.source.byteLength / SCRATCH_ROW_BYTES) * SCRATCH_ROW_BYTES,
    0,
  );
}

/** Bytes by which the operands pass what the texture holds, or other values the binding limit. */
function excessTexels(spec: CheckedSpec, { target, scratchBytes }: TexelAdapter, part: Part): number {
  const copied = bytesOf(copiesOf(spec, part));
  return windowsOf(spec, spansOf(spec, part).filter((span) => !isOperand(span))).reduce(
    (sum, { binding }) => sum + Math.max(0, binding.byteLength - target.maxStorageBufferBindingSize),
    Math.max(0, copied - scratchBytes),
  );
}

/** Whether four elements in a row of each operand lie in one texel, or one half of it. */
function aligned(spec: CheckedSpec, part: Part): boolean {
  return copiesOf(spec, part).every(({ spans, copy }) =>
    spans.every((span) =>
      widestAligned(spec, part, span.role as "a" | "b", elementOffset(span, copy.source), 4) === 4
    )
  );
}

/**
 * Rows of a tile, but where subgroups are narrow: what a kernel takes to compile
 * depends on them, not on the lanes.
 */
const [SMALL_ROWS, LARGE_ROWS] = [16, 32];
/** Rows a lane at most. */
const MOST_ROWS_OF_LANE = 4;
/** Products of fewer operations have small tiles, whose kernels compile in two thirds of the time. */
const LARGE_FLOPS = 1.5e8;
/**
 * The same for products of attention, if their matrices are large: of small ones
 * much of a large tile lies beyond the diagonal.
 */
const LARGE_BATCHED_FLOPS = 1e8;
const LARGE_BATCHED_ROWS = 256;
/** Tiles that keep the threads of an adapter busy to the end. */
const LEAST_LARGE_TILES = 64;

/** Extents of a tile. */
interface TexelTile {
  rows: number;
  columns: number;
}

/** Operands lie in copies; what else a kernel reads and writes it binds as vectors of four. */
const LOADS_OF_REST: TileLoads = {
  step: 4,
  codeLanes: 0,
  halvesAsWords: false,
  stepsSingly: false,
  widest: () => 4,
  readsPadding: () => false,
};

/** The tile of a part. Large ones take two thirds of the loads of small ones, for as many products. */
function tileOf(spec: CheckedSpec, part: Part, triangle: Triangle, lanes: number): TexelTile {
  const tile = (rows: number): TexelTile => ({
    rows: Math.max(lanes, Math.min(rows, MOST_ROWS_OF_LANE * lanes)),
    columns: 4 * lanes,
  });
  const [lowest, small, large] = [tile(lanes), tile(SMALL_ROWS), tile(LARGE_ROWS)];
  if (part.m.count <= lanes && !spec.a.transposed) return lowest;
  if (spec.tileRows) return spec.tileRows === large.rows ? large : small;
  const { tilesM, tilesN } = tilesOf(part, large, triangle);
  const batches = part.batchCount.reduce((product, count) => product * count, 1);
  const flops = 2 * part.m.count * part.n.count * part.k.count * batches;
  const enough = batches === 1
    ? flops >= LARGE_FLOPS
    : flops >= LARGE_BATCHED_FLOPS && part.m.count >= LARGE_BATCHED_ROWS;
  return enough && tilesM * tilesN * batches >= LEAST_LARGE_TILES ? large : small;
}

function texelDispatch(spec: CheckedSpec, part: Part, adapter: TexelAdapter): Dispatch {
  const { target } = adapter;
  const lanes = target.subgroupSize;
  const triangle = wholeMatrices(spec, part) ? spec.triangle : undefined;
  const tile = tileOf(spec, part, triangle, lanes);
  const { rows } = tile;
  const { copies, windows, form, bindings } = placesOf(spec, part, adapter);
  const { tilesM, tilesN, share } = tilesOf(part, tile, triangle);
  const batches = part.batchCount.reduce((product, count) => product * count, 1);
  const grid = foldGrid(tilesM * tilesN * batches, target);
  const placed = copies.map(({ copy }) => copy);
  const offsets = Object.fromEntries(copies.flatMap(({ spans, copy }, i) =>
    spans.map((span) => {
      const fours = SCRATCH_ROW_VECTORS * 4 / DTYPE_BYTES[span.value.dtype];
      return [`${span.role}Offset`, scratchWord(placed, i, fours, elementOffset(span, copy.source) / 4)];
    })
  ));
  return {
    kernel: {
      name: spec.name,
      code: codeFor(form, lanes, rows, triangle),
      entryPoint: "matmul",
      writes: writtenSlots(form),
    },
    bindings,
    copies: placed,
    params: matmulParams(spec, part, form, windows, { tilesM, tilesN, grid }, offsets),
    workgroups: grid,
    flops: 2 * part.m.count * part.n.count * part.k.count * batches * share,
  };
}

/**
 * The copies in the texture, the windows and bindings of what is read and written
 * where it lies, and the kernel's form.
 *
 * What the end of a product reads, C itself among it, is copied beside the
 * operands where it is loaded in fours and there is room: a row of a tile of it
 * takes as long to load from a buffer as twenty of its products.
 */
function placesOf(spec: CheckedSpec, part: Part, { scratchBytes }: TexelAdapter) {
  const spans = spansOf(spec, part);
  windowsOf(spec, spans); // throws where C lies over an operand
  const accumulate = spec.accumulate || !startsTerms(part);
  const bound = spans.filter((span) => !isOperand(span));
  const { form: whole } = formOf(spec, part, windowsOf(spec, bound), accumulate, LOADS_OF_REST);
  const prior = spans.filter(({ role }) => accumulate && role === "c" && !whole.types.residual)
    .map((span): Span => ({ ...span, role: "residual" }));
  const added = [...bound.filter(({ role }) => ADDED_ROLES.includes(role)), ...prior];
  const operands = spans.filter(isOperand);
  const all = copiesOf(spec, part, [...operands, ...added]);
  const copied = whole.widths.c === 4 && bytesOf(all) <= scratchBytes ? added : [];
  const windows = windowsOf(spec, bound.filter((span) => !copied.includes(span)));
  const inPlace = accumulate && !copied.some((span) => prior.includes(span));
  const { form, bindings } = formOf(spec, part, windows, inPlace, LOADS_OF_REST);
  const read = [...operands, ...copied];
  return {
    copies: copied.length > 0 ? all : copiesOf(spec, part),
    windows,
    bindings,
    form: {
      ...form,
      widths: { ...form.widths, a: 4, b: 4 },
      types: {
        ...form.types,
        ...Object.fromEntries(read.map(({ role, value }) => [role, value.dtype as MatmulDtype])),
      },
      copied: read.map(({ role }) => role),
    } satisfies MatmulForm as MatmulForm,
  };
}

const codes = new Map<string, string>();

/** The text for a form, generated once. */
function codeFor(form: MatmulForm, lanes: number, rows: number, triangle: Triangle): string {
  const key = JSON.stringify([form, lanes, rows, triangle]);
  const code = codes.get(key) ?? texelMatmulCode(form, lanes, rows, triangle);
  codes.set(key, code);
  return code;
}

/**
 * Text of `of / by`. Processors have no division of vectors of whole numbers: Mesa's takes a division for
 * each lane, eighty for the place of a tile. Exact for the numbers of tiles and batches, which are far from
 * 2²², as f32 divides with a half to spare.
 */
function quotientOf(of: string, by: string): string {
  return `u32((f32(${of}) + 0.5) / f32(${by}))`;
}

/** WGSL of the load of four elements of a type, from an index in units of four elements. */
function fourOf(type: MatmulDtype): string {
  return `fn fourOf_${type}(i: u32) -> vec4<f32> { return ${copiedFour(storageFormOf(type), "0u", "i")}; }\n`;
}

/**
 * WGSL of a product whose operands lie in the scratch texture.
 *
 *   C[m, n] = alpha · Σ_k A[m, k] · B[k, n] (+ bias[n]) (+ residual[m, n]) (+ C[m, n])
 *   sums[m] = Σ_k A[m, k] or sums[n] = Σ_k B[k, n] (+ sums), where they are asked for
 *
 * Shapes    A: [m, k] or [k, m].   B: [k, n] or [n, k].   C, residual: [m, n].   bias: [n].   All strided and
 *           batched; four elements in a row of A and B begin at a multiple of four.
 * Dtypes    each operand f32 or f16; products and sums f32, k in ascending order,
 *           so the bits do not depend on the tile.
 * Mapping   one workgroup = one subgroup = one tile of one, two or four rows a lane × four columns a lane. A
 *           row is loaded four k at a time by one lane, or where A is stored [k, m] four rows at a time: all
 *           rows of a k by as many lanes as they take, of the next k by the lanes after those;
 *           `subgroupShuffle` from a constant lane hands the numbers round. Of a triangle of A the terms of a
 *           tile end, or begin where A is stored [k, m], at the diagonal; light and heavy tiles take turns,
 *           because the adapter gives each of its threads one run of workgroups. Of a triangle of C only
 *           tiles that reach it are launched.
 * Limits    the adapter's subgroups have exactly `lanes` lanes. Any m, n, k ≥ 1: rows and columns outside are
 *           loaded from the last one inside and not stored.
 * Source    measured on Mesa lavapipe; see `texelProduct` and
 *           docs/notes/software-adapters.md. Larger tiles save loads and pay with code,
 *           which takes longer to compile and may leave the cache of decoded instructions.
 */
function texelMatmulCode(form: MatmulForm, lanes: number, rows: number, triangle?: Triangle): string {
  const { aTransposed, bTransposed } = form;
  const fourAt = (role: "a" | "b", index: string) => load(form, role, index);
  const groups = rows / lanes;
  // Of A stored [k, m]: lanes that load all rows of one k, and how many k all
  // lanes load at once: one, two or four.
  const quads = rows / 4;
  const span = lanes / quads;

  // What a lane loads of A for four k, and the register and lane that hold row `row` at the q-th of them.
  const aBases = aTransposed
    ? `  let quad = lane % ${quads}u;
  let ahead = lane / ${quads}u;
  let aBase = aStart + min(firstRow / 4u + quad, params.m / 4u - 1u);`
    : repeat(
      groups,
      (i) => `  let aBase${i} = aStart + min(firstRow + ${i * lanes}u + lane, params.m - 1u) * aRow;`,
    );
  const aLoads = aTransposed
    ? repeat(
      4 / span,
      (i) => `    let a${i} = ${fourAt("a", `aBase + (4u * step4 + ${i * span}u + ahead) * aRow`)};`,
    )
    : repeat(groups, (i) => `    let a${i} = ${fourAt("a", `aBase${i} + step4`)};`);
  const aValue = (row: number, q: number) =>
    aTransposed
      ? `subgroupShuffle(a${Math.floor(q / span)}[${row & 3}], ${(row >> 2) + quads * (q % span)}u)`
      : `subgroupShuffle(a${Math.floor(row / lanes)}[${q}], ${row % lanes}u)`;

  const bBases = bTransposed
    ? repeat(
      4,
      (x) => `  let bBase${x} = bStart + min(firstColumn + 4u * lane + ${x}u, params.n - 1u) * bRow;`,
    )
    : `  let bBase = bStart + min(firstColumn / 4u + lane, params.n / 4u - 1u);`;
  const bLoads = bTransposed
    ? `${repeat(4, (x) => `    let t${x} = ${fourAt("b", `bBase${x} + step4`)};`)}
${repeat(4, (q) => `    let b${q} = vec4<f32>(${range(4).map((x) => `t${x}[${q}]`).join(", ")});`)}`
    : repeat(4, (q) => `    let b${q} = ${fourAt("b", `bBase + (4u * step4 + ${q}u) * bRow`)};`);

  // Rows of A are summed over even and over odd k, in lanes of their own or not.
  const twoSums = form.sums?.of === "a" && span === 1;
  const sums = form.sums && `  var operandSum = vec4<f32>();
${twoSums ? "  var oddSum = vec4<f32>();" : ""}`;
  const addSums = form.sums &&
    (form.sums.of === "b"
      ? `    operandSum = operandSum + b0 + b1 + b2 + b3;`
      : twoSums
      ? `    operandSum = operandSum + a0 + a2;
    oddSum = oddSum + a1 + a3;`
      : `    operandSum = operandSum + a0 + ${span === 2 ? "a1" : `subgroupShuffleXor(a0, ${2 * quads}u)`};`);
  // Steps of one k: only where A is [k, m] and B [k, n], as along rows of an operand k comes in fours.
  const tail = form.tail
    ? `  for (var k = 4u * steps; k < params.k; k++) {
    let a0 = ${fourAt("a", "aBase + k * aRow")};
    let b0 = ${fourAt("b", "bBase + k * bRow")};
${repeat(rows, (row) => `    s${row} = s${row} + subgroupShuffle(a0[${row & 3}], ${row >> 2}u) * b0;`)}
${
      form.sums
        ? `    operandSum = operandSum + ${
          form.sums.of === "b" ? "b0" : "select(vec4<f32>(), a0, ahead == 0u)"
        };`
        : ""
    }
  }`
    : "";
  const storedSums = !form.sums
    ? ""
    : form.sums.of === "b"
    ? storeSums(form, ["operandSum"], ["firstColumn + 4u * lane"])
    : `  let rowSums = operandSum + ${twoSums ? "oddSum" : `subgroupShuffleXor(operandSum, ${quads}u)`};
${storeSums(form, ["rowSums"], ["firstRow + 4u * quad"], " && ahead == 0u")}`;

  const loads = [...new Set(form.copied!.map((role) => form.types[role]!))].map(fourOf).join("");
  return `${declarations(form)}
${SCRATCH_WGSL}${loads}
@compute @workgroup_size(${lanes})
fn matmul(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
${tileWgsl(quotientOf)}
  let aRow = params.aRow;
  let bRow = params.bRow;
  let cRow = params.cRow;
${originWgsl(rows, 4 * lanes, triangle)}
${aBases}
${bBases}
${repeat(rows, (row) => `  var s${row} = vec4<f32>();`)}
${sums ?? ""}
  let steps = ${
    triangle === "a" && !aTransposed ? `min(params.k, firstRow + ${rows}u) / 4u` : "params.k / 4u"
  };
  for (var step4 = ${triangle === "a" && aTransposed ? "firstRow / 4u" : "0u"}; step4 < steps; step4++) {
${aLoads}
${bLoads}
${
    repeat(rows, (row) =>
      `    { ${
        range(4).map((q) => `let x${q} = ${aValue(row, q)};`).join(" ")
      } s${row} = s${row}${range(4).map((q) => ` + x${q} * b${q}`).join("")}; }`)
  }
${addSums ?? ""}
  }
${tail}
${columnPrologue(form, "column", "firstColumn + 4u * lane")}
${repeat(rows, (row) => storeRow(form, `firstRow + ${row}u`, "column", `s${row}`))}
${storedSums}
}
`;
}

/** Declares `firstRow` and `firstColumn` of a tile; see `tilesOf`. */
function originWgsl(rows: number, columns: number, triangle: Triangle): string {
  switch (triangle) {
    case undefined:
      return `  let firstRow = tileM * ${rows}u;
  let firstColumn = tileN * ${columns}u;`;
    case "a":
      return `  let firstRow = select(tileM / 2u, params.tilesM - 1u - tileM / 2u, (tileM & 1u) != 0u) * ${rows}u;
  let firstColumn = tileN * ${columns}u;`;
    case "c": {
      // Rows of tiles of which `across` make a square: those of the square with
      // index s have s + 1 tiles each, and those before it across · s · (s + 1) /
      // 2. The root may be off by one for large numbers, hence the two checks.
      const across = columns / rows;
      const before = (s: string) => `${across}u * (${s} * (${s} + 1u) / 2u)`;
      return `  let root = u32((sqrt(1.0 + ${8 / across} * f32(tileM)) - 1.0) / 2.0);
  let raised = select(root, root + 1u, ${before("(root + 1u)")} <= tileM);
  let square = select(raised, raised - 1u, ${before("raised")} > tileM);
  let inSquare = tileM - ${before("square")};
  let down = ${quotientOf("inSquare", "(square + 1u)")};
  let firstRow = (${across}u * square + down) * ${rows}u;
  let firstColumn = (inSquare - down * (square + 1u)) * ${columns}u;`;
    }
    default:
      throw new TypeError(`Unknown triangle ${triangle satisfies never}`);
  }
}
