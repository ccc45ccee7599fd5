import {
  type Binding,
  type Dispatch,
  f32,
  type Located,
  type ParamWord,
  u32,
} from "../engine/graph/launch.ts";
import { DTYPE_BYTES, elementCount, type Shape } from "../engine/graph/types.ts";
import { rowsPerSlab, type Scratch, scratchBudget, scratchOf } from "./adafactor_scratch.ts";
import type { AdafactorAttrs, AdafactorTensor } from "./adafactor_tensors.ts";
import type { KernelSet } from "./kernel_set.ts";
import { type RowForm, rowVectorWidth } from "./rows/reduction.ts";
import { tableDispatches, type TablePiece } from "./tables/dispatch.ts";
import type { TableKernel, TableOperand } from "./tables/kernel.ts";
import { floatBits } from "./tables/optimizer.ts";
import rowsSource from "./adafactor.wgsl" with { type: "text" };
import columnsSource from "./adafactor_columns.wgsl" with { type: "text" };
import factorsSource from "./adafactor_factors.wgsl" with { type: "text" };
import normSource from "./adafactor_norm.wgsl" with { type: "text" };
import totalSource from "./adafactor_total.wgsl" with { type: "text" };
import applySource from "./adafactor_apply.wgsl" with { type: "text" };
import vectorSource from "./adafactor_vector.wgsl" with { type: "text" };

/** A tensor and its weight decay. */
interface Decayed extends AdafactorTensor<Located> {
  decay: number;
}

interface Matrix extends Decayed {
  scratch: Scratch;
}

/** What all kernels of an update share. */
interface Update {
  clip: Located;
  scratch: Located;
  attrs: AdafactorAttrs;
  kernels: KernelSet;
}

export function adafactorCommands(
  clip: Located,
  tensors: readonly AdafactorTensor<Located>[],
  scratch: Located,
  attrs: AdafactorAttrs,
  kernels: KernelSet,
): Dispatch[] {
  const update: Update = { clip, scratch, attrs, kernels };
  const decayed = tensors.map((tensor, i): Decayed => ({ ...tensor, decay: attrs.weightDecay[i] }));
  const ofRank = (rank: number, width: 1 | 4) =>
    decayed.filter(({ w: { shape } }) =>
      shape.length === rank && rowVectorWidth(shape[shape.length - 1]) === width
    );
  const budget = scratchBudget(decayed.flatMap(({ w }) => w.shape.length === 2 ? [w.shape] : []));
  const bytes = decayed.reduce((sum, { w }) => sum + 2 * w.byteLength, 0);
  const copyBytes = kernels.scratch?.tableBytes(bytes) ?? 0;
  return ([4, 1] as const).flatMap((width) => [
    ...batchesOf(ofRank(2, width), budget, width === 4 ? copyBytes : 0).flatMap((batch) =>
      matrixCommands(batch, width, copyBytes, update)
    ),
    ...vectorCommands(ofRank(1, width), width, copyBytes, update),
  ]);
}

/**
 * Matrices in batches whose scratch stays within `budget`, and, where operands are copied, whose weights and
 * gradients may be at once.
 */
function batchesOf(matrices: readonly Decayed[], budget: number, copyBytes: number): Matrix[][] {
  const batches: Matrix[][] = [];
  let bytes = 0;
  for (const matrix of matrices) {
    const open = batches.at(-1);
    const next = scratchOf(matrix.w.shape, open?.at(-1)?.scratch.end ?? 0);
    const own = 2 * matrix.w.byteLength;
    // An eighth is left for what is read beside them.
    if (open && next.end <= budget && (copyBytes === 0 || bytes + own <= copyBytes * 7 / 8)) {
      open.push({ ...matrix, scratch: next });
      bytes += own;
    } else {
      batches.push([{ ...matrix, scratch: scratchOf(matrix.w.shape, 0) }]);
      bytes = own;
    }
  }
  return batches;
}

/** Rows `first … first + count − 1` of a matrix. */
interface RowRun {
  matrix: Matrix;
  first: number;
  count: number;
  rowsPerBlock: number;
}

