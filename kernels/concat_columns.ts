import { defineOp } from "./define_op.ts";
import { type OpDefinition, ShapeError } from "../engine/graph/op.ts";
import { elementCount, typeText, type Value } from "../engine/graph/types.ts";
import { copyColumnsCommands } from "./copy_columns.ts";

/** Attributes of `concatColumns`. */
export interface ConcatColumnsAttrs {
  /** G: a row has so many blocks, each with its own columns of every part; default 1. */
  blocks?: number;
}

/**
 * Matrices side by side: `([N, A], [N, B], …) → [N, A + B + …]`; in blocks, `[N, G·A]` and `[N, G·B]` become
 * `[N, G·(A + B)]`, of which every block is A columns, then B.
 */
export const concatColumns: OpDefinition<ConcatColumnsAttrs> = defineOp<ConcatColumnsAttrs>({
  name: "concat_columns",
  inferTypes: (inputs) => {
    const [rows] = inputs[0].shape;
    const fits = inputs.every(({ shape, dtype }) =>
      shape.length === 2 && shape[0] === rows && dtype === inputs[0].dtype
    );
    if (!fits) {
      throw new ShapeError(
        `Cannot apply concat_columns to ${
          inputs.map(typeText).join(", ")
        }: expected matrices with equal rows and dtypes`,
      );
    }
    const columns = inputs.reduce((sum, { shape }) => sum + shape[1], 0);
    return [{ shape: [rows, columns], dtype: inputs[0].dtype }];
  },
  lower: ({ inputs, outputs: [wide], attrs: { blocks = 1 }, kernels }) => {
    const firsts = startsOf(inputs.map(({ shape }) => shape[1] / blocks));
    const rows = wide.shape[0] * blocks;
    return inputs.flatMap((narrow, i) =>
      copyColumnsCommands({ rows, first: firsts[i], narrow, wide, gather: false }, kernels)
    );
  },
  vjp: ({ builder, inputs, attrs, outGrads: [dy], needs }) => {
    if (!dy) return [];
    // Parts that nobody needs are left out: adapters on query and value alone
    // need no gradient of the first key.
    const widths = inputs.map(({ shape }) => shape[1] / (attrs.blocks ?? 1));
    const wanted = inputs.map((_, i) => needs(i));
    const parts = builder.call(splitColumns, [dy], { ...attrs, widths, wanted }).values();
    return wanted.map((isWanted) => isWanted ? parts.next().value : undefined);
  },
  reference: (inputs, { blocks = 1 }, { inputs: types, outputs: [type] }) => {
    const wide = new Float64Array(elementCount(type));
    let at = 0;
    for (let n = 0; n < type.shape[0] * blocks; n++) {
      for (let i = 0; i < inputs.length; i++) {
        const width = types[i].shape[1] / blocks;
        for (let c = 0; c < width; c++) wide[at++] = inputs[i][n * width + c];
      }
    }
    return [wide];
  },
});

/** Attributes of `splitColumns`. */
export interface SplitColumnsAttrs extends ConcatColumnsAttrs {
  /** Columns of each part, in a block; their sum is the width of the matrix, or of a block. */
  widths: readonly number[];
  /** Which parts are outputs. */
  wanted: readonly boolean[];
}

/**
 * Columns of a matrix apart, back from `concatColumns`: `[N, A + B + …] → [N, A]?, [N, B]?, …`, those that
 * are wanted.
 */
export const splitColumns: OpDefinition<SplitColumnsAttrs> = defineOp<SplitColumnsAttrs>({
  name: "split_columns",
  inferTypes: ([wide], { widths, wanted, blocks = 1 }) => {
    const columns = blocks * widths.reduce((sum, width) => sum + width, 0);
    if (wide.shape.length !== 2 || wide.shape[1] !== columns) {
      throw new ShapeError(`Cannot split ${typeText(wide)} into columns ${widths}: expected [N, ${columns}]`);
    }
    return widths.filter((_, i) => wanted[i]).map((width) => ({
      shape: [wide.shape[0], blocks * width],
      dtype: wide.dtype,
    }));
  },
  lower: ({ inputs: [wide], outputs, attrs: { widths, wanted, blocks = 1 }, kernels }) => {
    const rows = wide.shape[0] * blocks;
    return startsOf(widths).filter((_, i) => wanted[i]).flatMap((first, i) =>
      copyColumnsCommands({ rows, first, narrow: outputs[i], wide, gather: true }, kernels)
    );
  },
  vjp: ({ builder, outputs, attrs, outGrads, needs }) => {
    if (!needs(0) || outGrads.every((gradient) => !gradient)) return [undefined];
    if (!attrs.wanted.every((isWanted) => isWanted) || outputs.some((_, i) => !outGrads[i])) {
      throw new Error("Cannot differentiate split_columns where a part is not used: expected all of them");
    }
    const { blocks } = attrs;
    return [builder.call(concatColumns, outGrads as Value[], blocks ? { blocks } : {})[0]];
  },
  reference: ([wide], { widths, wanted, blocks = 1 }, { inputs: [type] }) => {
    const rows = type.shape[0] * blocks;
    const columns = type.shape[1] / blocks;
    const firsts = startsOf(widths);
    return widths.flatMap((width, i) => {
      if (!wanted[i]) return [];
      const part = new Float64Array(rows * width);
      for (let n = 0; n < rows; n++) {
        for (let c = 0; c < width; c++) part[n * width + c] = wide[n * columns + firsts[i] + c];
      }
      return [part];
    });
  },
});

/** Where each part begins. */
function startsOf(widths: readonly number[]): number[] {
  let next = 0;
  return widths.map((width) => {
    const first = next;
    next += width;
    return first;
  });
}
