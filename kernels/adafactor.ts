import {
  type Binding,
  type Dispatch,
  f32,
  type Located,
  type ParamWord,
  u32,
} from "../engine/graph/launch.ts";
import { defineOp, ShapeError } from "../engine/graph/op.ts";
import type { Target } from "../engine/graph/target.ts";
import { DTYPE_BYTES, elementCount, type Shape, type TensorType, typeText } from "../engine/graph/types.ts";
import { floatBits } from "./tables/optimizer.ts";
import { type RowForm, rowForm, rowVectorWidth } from "./rows/reduction.ts";
import { NEUTRAL_STEP, type StepBlock } from "./step_block.ts";
import { tableDispatches, type TablePiece, tableTexelBytes } from "./tables/dispatch.ts";
import type { TableKernel, TableOperand } from "./tables/kernel.ts";
import rowsSource from "./adafactor.wgsl" with { type: "text" };
import columnsSource from "./adafactor_columns.wgsl" with { type: "text" };
import factorsSource from "./adafactor_factors.wgsl" with { type: "text" };
import normSource from "./adafactor_norm.wgsl" with { type: "text" };
import totalSource from "./adafactor_total.wgsl" with { type: "text" };
import applySource from "./adafactor_apply.wgsl" with { type: "text" };
import vectorSource from "./adafactor_vector.wgsl" with { type: "text" };

/** Attributes of `adafactor`. β2 and the relative step or rate ρ come from the step block. */
export interface AdafactorAttrs {
  /** Added to squared gradients. */
  eps1: number;
  /** Smallest root mean square that a tensor's rate is scaled by. */
  eps2: number;
  /** Updates whose root mean square is above this are scaled down to it. */
  clipThreshold: number;
  /** Decay of a first moment; null keeps none. */
  beta1: number | null;
  /** Whether ρ is multiplied by the root mean square of each tensor. */
  scaleParameter: boolean;
  /** One for each tensor. */
  weightDecay: readonly number[];
}

/**
 * One Adafactor update of many tensors: inputs `[clip f32 [4], then for each tensor w, g, its second moment[, m]]`. The
 * second moment of a matrix [rows, columns] is two values, means of rows [rows] and columns [columns]; that of
 * a vector [n] one, [n]. m is there with `beta1`. All but the gradients are updated in place, fresh state is zeros. The
 * output is scratch. Gradients are multiplied by clip[1]; with clip[2] set nothing changes.
 *
 * Shazeer & Stern 2018, arXiv:1804.04235, as transformers.optimization.Adafactor.
 */
export const adafactor = defineOp<AdafactorAttrs>({
  name: "adafactor",
  inferTypes: (inputs, attrs) => {
    const [clip] = inputs;
    if (clip?.dtype !== "f32" || elementCount(clip) !== 4) {
      throw new ShapeError(`Cannot apply adafactor with clip ${clip && typeText(clip)}: expected f32[4]`);
    }
    const tensors = tensorsOf(inputs, attrs, ({ shape }) => shape);
    tensors.forEach((tensor) => checkTensor(tensor, attrs));
    const matrices = tensors.flatMap(({ w }) => w.shape.length === 2 ? [w.shape] : []);
    return [{
      name: "adafactor_scratch",
      shape: [scratchVectors(matrices), 4],
      dtype: "f32",
      role: "workspace",
    }];
  },
  mutates: (inputs, attrs) => {
    const changed = new Set(
      tensorsOf([...inputs.keys()], attrs, (i) => inputs[i].shape)
        .flatMap(({ w, moments, m }) => [w, ...moments, m]),
    );
    return [...inputs.keys()].filter((i) => changed.has(i));
  },
  lower: ({ inputs, outputs: [scratch], attrs, target }) =>
    updateCommands(inputs[0], tensorsOf(inputs, attrs, ({ shape }) => shape), scratch, attrs, target),
  reference: (inputs, attrs, types) => adafactorReference(inputs, attrs, types, NEUTRAL_STEP),
});

