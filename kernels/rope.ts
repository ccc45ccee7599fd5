import { u32, whole } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { type OpDefinition, ShapeError } from "../engine/graph/op.ts";
import { foldGrid } from "../engine/graph/target.ts";
import { DTYPE_BYTES, typeText } from "../engine/graph/types.ts";
import source from "./rope.wgsl" with { type: "text" };
import { accessOf } from "./access.ts";
import { rowVectorWidth, vectorWgsl } from "./rows/reduction.ts";
import { rowWindows, windowOf } from "./rows/windows.ts";

export interface RopeAttrs {
  /** H, K and D of the attention that reads `qkv`; D is even. */
  heads: number;
  kvHeads: number;
  headSize: number;
  /** R, even: the first channels of a head that turn; default all of them. */
  rotaryWidth?: number;
  /** Whether to turn back, as gradients do. */
  inverse: boolean;
}

/**
 * Rotary position embedding in place: `(qkv [N, (H+2K)·D], table f32 [P, R], positions u32 [N]) → qkv`.
 * Columns `[0, R/2)` of the table are cosines, `[R/2, R)` sines; columns `i` and `i + R/2` of every query and
 * key head turn by the angle of the token's position. Su et al. 2021, arXiv:2104.09864.
 */
export const rope: OpDefinition<RopeAttrs> = defineOp<RopeAttrs>({
  name: "rope",
  inferTypes: ([qkv, table, positions], { heads, kvHeads, headSize, rotaryWidth = headSize }) => {
    const width = (heads + 2 * kvHeads) * headSize;
    if (rotaryWidth % 2 !== 0 || rotaryWidth > headSize) {
      throw new ShapeError(
        `Cannot apply rope to ${rotaryWidth} channels of heads of ${headSize}: expected an even number of them`,
      );
    }
    if (qkv.shape.length !== 2 || qkv.shape[1] !== width) {
      throw new ShapeError(`Cannot apply rope to qkv ${typeText(qkv)}: expected [N, ${width}]`);
    }
    if (table.dtype !== "f32" || table.shape.length !== 2 || table.shape[1] !== rotaryWidth) {
      throw new ShapeError(
        `Cannot apply rope with table ${typeText(table)}: expected f32[P, ${rotaryWidth}]`,
      );
    }
    if (typeText(positions) !== `u32[${qkv.shape[0]}]`) {
      throw new ShapeError(
        `Cannot apply rope at positions ${typeText(positions)}: expected u32[${qkv.shape[0]}]`,
      );
    }
    return [{ shape: qkv.shape, dtype: qkv.dtype, aliasOfInput: 0 }];
  },
  lower: ({ inputs: [qkv, table, positions], attrs, kernels }) => {
    const [rows, columns] = qkv.shape;
    const half = (attrs.rotaryWidth ?? attrs.headSize) / 2;
    const width = rowVectorWidth(attrs.headSize) === 4 ? rowVectorWidth(half) : 1;
    const workgroupSize = kernels.workgroups.elementwise;
    const access = accessOf(
      [{ name: "qkv", dtype: qkv.dtype, reads: true, copied: false, writes: true }],
      { width, leastBytes: 0 },
      kernels,
    );
    const code = [
      vectorWgsl(width),
      `const WG: u32 = ${workgroupSize}u;`,
      `const INVERSE = ${attrs.inverse};`,
      access.code(source),
    ].join("\n");
    return rowWindows(rows, [columns * DTYPE_BYTES[qkv.dtype]], kernels.target).map((window) => ({
      kernel: { name: "rope", code, entryPoint: "rope", writes: [0] },
      bindings: [windowOf(qkv, window), whole(table), windowOf(positions, window)],
      params: [
        window.count,
        columns / width,
        attrs.headSize / width,
        half / width,
        attrs.heads + attrs.kvHeads,
        table.shape[0],
      ].map(u32),
      workgroups: foldGrid(Math.ceil((window.count * half) / width / workgroupSize), kernels.target),
    }));
  },
  // A rotation's transpose is its inverse; nothing is saved.
  vjp: ({ builder, inputs: [, table, positions], attrs, outGrads: [dqkv], needs }) => [
    dqkv && needs(0)
      ? builder.call(rope, [dqkv, table, positions], { ...attrs, inverse: !attrs.inverse })[0]
      : undefined,
    undefined,
    undefined,
  ],
  reference: ([qkv, table, positions], { heads, kvHeads, headSize, rotaryWidth = headSize, inverse }) => {
    const out = qkv.slice();
    const width = (heads + 2 * kvHeads) * headSize;
    const half = rotaryWidth / 2;
    for (let n = 0; n < positions.length; n++) {
      for (let head = 0; head < heads + kvHeads; head++) {
        for (let i = 0; i < half; i++) {
          const low = n * width + head * headSize + i;
          const cos = table[positions[n] * rotaryWidth + i];
          const sin = (inverse ? -1 : 1) * table[positions[n] * rotaryWidth + half + i];
          out[low] = qkv[low] * cos - qkv[low + half] * sin;
          out[low + half] = qkv[low + half] * cos + qkv[low] * sin;
        }
      }
    }
    return [out];
  },
});