/**
 * A matrix in runs of whole slabs that fit bindings and what may be copied.
 * @throws {RangeError} where a slab does not.
 */
function rowRuns(matrix: Matrix, width: 1 | 4, mostBytes: number, kernels: KernelSet): RowRun[] {
  const [rows, columns] = matrix.w.shape;
  const perSlab = rowsPerSlab(rows);
  const perRun = Math.floor(mostBytes / (columns * DTYPE_BYTES.f32) / perSlab) * perSlab;
  if (perRun === 0 && rows * columns * DTYPE_BYTES.f32 > mostBytes) {
    throw new RangeError(
      `Cannot bind ${perSlab} rows of ${
        columns * DTYPE_BYTES.f32
      } bytes: maxStorageBufferBindingSize is ${mostBytes}`,
    );
  }
  const rowsPerBlock = kernels.rowsPerBlock(columns / width);
  const runs = [];
  for (let first = 0; first < rows; first += perRun || rows) {
    runs.push({ matrix, first, count: Math.min(perRun || rows, rows - first), rowsPerBlock });
  }
  return runs;
}

/** Elements `first … first + count − 1` of a value. */
function elements({ buffer, byteOffset, dtype }: Located, first: number, count: number): Binding {
  const bytes = DTYPE_BYTES[dtype];
  return { buffer, byteOffset: byteOffset + first * bytes, byteLength: count * bytes };
}

