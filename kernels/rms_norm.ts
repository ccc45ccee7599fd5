import { type Command, f32, type Located, u32, whole } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { ShapeError } from "../engine/graph/op.ts";
import { DTYPE_BYTES, elementCount, type TensorType, typeText } from "../engine/graph/types.ts";
import forwardSource from "./rms_norm.wgsl" with { type: "text" };
import inputGradSource from "./rms_norm_input_grad.wgsl" with { type: "text" };
import parameterGradSource from "./rms_norm_parameter_grad.wgsl" with { type: "text" };
import { accessOf } from "./access.ts";
import { chunkCount, rowsPerChunk } from "./rows/chunks.ts";
import { column, number, row, rowCommands, WRITTEN } from "./rows/commands.ts";
import { rowVectorWidth, vectorWgsl } from "./rows/reduction.ts";
import { rowWindows, windowOf } from "./rows/windows.ts";

/** Operands that are read where they lie. */
const IN_PLACE = { reads: true, copied: false };

export interface RmsNormAttrs {
  eps: number;
  /** Whether the weight is stored less one: y = x̂ · (1 + w). */
  onePlus?: boolean;
}

/**
 * Root-mean-square norm over the last axis, or over each of its H heads:
 * `(x [N, H·C], w [C]) → (y [N, H·C], rstd f32 [N·H])`. Zhang & Sennrich 2019, arXiv:1910.07467.
 */
export const rmsNorm = defineOp<RmsNormAttrs>({
  name: "rms_norm",
  inferTypes: ([x, w]) => {
    if (x.shape.length !== 2 || w.shape.length !== 1 || x.shape[1] % w.shape[0] !== 0) {
      throw new ShapeError(
        `Cannot apply rms_norm to x ${typeText(x)} and w ${typeText(w)}: expected [N, H·C] and [C]`,
      );
    }
    return [{ shape: x.shape, dtype: x.dtype, name: "y" }, {
      shape: [elementCount(x) / w.shape[0]],
      dtype: "f32",
      name: "rstd",
    }];
  },
  lower: ({ inputs: [x, w], outputs: [y, rstd], attrs, kernels }) =>
    rowCommands("rms_norm", forwardSource, [
      row("x", rowsOf(x, w.shape[0]), IN_PLACE),
      column("w", w, IN_PLACE),
      row("y", rowsOf(y, w.shape[0]), WRITTEN),
      number("rstd", rstd, WRITTEN),
    ], { kernels, params: [f32(attrs.eps)], prelude: weightWgsl(attrs) }),
  // Saves rstd rather than y: N floats instead of N·C, and the backward pass needs x in any case.
  vjp: ({ builder, inputs: [x, w], outputs: [, rstd], attrs, outGrads: [dy], needs, takePrior }) => {
    const { onePlus } = attrs;
    if (!dy) return [undefined, undefined];
    const withPrior = (prior: ReturnType<typeof takePrior>) => (prior ? [prior] : []);
    let dw, dx;
    if (needs(1)) {
      const prior = withPrior(takePrior(1));
      [dw] = builder.call(rmsNormParameterGrad, [x, rstd, dy, ...prior], { prior: prior.length > 0 });
    }
    if (needs(0)) {
      const prior = withPrior(takePrior(0));
      [dx] = builder.call(rmsNormInputGrad, [x, w, rstd, dy, ...prior], {
        prior: prior.length > 0,
        ...onePlus && { onePlus },
      });
    }
    return [dx, dw];
  },
  reference: ([x, w], { eps, onePlus }) => {
    const C = w.length;
    const N = x.length / C;
    const y = new Float64Array(N * C);
    const rstd = new Float64Array(N);
    for (let n = 0; n < N; n++) {
      let mean = 0;
      for (let c = 0; c < C; c++) mean += x[n * C + c] ** 2 / C;
      rstd[n] = 1 / Math.sqrt(mean + eps);
      for (let c = 0; c < C; c++) y[n * C + c] = x[n * C + c] * rstd[n] * (onePlus ? 1 + w[c] : w[c]);
    }
    return [y, rstd];
  },
});

/**
 * Input gradient of `rmsNorm`: `(x, w, rstd, dy, prior?) → dx`, added to `prior` in place where there is one.
 */
export const rmsNormInputGrad = defineOp<{ prior: boolean; onePlus?: boolean }>({
  name: "rms_norm_input_grad",
  inferTypes: ([x, , , dy, prior], attrs) => {
    expectShape("rms_norm_input_grad", "dy", dy, x.shape);
    if (attrs.prior) expectShape("rms_norm_input_grad", "prior", prior, x.shape);
    return attrs.prior
      ? [{ ...typeOf(prior), aliasOfInput: 4, name: "dx" }]
      : [{ shape: x.shape, dtype: dy.dtype, name: "dx" }];
  },
  lower: ({ inputs: [x, w, rstd, dy], outputs: [dx], attrs, kernels }) =>
    rowCommands("rms_norm_input_grad", `const ACCUMULATE = ${attrs.prior};\n${inputGradSource}`, [
      row("x", rowsOf(x, w.shape[0]), IN_PLACE),
      column("w", w, IN_PLACE),
      number("rstd", rstd, IN_PLACE),
      row("dy", rowsOf(dy, w.shape[0]), IN_PLACE),
      row("dx", rowsOf(dx, w.shape[0]), { ...IN_PLACE, ...WRITTEN }),
    ], { kernels, prelude: weightWgsl(attrs) }),
  reference: ([x, stored, rstd, dy, prior], attrs) => {
    const w = attrs.onePlus ? stored.map((v) => 1 + v) : stored;
    const C = w.length;
    const N = rstd.length;
    const dx = attrs.prior ? prior.slice() : new Float64Array(N * C);
    for (let n = 0; n < N; n++) {
      let mean = 0;
      for (let c = 0; c < C; c++) mean += (dy[n * C + c] * w[c] * x[n * C + c] * rstd[n]) / C;
      for (let c = 0; c < C; c++) {
        dx[n * C + c] += rstd[n] * (dy[n * C + c] * w[c] - x[n * C + c] * rstd[n] * mean);
      }
    }
    return [dx];
  },
});

