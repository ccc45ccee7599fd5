import { type Command, type ParamWord, u32, whole } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { ShapeError } from "../engine/graph/op.ts";
import { foldGrid } from "../engine/graph/target.ts";
import { DTYPE_BYTES, typeText } from "../engine/graph/types.ts";
import { accessOf } from "./access.ts";
import type { KernelSet } from "./kernel_set.ts";
import { rowVectorWidth, vectorWgsl } from "./rows/reduction.ts";
import { rowWindows, windowOf } from "./rows/windows.ts";
import forwardSource from "./embedding.wgsl" with { type: "text" };
import gradSource from "./embedding_grad.wgsl" with { type: "text" };

export interface EmbeddingAttrs {
  addend: boolean;
  /** Rows of the table before that of id 0; default none. */
  offset?: number;
  /** An id whose row gets no gradient by its lookups, as torch.nn.Embedding's padding_idx; default none. */
  padding?: number;
}

/**
 * Table lookup `(ids u32 [N], order u32 [N], table [V, C][, addend [N, C]]) → y [N, C]`, added to `addend` in
 * place where there is one. Every id must be below V less the offset.
 *
 * `order` holds the positions 0 … N − 1 sorted by id, ties by position: the
 * backward pass sums equal ids in that order.
 */
export const embedding = defineOp<EmbeddingAttrs>({
  name: "embedding",
  inferTypes: ([ids, order, table, addend], attrs) => {
    const fits = [ids, order].every(({ dtype, shape }) => dtype === "u32" && shape.length === 1) &&
      ids.shape[0] === order.shape[0] && table.shape.length === 2;
    if (!fits) {
      throw new ShapeError(
        `Cannot apply embedding to ids ${typeText(ids)}, order ${typeText(order)} and table ${
          typeText(table)
        }: ` +
          `expected u32[N], u32[N] and [V, C]`,
      );
    }
    const y = { shape: [ids.shape[0], table.shape[1]], dtype: table.dtype };
    if (!attrs.addend) return [y];
    if (String(addend?.shape) !== String(y.shape) || addend.dtype !== y.dtype) {
      throw new ShapeError(
        `Cannot add an embedding ${typeText(y)} to ${addend && typeText(addend)}: expected equal types`,
      );
    }
    return [{ ...y, aliasOfInput: 3 }];
  },
  lower: ({ inputs: [ids, , table], outputs: [y], attrs, kernels }) => {
    const [N, C] = y.shape;
    const vocabulary = table.shape[0];
    const width = rowVectorWidth(C);
    const form = lanesWgsl(C / width, kernels);
    const access = accessOf(
      [
        { name: "table", dtype: table.dtype, reads: true, copied: false },
        { name: "y", dtype: y.dtype, reads: true, copied: false, writes: true },
      ],
      { width, leastBytes: 0 },
      kernels,
    );
    const kernel = {
      name: "embedding",
      code: form.wgsl + vectorWgsl(width) + access.code(`const ADD = ${attrs.addend};\n${forwardSource}`),
      entryPoint: "embedding",
      writes: [2],
    };
    const bytesPerRow = C * DTYPE_BYTES[table.dtype];
    return rowWindows(vocabulary, [bytesPerRow], kernels.target).flatMap((tableWindow) =>
      rowWindows(N, [bytesPerRow, 4], kernels.target).map((rows) => ({
        kernel,
        bindings: [windowOf(ids, rows), windowOf(table, tableWindow), windowOf(y, rows)],
        params: [u32(rows.count), u32(C / width), firstId(tableWindow.first, attrs), u32(tableWindow.count)],
        workgroups: foldGrid(Math.ceil(rows.count / form.rowsPerWorkgroup), kernels.target),
      }))
    );
  },
  vjp: ({ builder, inputs: [ids, order, table], attrs, outGrads: [dy], needs, takePrior }) => {
    if (!dy) return [];
    let dtable;
    if (needs(2)) {
      const prior = takePrior(2);
      dtable = builder.call(embeddingGrad, [ids, order, dy, ...(prior ? [prior] : [])], {
        vocabularySize: table.shape[0],
        prior: prior !== undefined,
        ...attrs.offset !== undefined && { offset: attrs.offset },
        ...attrs.padding !== undefined && { padding: attrs.padding },
      })[0];
    }
    return [undefined, undefined, dtable, attrs.addend && needs(3) ? dy : undefined];
  },
  reference: ([ids, , table, addend], attrs, { inputs: [{ shape: [N] }, , { shape: [, C] }] }) => {
    const y = new Float64Array(N * C);
    for (let n = 0; n < N; n++) {
      for (let c = 0; c < C; c++) {
        const row = ids[n] + (attrs.offset ?? 0);
        y[n * C + c] = (attrs.addend ? addend[n * C + c] : 0) + table[row * C + c];
      }
    }
    return [y];
  },
});

