import { BINDING_ALIGNMENT, type Command, f32, type Located, u32, whole } from "../engine/graph/launch.ts";
import { defineOp, ShapeError } from "../engine/graph/op.ts";
import type { Target } from "../engine/graph/target.ts";
import { type Dtype, DTYPE_BYTES, typeText } from "../engine/graph/types.ts";
import { rowForm, rowGrid, rowStoresWgsl, rowVectorWidth, vectorWgsl } from "./rows/reduction.ts";
import { rowTeams } from "./rows/teams.ts";
import { rowWindows, windowOf } from "./rows/windows.ts";
import { type Read, readsOf, storageReads } from "./lavapipe/texel_reads.ts";
import forwardSource from "./layer_norm.wgsl" with { type: "text" };
import inputGradSource from "./layer_norm_input_grad.wgsl" with { type: "text" };
import parameterGradSource from "./layer_norm_parameter_grad.wgsl" with { type: "text" };

/**
 * Layer norm over the last axis: `(x [N, C], w [C], b [C]) → (y [N, C], mean [N], rstd [N])`; the statistics, in f32,
 * are kept for the backward pass. Ba, Kiros & Hinton 2016, arXiv:1607.06450.
 */
export const layerNorm = defineOp<{ eps: number }>({
  name: "layer_norm",
  inferTypes: ([x, w, b]) => {
    const fits = x.shape.length === 2 && w.shape.length === 1 && w.shape[0] === x.shape[1] &&
      b.shape.length === 1 && b.shape[0] === w.shape[0] && w.dtype === b.dtype;
    if (!fits) {
      throw new ShapeError(
        `Cannot apply layer_norm to x ${typeText(x)}, w ${typeText(w)} and b ${typeText(b)}: ` +
          `expected [N, C], [C] and [C], w and b of one dtype`,
      );
    }
    const statistics = { shape: [x.shape[0]], dtype: "f32" as const };
    return [
      { shape: x.shape, dtype: x.dtype },
      { ...statistics, name: "mean" },
      { ...statistics, name: "rstd" },
    ];
  },
  lower: ({ inputs: [x, w, b], outputs: [y, mean, rstd], attrs, target }) =>
    rowCommands("layer_norm_forward", forwardSource, [
      row(x, "x"),
      column(w, "w"),
      column(b, "b"),
      row(y),
      scalar(mean),
      scalar(rstd),
    ], {
      target,
      writes: [3, 4, 5],
      stored: { x: x.dtype, w: w.dtype },
      stores: { y: "x" },
      eps: attrs.eps,
    }),
  vjp: ({ builder, inputs: [x, w], outputs: [, mean, rstd], outGrads: [dy], needs, takePrior }) => {
    if (!dy) return [undefined, undefined, undefined];
    let dw, db;
    if (needs(1) || needs(2)) {
      const priorW = needs(1) ? takePrior(1) : undefined;
      const priorB = needs(2) ? takePrior(2) : undefined;
      [dw, db] = builder.call(
        layerNormParameterGrad,
        [x, mean, rstd, dy, ...(priorW ? [priorW] : []), ...(priorB ? [priorB] : [])],
        { priorW: priorW !== undefined, priorB: priorB !== undefined },
      );
    }
    let dx;
    if (needs(0)) {
      const prior = takePrior(0);
      dx = builder.call(layerNormInputGrad, [x, w, mean, rstd, dy, ...(prior ? [prior] : [])], {
        prior: prior !== undefined,
      })[0];
    }
    return [dx, needs(1) ? dw : undefined, needs(2) ? db : undefined];
  },
  reference: ([x, w, b], { eps }, { inputs: [{ shape: [N, C] }] }) => {
    const y = new Float64Array(N * C);
    const mean = new Float64Array(N);
    const rstd = new Float64Array(N);
    for (let n = 0; n < N; n++) {
      for (let c = 0; c < C; c++) mean[n] += x[n * C + c] / C;
      let variance = 0;
      for (let c = 0; c < C; c++) variance += (x[n * C + c] - mean[n]) ** 2 / C;
      rstd[n] = 1 / Math.sqrt(variance + eps);
      for (let c = 0; c < C; c++) y[n * C + c] = (x[n * C + c] - mean[n]) * rstd[n] * w[c] + b[c];
    }
    return [y, mean, rstd];
  },
});