function matrixCommands(
  batch: readonly Matrix[],
  width: 1 | 4,
  copyBytes: number,
  { clip, scratch, attrs, kernels }: Update,
): Dispatch[] {
  const vectors = batch[batch.length - 1].scratch.end;
  const ownScratch = { ...scratch, shape: [vectors, 4], byteLength: 16 * vectors };
  const most = (of: (shape: Shape) => number) => Math.max(...batch.map(({ w }) => of(w.shape)));
  const limit = kernels.target.maxStorageBufferBindingSize;
  // A third of it for weights and for gradients, and a rest; where not even a
  // slab fits, all is read where it lies.
  const slabBytes = most(([rows, columns]) => Math.min(rows, rowsPerSlab(rows)) * columns * DTYPE_BYTES.f32);
  const copied = width === 4 && slabBytes <= copyBytes / 3 ? copyBytes : 0;
  const runs = batch.flatMap((matrix) =>
    rowRuns(matrix, width, copied > 0 ? Math.min(limit, copied / 3) : limit, kernels)
  );
  const overRows = kernels.rowForm(most(([, columns]) => columns / width));
  const overColumn = kernels.rowForm(most(([rows]) => rows));
  const [vectorsOf, matrixOf] = [
    (columns: number) => columns / width,
    ({ w, g, m }: Matrix, { first, count }: RowRun) => {
      const columns = w.shape[1];
      const part = (value: Located) => elements(value, first * columns, count * columns);
      return { w: part(w), g: part(g), rest: m === undefined ? [] : [part(m)] };
    },
  ];
  const dispatches = (
    name: string,
    source: string,
    form: RowForm,
    { params = [], ...kernel }: Pick<
      TableKernel,
      "operands" | "fields" | "writes" | "workgroupBytes" | "params"
    >,
    pieces: TablePiece[],
  ) =>
    tableDispatches(
      {
        name,
        source: `${form.wgsl}${FOUR_WGSL[width]}${source}`,
        width,
        shared: [{ name: "clip", value: clip }, { name: "scratch", value: ownScratch, often: true }],
        params,
        ...kernel,
        blocksPerWorkgroup: form.rowsPerWorkgroup,
      },
      pieces,
      copied,
      kernels,
    );
  /** Pieces of a kernel over rows; `slots` are those of the run. */
  const rowPieces = (
    places: (run: RowRun, part: ReturnType<typeof matrixOf>) => Binding[],
    further: (matrix: Matrix) => ParamWord[],
  ) =>
    runs.map((run): TablePiece => ({
      blocks: Math.ceil(run.count / run.rowsPerBlock),
      fields: [
        run.count,
        vectorsOf(run.matrix.w.shape[1]),
        run.rowsPerBlock,
        run.matrix.scratch.slots + run.first,
      ].map(u32).concat(further(run.matrix)),
      places: places(run, matrixOf(run.matrix, run)),
    }));
  const rowFields = ["rows", "vectors", "rows_per_block", "slots"];
  const scaled = attrs.scaleParameter;
  return [
    ...dispatches(
      "adafactor_rows",
      squareOfWeightWgsl(scaled) + rowsSource,
      overRows,
      {
        operands: [
          ...scaled ? [{ name: "w", access: "vector" } as const] : [],
          { name: "g", access: "vector" },
          { name: "row_state", access: "scalar" },
        ],
        fields: rowFields,
        writes: ["row_state", "scratch"],
        workgroupBytes: overRows.workgroupBytes,
        params: [["eps1", f32(attrs.eps1)]],
      },
      rowPieces(
        (
          { matrix, first, count },
          { w, g },
        ) => [...scaled ? [w] : [], g, elements(matrix.moments[0], first, count)],
        () => [],
      ),
    ),
    ...dispatches(
      "adafactor_columns",
      columnsSource,
      overRows,
      {
        operands: [{ name: "g", access: "vector" }],
        fields: ["rows", "vectors", "rows_per_slab", "partials"],
        writes: ["scratch"],
      },
      runs.map((run): TablePiece => {
        const [rows, columns] = run.matrix.w.shape;
        const vectors = vectorsOf(columns);
        const perSlab = rowsPerSlab(rows);
        return {
          blocks: Math.ceil(run.count / perSlab) * Math.ceil(vectors / overRows.lanes),
          fields: [run.count, vectors, perSlab, run.matrix.scratch.partials + run.first / perSlab * vectors]
            .map(u32),
          places: [matrixOf(run.matrix, run).g],
        };
      }),
    ),
    ...dispatches(
      "adafactor_factors",
      factorsSource,
      overColumn,
      {
        operands: [{ name: "column_state", access: "vector" }],
        fields: ["rows", "vectors", "slabs", "slots", "partials", "roots", "scalars"],
        writes: ["column_state", "scratch"],
        workgroupBytes: overColumn.workgroupBytes,
        params: [["eps1", f32(attrs.eps1)], ["eps2", f32(attrs.eps2)], ["scaled", u32(Number(scaled))]],
      },
      batch.map(({ w: { shape: [rows, columns] }, moments: [, columnState], scratch }): TablePiece => ({
        blocks: 1 + Math.ceil(vectorsOf(columns) / overColumn.lanes),
        fields: [
          rows,
          vectorsOf(columns),
          Math.ceil(rows / rowsPerSlab(rows)),
          scratch.slots,
          scratch.partials,
          scratch.roots,
          scratch.scalars,
        ].map(u32),
        places: [elements(columnState, 0, columns)],
      })),
    ),
    ...dispatches("adafactor_norm", normSource, overRows, {
      operands: [{ name: "g", access: "vector" }],
      fields: [...rowFields, "roots", "scalars"],
      writes: ["scratch"],
      workgroupBytes: overRows.workgroupBytes,
    }, rowPieces((_, { g }) => [g], ({ scratch }) => [u32(scratch.roots), u32(scratch.scalars)])),
    ...dispatches(
      "adafactor_total",
      totalSource,
      overColumn,
      {
        operands: [],
        fields: ["rows", "columns", "slots", "scalars"],
        writes: ["scratch"],
        workgroupBytes: overColumn.workgroupBytes,
        params: [["clip_threshold", f32(attrs.clipThreshold)]],
      },
      batch.map(({ w: { shape: [rows, columns] }, scratch }): TablePiece => ({
        blocks: 1,
        fields: [rows, columns, scratch.slots, scratch.scalars].map(u32),
        places: [],
      })),
    ),
    ...dispatches(
      "adafactor_apply",
      finishWgsl(attrs) + applySource,
      overRows,
      {
        operands: [
          { name: "w", access: "vector" },
          { name: "g", access: "vector" },
          ...finishOperands(attrs),
        ],
        fields: [...rowFields, "roots", "scalars", "decay"],
        writes: ["w", ...finishOperands(attrs).map(({ name }) => name)],
        params: [["beta1", f32(attrs.beta1 ?? 0)]],
      },
      rowPieces(
        (_, { w, g, rest }) => [w, g, ...rest],
        ({ scratch, decay }) => [u32(scratch.roots), u32(scratch.scalars), floatBits(decay)],
      ),
    ),
  ];
}

