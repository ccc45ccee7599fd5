import { type Command, f32, u32, whole } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { ShapeError } from "../engine/graph/op.ts";
import { DTYPE_BYTES, typeText } from "../engine/graph/types.ts";
import { accessOf } from "./access.ts";
import { chunkCount, rowsPerChunk } from "./rows/chunks.ts";
import { column, leastRowBytes, number, row, rowCommands, WRITTEN } from "./rows/commands.ts";
import { rowVectorWidth, vectorWgsl } from "./rows/reduction.ts";
import { rowWindows, windowOf } from "./rows/windows.ts";
import forwardSource from "./layer_norm.wgsl" with { type: "text" };
import inputGradSource from "./layer_norm_input_grad.wgsl" with { type: "text" };
import parameterGradSource from "./layer_norm_parameter_grad.wgsl" with { type: "text" };

/**
 * Layer norm over the last axis: `(x [N, C], w [C], b [C]) → (y [N, C], mean [N], rstd [N])`; the statistics,
 * in f32, are kept for the backward pass. Ba, Kiros & Hinton 2016, arXiv:1607.06450.
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
  lower: ({ inputs: [x, w, b], outputs: [y, mean, rstd], attrs, kernels }) =>
    rowCommands("layer_norm_forward", forwardSource, [
      row("x", x),
      column("w", w),
      column("b", b),
      row("y", y, WRITTEN),
      number("mean", mean, WRITTEN),
      number("rstd", rstd, WRITTEN),
    ], { kernels, params: [f32(attrs.eps)] }),
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

/**
 * Input gradient of `layerNorm`: `(x, w, mean, rstd, dy[, prior]) → dx`, added to
 * `prior` in place where there is one.
 */
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
  lower: ({ inputs: [x, w, mean, rstd, dy], outputs: [dx], attrs, kernels }) =>
    rowCommands("layer_norm_input_grad", inputGradSource, [
      row("x", x),
      column("w", w),
      number("mean", mean),
      number("rstd", rstd),
      row("dy", dy),
      row("dx", dx, { reads: attrs.prior, writes: true }),
    ], {
      kernels,
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
 * Parameter gradients of `layerNorm`: `(x, mean, rstd, dy[, priorW][, priorB]) → (dw [C], db [C])`, in f32,
 * each added to its prior in place where there is one. The third output is scratch.
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
      { shape: [chunkCount(x.shape[0]), 2, x.shape[1]], dtype: "f32", role: "workspace", name: "chunk_sums" },
    ];
  },
  lower: ({ inputs: [x, mean, rstd, dy], outputs: [dw, db, partials], attrs, kernels }) => {
    const [rows, columns] = x.shape;
    const width = rowVectorWidth(columns);
    const vectors = columns / width;
    // On a CPU a workgroup is one vector register's worth of lanes.
    const teams = kernels.rowTeams(8);
    const prelude = vectorWgsl(width) + teams.wgsl +
      `const ACCUMULATE_DW = ${attrs.priorW};\nconst ACCUMULATE_DB = ${attrs.priorB};\n`;
    const read = [row("x", x), number("mean", mean), number("rstd", rstd), row("dy", dy)];
    const options = { width, leastBytes: leastRowBytes(columns) };
    const access = accessOf(read.map(({ operand }) => operand), options, kernels);
    // The second stage reads nothing of what the loads are for.
    const unread = accessOf(read.map(({ operand }) => ({ ...operand, copied: false })), options, kernels);
    const perChunk = rowsPerChunk(rows);
    const stages: Command[] = rowWindows(rows, [
      columns * DTYPE_BYTES[x.dtype],
      columns * DTYPE_BYTES[dy.dtype],
    ], access.target)
      .map((window) => {
        const ranges = [x, mean, rstd, dy].map((value) => windowOf(value, window));
        return {
          kernel: {
            name: "layer_norm_parameter_partials",
            code: prelude + access.code(parameterGradSource),
            entryPoint: "layer_norm_parameter_partials",
            writes: [4],
            workgroupBytes: teams.workgroupBytes(width),
          },
          bindings: [...ranges, whole(partials)],
          ...access.of(ranges, [
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
        code: prelude + unread.code(parameterGradSource),
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
    return [dw, db, new Float64Array(chunkCount(N) * 2 * C)];
  },
});