/** `adafactor` in f64 for a given step block; writes into `inputs` and returns (empty) scratch. */
export function adafactorReference(
  inputs: readonly Float64Array[],
  attrs: AdafactorAttrs,
  types: { inputs: readonly TensorType[]; outputs: readonly TensorType[] },
  { adafactorBeta2, adafactorStep }: Pick<StepBlock, "adafactorBeta2" | "adafactorStep">,
): Float64Array[] {
  const scratch = types.outputs.map((type) => new Float64Array(elementCount(type)));
  const [, factor, found] = inputs[0];
  if (found !== 0) return scratch;
  const shapes = new Map(inputs.map((array, i) => [array, types.inputs[i].shape]));
  const rms = (values: Float64Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
  tensorsOf(inputs, attrs, (array) => shapes.get(array)!).forEach(({ w, g, moments, m }, tensor) => {
    const n = w.length;
    const [rows, columns] = moments.length === 2 ? shapes.get(w)! : [1, n];
    const squares = Float64Array.from(g, (x) => (factor * x) ** 2 + attrs.eps1);
    const blend = (state: Float64Array, i: number, mean: number) => {
      state[i] = adafactorBeta2 * state[i] + (1 - adafactorBeta2) * mean;
    };
    const update = new Float64Array(n);
    if (moments.length === 2) {
      const [rowState, columnState] = moments;
      for (let r = 0; r < rows; r++) {
        let sum = 0;
        for (let c = 0; c < columns; c++) sum += squares[r * columns + c];
        blend(rowState, r, sum / columns);
      }
      for (let c = 0; c < columns; c++) {
        let sum = 0;
        for (let r = 0; r < rows; r++) sum += squares[r * columns + c];
        blend(columnState, c, sum / rows);
      }
      const mean = rowState.reduce((sum, x) => sum + x, 0) / rows;
      for (let i = 0; i < n; i++) {
        const r = Math.floor(i / columns);
        update[i] = factor * g[i] / Math.sqrt((rowState[r] / mean) * columnState[i % columns]);
      }
    } else {
      for (let i = 0; i < n; i++) {
        blend(moments[0], i, squares[i]);
        update[i] = factor * g[i] / Math.sqrt(moments[0][i]);
      }
    }
    const rate = adafactorStep * (attrs.scaleParameter ? Math.max(attrs.eps2, rms(w)) : 1);
    const scale = rate / Math.max(1, rms(update) / attrs.clipThreshold);
    for (let i = 0; i < n; i++) {
      let change = scale * update[i];
      if (m) change = m[i] = attrs.beta1! * m[i] + (1 - attrs.beta1!) * change;
      w[i] += -attrs.weightDecay[tensor] * rate * w[i] - change;
    }
  });
  return scratch;
}

/** The values that belong to one tensor. */
interface AdafactorTensor<T> {
  w: T;
  g: T;
  /** Means of rows and of columns, or the whole second moment of a vector. */
  moments: T[];
  m?: T;
}

/** Inputs by tensor; how many each has depends on its number of dimensions. */
function tensorsOf<T>(
  [, ...values]: readonly T[],
  { beta1, weightDecay }: AdafactorAttrs,
  shapeOf: (value: T) => Shape,
): AdafactorTensor<T>[] {
  const tensors: AdafactorTensor<T>[] = [];
  let next = 0;
  while (next < values.length) {
    const [w, g] = [values[next++], values[next++]];
    const moments = [values[next++]];
    if (shapeOf(w).length > 1) moments.push(values[next++]);
    tensors.push({
      w,
      g,
      moments,
      m: beta1 === null ? undefined : values[next++],
    });
  }
  if (next !== values.length || tensors.length !== weightDecay.length) {
    throw new ShapeError(
      `Cannot apply adafactor to ${values.length} values and ${weightDecay.length} weight decays: ` +
        `expected weights, gradient and state for each`,
    );
  }
  return tensors;
}

function checkTensor({ w, g, moments, m }: AdafactorTensor<TensorType>, attrs: AdafactorAttrs): void {
  if (w.shape.length > 2) {
    throw new ShapeError(`Cannot apply adafactor to weights ${typeText(w)}: expected one or two dimensions`);
  }
  const f32s = [w.shape, w.shape, ...(w.shape.length === 2 ? w.shape.map((extent) => [extent]) : [w.shape])];
  if (attrs.beta1 !== null) f32s.push(w.shape);
  const expected = f32s.map((shape) => typeText({ shape, dtype: "f32" }));
  const given = [w, g, ...moments, ...(attrs.beta1 === null ? [] : [m!])].map(typeText);
  if (given.join() !== expected.join()) {
    throw new ShapeError(`Cannot apply adafactor to ${given.join(", ")}: expected ${expected.join(", ")}`);
  }
}

/**
 * Rows whose column sums are added up together. A property of the matrix alone, because it fixes the order of summation: about a
 * thirty-second of the rows, a power of two.
 */
function rowsPerSlab(rows: number): number {
  let perSlab = 32;
  while (perSlab < 256 && perSlab * 32 < rows) perSlab *= 2;
  return perSlab;
}

/** Where a matrix has its scratch, in vectors of four from the first of its batch on; see adafactor.wgsl. */
interface Scratch {
  slots: number;
  partials: number;
  roots: number;
  scalars: number;
  /** After the last. */
  end: number;
}

function scratchOf([rows, columns]: Shape, first: number): Scratch {
  const vectors = columns / rowVectorWidth(columns);
  const partials = first + rows;
  const roots = partials + Math.ceil(rows / rowsPerSlab(rows)) * vectors;
  const scalars = roots + vectors;
  return { slots: first, partials, roots, scalars, end: scalars + 1 };
}

/**
 * Scratch memory that matrices updated together take, as a share of the weights and at least: an optimizer that saves memory must not
 * ask for much.
 */
const SCRATCH_SHARE = 1 / 100;
const LEAST_SCRATCH_VECTORS = 2 ** 16;

/** Vectors of scratch that a batch of these matrices may take, if it has more than one. */
function scratchBudget(matrices: readonly Shape[]): number {
  const elements = matrices.reduce((sum, [rows, columns]) => sum + rows * columns, 0);
  return Math.max(LEAST_SCRATCH_VECTORS, Math.floor(elements * SCRATCH_SHARE / 4));
}

/** Vectors of scratch for all batches, which have it one after the other. */
function scratchVectors(matrices: readonly Shape[]): number {
  const each = matrices.map((shape) => scratchOf(shape, 0).end);
  const all = each.reduce((sum, vectors) => sum + vectors, 0);
  return Math.max(1, Math.min(all, Math.max(scratchBudget(matrices), ...each)));
}

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
  target: Target;
}