function vectorCommands(
  tensors: readonly Decayed[],
  width: 1 | 4,
  copyBytes: number,
  { clip, attrs, kernels }: Update,
): Dispatch[] {
  if (tensors.length === 0) return [];
  const longest = Math.max(...tensors.map(({ w }) => elementCount(w)));
  const form = kernels.rowForm(longest / width);
  return tableDispatches(
    {
      name: "adafactor_vector",
      source: form.wgsl + finishWgsl(attrs) + vectorSource,
      width,
      operands: [
        ...["w", "g", "v"].map((name): TableOperand => ({ name, access: "vector" })),
        ...finishOperands(attrs),
      ],
      fields: ["vectors", "decay"],
      shared: [{ name: "clip", value: clip }],
      writes: ["w", "v", ...finishOperands(attrs).map(({ name }) => name)],
      workgroupBytes: form.workgroupBytes,
      params: [
        ["eps1", f32(attrs.eps1)],
        ["eps2", f32(attrs.eps2)],
        ["scaled", u32(Number(attrs.scaleParameter))],
        ["clip_threshold", f32(attrs.clipThreshold)],
        ["beta1", f32(attrs.beta1 ?? 0)],
      ],
      blocksPerWorkgroup: form.rowsPerWorkgroup,
    },
    tensors.map(({ w, g, moments: [v], m, decay }): TablePiece => ({
      blocks: 1,
      fields: [u32(elementCount(w) / width), floatBits(decay)],
      places: [w, g, v, m].filter((value) => value !== undefined).map((value) =>
        elements(value, 0, elementCount(w))
      ),
    })),
    // A tensor is one piece: the longest must fit.
    4 * DTYPE_BYTES.f32 * longest <= copyBytes ? copyBytes : 0,
    kernels,
  );
}

/** WGSL of what scratch holds of a `vec_t`: vectors of four, of which scalars use the first number. */
const FOUR_WGSL = {
  1: `fn in_four(v: vec_t) -> vec4<f32> { return vec4<f32>(v, 0.0, 0.0, 0.0); }
fn of_four(v: vec4<f32>) -> vec_t { return v.x; }
`,
  4: `fn in_four(v: vec_t) -> vec4<f32> { return v; }
fn of_four(v: vec4<f32>) -> vec_t { return v; }
`,
};

function squareOfWeightWgsl(scaled: boolean): string {
  return `fn square_of_weight(block: Block, i: u32) -> vec_t {
  ${scaled ? "let weight = load_w(block.w + i); return weight * weight;" : "return vec_t(0.0);"}
}
`;
}

/** What the end of an update stores beside the weights, where a tensor has it: the first moment. */
function finishOperands({ beta1 }: AdafactorAttrs): TableOperand[] {
  return beta1 === null ? [] : [{ name: "m", access: "vector" }];
}

/** WGSL that ends an update; see `finishOperands`. */
function finishWgsl({ beta1 }: AdafactorAttrs): string {
  return `fn finish(block: Block, i: u32, weight: vec_t, update: vec_t, decay: f32) {
  var change = update;
${
    beta1 === null ? "" : `  change = params.beta1 * load_m(block.m + i) + (1.0 - params.beta1) * update;
  store_m(block.m + i, change);`
  }
  store_w(block.w + i, weight - decay * weight - change);
}
`;
}