/**
 * Parameter gradient of `rmsNorm`: `(x, rstd, dy, prior?) → dw f32 [C]`, added to `prior` in place where
 * there is one. The second output is scratch.
 */
export const rmsNormParameterGrad = defineOp<{ prior: boolean }>({
  name: "rms_norm_parameter_grad",
  inferTypes: ([x, rstd, dy, prior], attrs) => {
    const rows = rstd.shape[0];
    const columns = elementCount(x) / rows;
    expectShape("rms_norm_parameter_grad", "dy", dy, x.shape);
    if (attrs.prior) expectShape("rms_norm_parameter_grad", "prior", prior, [columns]);
    return [
      {
        shape: [columns],
        dtype: "f32",
        name: "dw",
        ...(attrs.prior ? { aliasOfInput: 3 } : { role: "gradients" as const }),
      },
      { shape: [chunkCount(rows), columns], dtype: "f32", role: "workspace", name: "chunk_sums" },
    ];
  },
  lower: ({ inputs: [x, rstd, dy], outputs: [dw, chunkSums], attrs, kernels }) => {
    const [rows] = rstd.shape;
    const columns = elementCount(x) / rows;
    const width = rowVectorWidth(columns);
    const vectors = columns / width;
    const perChunk = rowsPerChunk(rows);
    const teams = kernels.rowTeams(32);
    const read = [row("x", x, IN_PLACE), number("rstd", rstd, IN_PLACE), row("dy", dy, IN_PLACE)];
    const access = accessOf(read.map(({ operand }) => operand), { width, leastBytes: 0 }, kernels);
    const code = [
      vectorWgsl(width),
      teams.wgsl,
      `const ACCUMULATE = ${attrs.prior};`,
      access.code(parameterGradSource),
    ].join("\n");
    const params = (windowRows: number, firstChunk: number) =>
      [windowRows, vectors, perChunk, firstChunk, chunkSums.shape[0]].map(u32);
    const groups = Math.ceil(vectors / teams.lanes);
    const workgroupBytes = teams.workgroupBytes(width);
    const bytesPerRow = [x, dy].map(({ dtype }) => columns * DTYPE_BYTES[dtype]);
    return [
      ...rowWindows(rows, bytesPerRow, kernels.target).map((window): Command => ({
        kernel: {
          name: "rms_norm_chunk_sums",
          code,
          entryPoint: "rms_norm_chunk_sums",
          writes: [3],
          workgroupBytes,
        },
        bindings: [
          windowOf(x, window, columns),
          windowOf(rstd, window),
          windowOf(dy, window, columns),
          whole(chunkSums),
        ],
        params: params(window.count, window.first / perChunk),
        workgroups: [groups, Math.ceil(window.count / perChunk), 1],
      })),
      {
        kernel: { name: "rms_norm_total", code, entryPoint: "rms_norm_total", writes: [1], workgroupBytes },
        bindings: [chunkSums, dw].map(whole),
        params: params(rows, 0),
        workgroups: [groups, 1, 1],
      },
    ];
  },
  reference: ([x, rstd, dy, prior], attrs) => {
    const N = rstd.length;
    const C = x.length / N;
    const dw = attrs.prior ? prior.slice() : new Float64Array(C);
    for (let n = 0; n < N; n++) {
      for (let c = 0; c < C; c++) dw[c] += dy[n * C + c] * x[n * C + c] * rstd[n];
    }
    return [dw, new Float64Array(chunkCount(N) * C)];
  },
});

/** The same elements as rows of `columns`, so that a norm over heads has a row for each. */
function rowsOf(value: Located, columns: number): Located {
  return { ...value, shape: [elementCount(value) / columns, columns] };
}

/** WGSL of `weight(i)`, what a vector of columns is multiplied by. */
function weightWgsl({ onePlus = false }: { onePlus?: boolean }): string {
  return `fn weight(i: u32) -> vec_t { return ${onePlus ? "1.0 + " : ""}load_w(i); }\n`;
}

function typeOf({ shape, dtype }: TensorType): TensorType {
  return { shape, dtype };
}

function expectShape(
  op: string,
  what: string,
  value: TensorType | undefined,
  shape: readonly number[],
): void {
  if (!value || String(value.shape) !== String(shape)) {
    throw new ShapeError(
      `Cannot apply ${op} to ${what} ${value ? typeText(value) : "missing"}: expected [${shape}]`,
    );
  }
}