function updateCommands(
  clip: Located,
  tensors: readonly AdafactorTensor<Located>[],
  scratch: Located,
  attrs: AdafactorAttrs,
  target: Target,
): Dispatch[] {
  const update: Update = { clip, scratch, attrs, target };
  const decayed = tensors.map((tensor, i): Decayed => ({ ...tensor, decay: attrs.weightDecay[i] }));
  const ofRank = (rank: number, width: 1 | 4) =>
    decayed.filter(({ w: { shape } }) =>
      shape.length === rank && rowVectorWidth(shape[shape.length - 1]) === width
    );
  const budget = scratchBudget(decayed.flatMap(({ w }) => w.shape.length === 2 ? [w.shape] : []));
  const bytes = decayed.reduce((sum, { w }) => sum + 2 * w.byteLength, 0);
  const texelBytes = tableTexelBytes(bytes, target);
  return ([4, 1] as const).flatMap((width) => [
    ...batchesOf(ofRank(2, width), budget, width === 4 ? texelBytes : 0).flatMap((batch) =>
      matrixCommands(batch, width, texelBytes, update)
    ),
    ...vectorCommands(ofRank(1, width), width, texelBytes, update),
  ]);
}

/** Matrices in batches whose scratch stays within `budget`, and, where operands are copied, whose weights and gradients may be at once. */
function batchesOf(matrices: readonly Decayed[], budget: number, texelBytes: number): Matrix[][] {
  const batches: Matrix[][] = [];
  let bytes = 0;
  for (const matrix of matrices) {
    const open = batches.at(-1);
    const next = scratchOf(matrix.w.shape, open?.at(-1)?.scratch.end ?? 0);
    const own = 2 * matrix.w.byteLength;
    // An eighth is left for what is read beside them.
    if (open && next.end <= budget && (texelBytes === 0 || bytes + own <= texelBytes * 7 / 8)) {
      open.push({ ...matrix, scratch: next });
      bytes += own;
    } else {
      batches.push([{ ...matrix, scratch: scratchOf(matrix.w.shape, 0) }]);
      bytes = own;
    }
  }
  return batches;
}

/** Vectors that a block of rows has on a CPU, where finding a block takes as long as some hundred. */
const CPU_VECTORS_PER_BLOCK = 512;

/** Rows `first … first + count − 1` of a matrix. */
interface RowRun {
  matrix: Matrix;
  first: number;
  count: number;
  rowsPerBlock: number;
}

/** A matrix in runs of whole slabs that fit bindings and what may be copied. @throws {RangeError} where a slab does not. */
function rowRuns(matrix: Matrix, width: 1 | 4, mostBytes: number, { software }: Target): RowRun[] {
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
  const rowsPerBlock = software ? Math.max(1, Math.floor(CPU_VECTORS_PER_BLOCK * width / columns)) : 1;
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
  texelBytes: number,
  { clip, scratch, attrs, target }: Update,
): Dispatch[] {
  const vectors = batch[batch.length - 1].scratch.end;
  const ownScratch = { ...scratch, shape: [vectors, 4], byteLength: 16 * vectors };
  const most = (of: (shape: Shape) => number) => Math.max(...batch.map(({ w }) => of(w.shape)));
  const limit = target.maxStorageBufferBindingSize;
  // A third of it for weights and for gradients, and a rest; where not even a slab fits, all is read where it lies.
  const slabBytes = most(([rows, columns]) => Math.min(rows, rowsPerSlab(rows)) * columns * DTYPE_BYTES.f32);
  const copied = width === 4 && slabBytes <= texelBytes / 3 ? texelBytes : 0;
  const runs = batch.flatMap((matrix) =>
    rowRuns(matrix, width, copied > 0 ? Math.min(limit, copied / 3) : limit, target)
  );
  const overRows = rowForm(most(([, columns]) => columns / width), target);
  const overColumn = rowForm(most(([rows]) => rows), target);
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
      target,
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
  texelBytes: number,
  { clip, attrs, target }: Update,
): Dispatch[] {
  if (tensors.length === 0) return [];
  const longest = Math.max(...tensors.map(({ w }) => elementCount(w)));
  const form = rowForm(longest / width, target);
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
    4 * DTYPE_BYTES.f32 * longest <= texelBytes ? texelBytes : 0,
    target,
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