/** Input gradient of `layerNorm`: `(x, w, mean, rstd, dy[, prior]) → dx`, added to `prior` in place where there is one. */
export const layerNormInputGrad = defineOp<{ prior: boolean }>({
  name: "layer_norm_input_grad",
  inferTypes: ([x, , , , dy, prior], attrs) => {
    const dx = attrs.prior ? prior : dy;
    if (String(dy.shape) !== String(x.shape) || String(dx?.shape) !== String(x.shape)) {
      throw new ShapeError(
        `Cannot apply layer_norm_input_grad to x ${typeText(x)} and dy ${
          typeText(dy)
        }: expected equal shapes`,
      );
    }
    return [{ shape: x.shape, dtype: dx.dtype, name: "dx", ...(attrs.prior ? { aliasOfInput: 5 } : {}) }];
  },
  lower: ({ inputs: [x, w, mean, rstd, dy], outputs: [dx], attrs, target }) =>
    rowCommands("layer_norm_input_grad", inputGradSource, [
      row(x, "x"),
      column(w, "w"),
      scalar(mean, "mean"),
      scalar(rstd, "rstd"),
      row(dy, "dy"),
      row(dx, attrs.prior ? "dx" : undefined),
    ], {
      target,
      writes: [5],
      stored: { x: x.dtype, w: w.dtype, dy: dy.dtype, dx: dx.dtype },
      stores: { dx: "dx" },
      prelude: attrs.prior
        ? "fn prior(at: u32) -> vec_t { return load_dx(at); }\n"
        : "fn prior(at: u32) -> vec_t { return vec_t(0.0); }\n",
    }),
  reference: ([x, w, mean, rstd, dy, prior], attrs, { inputs: [{ shape: [N, C] }] }) => {
    const dx = attrs.prior ? prior.slice() : new Float64Array(N * C);
    for (let n = 0; n < N; n++) {
      let meanG = 0;
      let meanGx = 0;
      for (let c = 0; c < C; c++) {
        const g = dy[n * C + c] * w[c];
        meanG += g / C;
        meanGx += (g * (x[n * C + c] - mean[n]) * rstd[n]) / C;
      }
      for (let c = 0; c < C; c++) {
        const xhat = (x[n * C + c] - mean[n]) * rstd[n];
        dx[n * C + c] += rstd[n] * (dy[n * C + c] * w[c] - meanG - xhat * meanGx);
      }
    }
    return [dx];
  },
});

/**
 * Parameter gradients of `layerNorm`: `(x, mean, rstd, dy[, priorW][, priorB]) → (dw [C], db [C])`, in f32, each added to
 * its prior in place where there is one. The third output is scratch.
 */
export const layerNormParameterGrad = defineOp<{ priorW: boolean; priorB: boolean }>({
  name: "layer_norm_parameter_grad",
  inferTypes: ([x, , , dy], { priorW, priorB }) => {
    if (String(dy.shape) !== String(x.shape)) {
      throw new ShapeError(
        `Cannot apply layer_norm_parameter_grad to x ${typeText(x)} and dy ${
          typeText(dy)
        }: expected equal shapes`,
      );
    }
    const gradient = { shape: [x.shape[1]], dtype: "f32" as const, role: "gradients" as const };
    return [
      { ...gradient, name: "dw", ...(priorW ? { aliasOfInput: 4 } : {}) },
      { ...gradient, name: "db", ...(priorB ? { aliasOfInput: priorW ? 5 : 4 } : {}) },
      { shape: [chunkCount(x), 2, x.shape[1]], dtype: "f32", role: "workspace", name: "chunk_sums" },
    ];
  },
  lower: ({ inputs: [x, mean, rstd, dy], outputs: [dw, db, partials], attrs, target }) => {
    const [rows, columns] = x.shape;
    const width = rowVectorWidth(columns);
    const vectors = columns / width;
    // On a CPU a workgroup is one vector register's worth of lanes.
    const teams = rowTeams(target, 8);
    const prelude = vectorWgsl(width, { x: x.dtype, dy: dy.dtype }) + teams.wgsl +
      `const ACCUMULATE_DW = ${attrs.priorW};\nconst ACCUMULATE_DB = ${attrs.priorB};\n`;
    const partialReads: Read[] = [
      { name: "x", dtype: x.dtype },
      { name: "mean", dtype: "f32", scalar: true, small: true },
      { name: "rstd", dtype: "f32", scalar: true, small: true },
      { name: "dy", dtype: dy.dtype },
    ];
    const reads = readsOf(partialReads, { width, leastBytes: leastRowBytes(columns) }, target);
    // The second stage reads nothing of what the loads are for.
    const totalCode = prelude + storageReads(partialReads).code(parameterGradSource);
    const perChunk = rowsPerChunk(rows);
    const stages: Command[] = rowWindows(rows, [
      columns * DTYPE_BYTES[x.dtype],
      columns * DTYPE_BYTES[dy.dtype],
    ], reads.target)
      .map((window) => {
        const ranges = [x, mean, rstd, dy].map((value) => windowOf(value, window));
        return {
          kernel: {
            name: "layer_norm_parameter_partials",
            code: prelude + reads.code(parameterGradSource),
            entryPoint: "layer_norm_parameter_partials",
            writes: [4],
            workgroupBytes: teams.workgroupBytes(width),
          },
          bindings: [...ranges, whole(partials)],
          ...reads.of(ranges, [
            u32(window.count),
            u32(vectors),
            u32(perChunk),
            u32(window.first / perChunk),
            u32(partials.shape[0]),
          ]),
          workgroups: [Math.ceil(vectors / (4 * teams.lanes)), Math.ceil(window.count / perChunk), 1],
        };
      });
    stages.push({
      kernel: {
        name: "layer_norm_parameter_total",
        code: totalCode,
        entryPoint: "layer_norm_parameter_total",
        writes: [1, 2],
        workgroupBytes: teams.workgroupBytes(width),
      },
      bindings: [partials, dw, db].map(whole),
      params: [u32(rows), u32(vectors), u32(perChunk), u32(0), u32(partials.shape[0])],
      workgroups: [Math.ceil(vectors / teams.lanes), 1, 1],
    });
    return stages;
  },
  reference: (inputs, { priorW, priorB }, { inputs: [{ shape: [N, C] }] }) => {
    const [x, mean, rstd, dy] = inputs;
    const dw = priorW ? inputs[4].slice() : new Float64Array(C);
    const db = priorB ? inputs[priorW ? 5 : 4].slice() : new Float64Array(C);
    for (let n = 0; n < N; n++) {
      for (let c = 0; c < C; c++) {
        dw[c] += dy[n * C + c] * (x[n * C + c] - mean[n]) * rstd[n];
        db[c] += dy[n * C + c];
      }
    }
    return [dw, db, new Float64Array(chunkCount({ shape: [N, C] }) * 2 * C)];
  },
});

