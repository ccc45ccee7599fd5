import {
  type Binding,
  type Command,
  defineOp,
  type Dispatch,
  f32,
  foldGrid,
  type Located,
  ShapeError,
  type Target,
  u32,
  whole,
} from "../engine/graph/op.ts";
import { DTYPE_BYTES, elementCount, type Shape, type TensorType, typeText } from "../engine/graph/types.ts";
import { type RowForm, rowForm, rowGrid, rowVectorWidth, vectorWgsl } from "./row_kernel.ts";
import { type RowWindow, rowWindows, windowOf } from "./row_windows.ts";
import { NEUTRAL_STEP, type StepBlock } from "./step_block.ts";
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
  /** Whether the last value of each tensor is an f16 copy of the weights, written anew after the update. */
  workingCopies?: boolean;
}

/**
 * One Adafactor update of many tensors: inputs `[clip f32 [4], then for each tensor w, g, its second moment, [m,] [copy
 * f16]]`. The second moment of a matrix [rows, columns] is two values, means of rows [rows] and columns [columns]; that of
 * a vector [n] one, [n]. m is there with `beta1`. All but the gradients are updated in place, fresh state is zeros. The
 * outputs are scratch. Gradients are multiplied by clip[1]; with clip[2] set nothing changes.
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
    const matrices = tensors.filter(({ w }) => w.shape.length === 2).map(({ w }) => w.shape);
    const scratch = (name: string, size: (shape: Shape) => number) => ({
      name,
      shape: [Math.max(4, ...matrices.map(size))],
      dtype: "f32" as const,
      role: "workspace" as const,
    });
    return [
      scratch("adafactor_row_sums", ([rows]) => rows),
      scratch("adafactor_column_sums", ([rows, columns]) => slabsOf(rows).count * columns),
      scratch("adafactor_column_roots", ([, columns]) => columns),
      scratch("adafactor_scalars", () => 4),
    ];
  },
  mutates: (inputs, attrs) => {
    const changed = new Set(
      tensorsOf([...inputs.keys()], attrs, (i) => inputs[i].shape)
        .flatMap(({ w, moments, m, copy }) => [w, ...moments, m, copy]),
    );
    return [...inputs.keys()].filter((i) => changed.has(i));
  },
  lower: ({ inputs, outputs, attrs, target }) =>
    tensorsOf(inputs, attrs, ({ shape }) => shape).flatMap((tensor, i) =>
      tensor.moments.length === 2
        ? matrixCommands(inputs[0], tensor, outputs, attrs, attrs.weightDecay[i], target)
        : vectorCommands(inputs[0], tensor, attrs, attrs.weightDecay[i], target)
    ),
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
  tensorsOf(inputs, attrs, (array) => shapes.get(array)!).forEach(({ w, g, moments, m, copy }, tensor) => {
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
      if (copy) copy[i] = Math.min(Math.max(w[i], -65504), 65504);
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
  copy?: T;
}

/** Inputs by tensor; how many each has depends on its number of dimensions. */
function tensorsOf<T>(
  [, ...values]: readonly T[],
  { beta1, weightDecay, workingCopies }: AdafactorAttrs,
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
      copy: workingCopies ? values[next++] : undefined,
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

function checkTensor({ w, g, moments, m, copy }: AdafactorTensor<TensorType>, attrs: AdafactorAttrs): void {
  if (w.shape.length > 2) {
    throw new ShapeError(`Cannot apply adafactor to weights ${typeText(w)}: expected one or two dimensions`);
  }
  const f32s = [w.shape, w.shape, ...(w.shape.length === 2 ? w.shape.map((extent) => [extent]) : [w.shape])];
  if (attrs.beta1 !== null) f32s.push(w.shape);
  const expected = f32s.map((shape) => typeText({ shape, dtype: "f32" }));
  if (attrs.workingCopies) expected.push(typeText({ shape: w.shape, dtype: "f16" }));
  const given = [
    w,
    g,
    ...moments,
    ...(attrs.beta1 === null ? [] : [m!]),
    ...(attrs.workingCopies ? [copy!] : []),
  ]
    .map(typeText);
  if (given.join() !== expected.join()) {
    throw new ShapeError(`Cannot apply adafactor to ${given.join(", ")}: expected ${expected.join(", ")}`);
  }
}

/** Invocations of the kernel that sums columns. */
const COLUMNS_WORKGROUP = 64;

/**
 * Slabs of rows whose column sums are added up apart. A property of the matrix alone, because they take memory and fix the
 * order of summation; a power of two up to 256, so that binding windows hold whole slabs.
 */
function slabsOf(rows: number): { rowsPerSlab: number; count: number } {
  let rowsPerSlab = 8;
  while (rowsPerSlab < 256 && rowsPerSlab * 128 < rows) rowsPerSlab *= 2;
  return { rowsPerSlab, count: Math.ceil(rows / rowsPerSlab) };
}

function matrixCommands(
  clip: Located,
  { w, g, moments: [rowState, columnState], m, copy }: AdafactorTensor<Located>,
  [rowSums, columnSums, columnRoots, scalars]: readonly Located[],
  attrs: AdafactorAttrs,
  weightDecay: number,
  target: Target,
): Command[] {
  const [rows, columns] = w.shape;
  const width = rowVectorWidth(columns);
  const vectors = columns / width;
  const slabs = slabsOf(rows);
  const windows = rowWindows(rows, [columns * DTYPE_BYTES.f32], target);
  const overRows = rowForm(vectors, target);
  const overRow = rowForm(rows, target);
  const kernel = (name: string, source: string, form: RowForm) => ({
    name,
    code: form.wgsl + vectorWgsl(width, {}) + source,
    entryPoint: name,
  });
  /** The part of a value with one element or row for each row of the matrix. */
  const part = (value: Located, window: RowWindow) =>
    value === rowSums ? rowsOf(rowSums, window) : windowOf(value, window);
  const byRows = (
    name: string,
    source: string,
    bindings: (window: RowWindow) => Binding[],
    params: Dispatch["params"],
  ): Dispatch[] =>
    windows.map((window) => ({
      kernel: kernel(name, source, overRows),
      bindings: bindings(window),
      params: [u32(window.count), u32(vectors), ...params],
      workgroups: rowGrid(window.count, overRows, target),
    }));

  const columnDispatches = windows.map(({ first, count }): Dispatch => ({
    kernel: {
      name: "adafactor_columns",
      code: `const COLUMNS_WG: u32 = ${COLUMNS_WORKGROUP}u;\n${vectorWgsl(width, {})}${columnsSource}`,
      entryPoint: "adafactor_columns",
    },
    bindings: [whole(clip), windowOf(g, { first, count }), whole(columnSums)],
    params: [u32(count), u32(vectors), u32(slabs.rowsPerSlab), u32(first / slabs.rowsPerSlab)],
    workgroups: [Math.ceil(vectors / COLUMNS_WORKGROUP), Math.ceil(count / slabs.rowsPerSlab), 1],
  }));
  return [
    ...byRows("adafactor_rows", `const SCALED = ${attrs.scaleParameter};\n${rowsSource}`, (window) => [
      whole(clip),
      part(g, window),
      part(rowState, window),
      part(w, window),
      part(rowSums, window),
    ], [f32(attrs.eps1)]),
    ...columnDispatches,
    {
      kernel: kernel("adafactor_factors", factorsSource, overRow),
      bindings: [clip, columnSums, columnState, columnRoots, rowState, rowSums, scalars].map(whole),
      params: [
        u32(rows),
        u32(vectors),
        u32(slabs.count),
        f32(attrs.eps1),
        f32(attrs.eps2),
        u32(Number(attrs.scaleParameter)),
      ],
      workgroups: foldGrid(1 + Math.ceil(vectors / (target.software ? 8 : 64)), target),
    },
    ...byRows("adafactor_norm", normSource, (window) => [
      whole(clip),
      part(g, window),
      part(rowState, window),
      whole(columnRoots),
      whole(scalars),
      part(rowSums, window),
    ], []),
    {
      kernel: kernel("adafactor_total", totalSource, overRow),
      bindings: [whole(rowSums), whole(scalars)],
      params: [u32(rows), u32(columns), f32(attrs.clipThreshold)],
      workgroups: [1, 1, 1],
    },
    ...byRows("adafactor_apply", applySource + finishWgsl(6, m, copy, width), (window) => [
      whole(clip),
      part(w, window),
      part(g, window),
      part(rowState, window),
      whole(columnRoots),
      whole(scalars),
      ...[m, copy].filter((value) => value !== undefined).map((value) => part(value, window)),
    ], [f32(attrs.beta1 ?? 0), f32(weightDecay)]),
  ];
}

function vectorCommands(
  clip: Located,
  { w, g, moments: [v], m, copy }: AdafactorTensor<Located>,
  attrs: AdafactorAttrs,
  weightDecay: number,
  target: Target,
): Command[] {
  const width = rowVectorWidth(elementCount(w));
  const vectors = elementCount(w) / width;
  const form = rowForm(vectors, target);
  return [{
    kernel: {
      name: "adafactor_vector",
      code: form.wgsl + vectorWgsl(width, {}) + vectorSource + finishWgsl(4, m, copy, width),
      entryPoint: "adafactor_vector",
    },
    bindings: [clip, w, g, v, m, copy].filter((value) => value !== undefined).map(whole),
    params: [
      u32(vectors),
      f32(attrs.eps1),
      f32(attrs.eps2),
      u32(Number(attrs.scaleParameter)),
      f32(attrs.clipThreshold),
      f32(attrs.beta1 ?? 0),
      f32(weightDecay),
    ],
    workgroups: [1, 1, 1],
  }];
}

/** WGSL that ends an update: the first moment and the 16-bit copy, where a tensor has them, in the bindings from `binding`. */
function finishWgsl(
  binding: number,
  m: Located | undefined,
  copy: Located | undefined,
  width: 1 | 4,
): string {
  const half = width === 4 ? "vec4<f16>" : "f16";
  return `
${m ? `@group(0) @binding(${binding++}) var<storage, read_write> m: array<vec_t>;` : ""}
${copy ? `@group(0) @binding(${binding}) var<storage, read_write> copy: array<${half}>;` : ""}
fn finish(i: u32, weight: vec_t, update: vec_t, decay: f32) {
  var change = update;
  ${m ? "change = params.beta1 * m[i] + (1.0 - params.beta1) * update; m[i] = change;" : ""}
  let result = weight - decay * weight - change;
  w[i] = result;
  ${copy ? `copy[i] = ${half}(clamp(result, vec_t(-65504.0), vec_t(65504.0)));` : ""}
}
`;
}

/** Elements of scratch memory that belong to the rows of a window; the value may be larger than this matrix needs. */
function rowsOf({ buffer, byteOffset, dtype }: Located, { first, count }: RowWindow): Binding {
  const bytes = DTYPE_BYTES[dtype];
  return { buffer, byteOffset: byteOffset + first * bytes, byteLength: count * bytes };
}