export interface EmbeddingGradAttrs extends Pick<EmbeddingAttrs, "offset" | "padding"> {
  vocabularySize: number;
  prior: boolean;
}

/**
 * Table gradient of `embedding`:
 * `(ids u32 [N], order u32 [N], dy [N, C][, prior [V, C]]) → dtable f32 [V, C]`, added to `prior` in place
 * where there is one. Equal ids are summed in ascending order of position, so results repeat bit by bit.
 */
export const embeddingGrad = defineOp<EmbeddingGradAttrs>({
  name: "embedding_grad",
  inferTypes: ([, , dy, prior], attrs) => {
    const gradient = {
      shape: [attrs.vocabularySize, dy.shape[1]],
      dtype: "f32" as const,
      role: "gradients" as const,
    };
    if (!attrs.prior) return [{ ...gradient, name: "dtable" }];
    if (String(prior?.shape) !== String(gradient.shape) || prior.dtype !== "f32") {
      throw new ShapeError(
        `Cannot add the gradient ${typeText(gradient)} to ${prior && typeText(prior)}: expected equal types`,
      );
    }
    return [{ ...gradient, name: "dtable", aliasOfInput: 3 }];
  },
  lower: ({ inputs: [ids, order, dy], outputs: [dtable], attrs, kernels }) => {
    const [N, C] = dy.shape;
    const width = rowVectorWidth(C);
    const form = lanesWgsl(C / width, kernels);
    const access = accessOf(
      [{ name: "dy", dtype: dy.dtype, reads: true, copied: false }],
      { width, leastBytes: 0 },
      kernels,
    );
    const kernel = {
      name: "embedding_grad",
      code: form.wgsl + vectorWgsl(width) + access.code(gradSource),
      entryPoint: "embedding_grad",
      writes: [3],
    };
    // The kernel always adds: rows that no id names stay zero, and windows of dy follow each other in order.
    const commands: Command[] = attrs.prior ? [] : [{ clear: whole(dtable) }];
    for (const table of rowWindows(attrs.vocabularySize, [C * 4], kernels.target)) {
      for (const rows of rowWindows(N, [C * DTYPE_BYTES[dy.dtype]], kernels.target)) {
        commands.push({
          kernel,
          bindings: [whole(ids), whole(order), windowOf(dy, rows), windowOf(dtable, table)],
          params: [
            u32(N),
            u32(C / width),
            firstId(table.first, attrs),
            ...[table.count, rows.first, rows.count, attrs.padding ?? NO_ID].map(u32),
          ],
          workgroups: foldGrid(Math.ceil(N / form.rowsPerWorkgroup), kernels.target),
        });
      }
    }
    return commands;
  },
  reference: (
    [ids, , dy, prior],
    { vocabularySize, prior: hasPrior, offset = 0, padding },
    { inputs: [{ shape: [N] }, , { shape: [, C] }] },
  ) => {
    const dtable = hasPrior ? prior.slice() : new Float64Array(vocabularySize * C);
    for (let n = 0; n < N; n++) {
      if (ids[n] === padding) continue;
      for (let c = 0; c < C; c++) dtable[(ids[n] + offset) * C + c] += dy[n * C + c];
    }
    return [dtable];
  },
});

/** Stands for no id. */
const NO_ID = 0xffffffff;

/** The id whose row comes first; below zero it wraps around, as the kernels' differences do. */
function firstId(firstRow: number, { offset = 0 }: { offset?: number }): ParamWord {
  return u32((firstRow - offset) >>> 0);
}

/** Lanes that share a row of `vectors` vectors: eight, or more where workgroups have more. */
function lanesWgsl(
  vectors: number,
  { workgroups: { gather: workgroup } }: KernelSet,
): { wgsl: string; rowsPerWorkgroup: number } {
  let lanes = 8;
  while (lanes < workgroup && lanes < vectors) lanes *= 2;
  return {
    wgsl: `const WG: u32 = ${workgroup}u;\nconst LANES: u32 = ${lanes}u;\n`,
    rowsPerWorkgroup: workgroup / lanes,
  };
}