/**
 * Rows whose parameter gradients one invocation sums: about √N, so that both stages have as many terms. A power of two
 * that divides the smallest row window, so that no chunk crosses from one window to the next.
 */
function rowsPerChunk(rows: number): number {
  return Math.min(Math.max(2 ** Math.floor(Math.log2(Math.sqrt(rows))), 8), 256);
}

function chunkCount({ shape: [rows] }: { shape: readonly number[] }): number {
  return Math.ceil(rows / rowsPerChunk(rows));
}

/** Bytes of the rows that a window has at least, of the widest type. */
function leastRowBytes(columns: number): number {
  return BINDING_ALIGNMENT * columns * DTYPE_BYTES.f32;
}

/** An operand with a row per token, a number per token, or one element per column, and the name to read it by. */
interface RowOperand {
  value: Located;
  read?: string;
  perColumn?: boolean;
  scalar?: boolean;
}
const row = (value: Located, read?: string): RowOperand => ({ value, read });
const scalar = (value: Located, read?: string): RowOperand => ({ value, read, scalar: true });
const column = (value: Located, read: string): RowOperand => ({ value, read, perColumn: true });

interface RowCommandOptions {
  target: Target;
  /** Places of the operands that are written. */
  writes: readonly number[];
  /** Storage aliases without their `_t`. */
  stored: Record<string, Dtype>;
  /** What is stored by `store_<name>`, and its storage alias. */
  stores: Record<string, string>;
  eps?: number;
  prelude?: string;
}

/** One dispatch per window of rows. Operands with rows are windowed; per-column ones are bound whole. */
function rowCommands(
  name: string,
  source: string,
  operands: readonly RowOperand[],
  { target, writes, stored, stores, eps, prelude = "" }: RowCommandOptions,
): Command[] {
  const [rows, columns] = operands[0].value.shape;
  const width = rowVectorWidth(columns);
  const form = rowForm(columns / width, target);
  const isRead = operands.map(({ read }) => read !== undefined);
  const reads = readsOf(
    operands.flatMap(({ read, value, scalar, perColumn }): Read[] =>
      read === undefined ? [] : [{ name: read, dtype: value.dtype, scalar, small: scalar || perColumn }]
    ),
    { width, leastBytes: leastRowBytes(columns) },
    target,
  );
  const kernel = {
    name,
    code: form.wgsl + vectorWgsl(width, stored) + prelude + reads.code(source) +
      rowStoresWgsl(stores),
    entryPoint: name,
    writes,
    workgroupBytes: form.workgroupBytes,
  };
  const bytesPerRow = operands.map(({ value }) => columns * DTYPE_BYTES[value.dtype]);
  return rowWindows(rows, bytesPerRow, reads.target).map((window) => {
    const bindings = operands.map(({ value, perColumn }) =>
      perColumn ? whole(value) : windowOf(value, window)
    );
    return {
      kernel,
      bindings,
      ...reads.of(bindings.filter((_, i) => isRead[i]), [
        u32(window.count),
        u32(columns / width),
        ...(eps === undefined ? [] : [f32(eps)]),
      ]),
      workgroups: rowGrid(window.count, form, target),
    };
  });
}
