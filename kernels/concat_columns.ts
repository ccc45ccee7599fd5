import { defineOp } from "./define_op.ts";
import { type OpDefinition, ShapeError } from "../engine/graph/op.ts";
import { typeText } from "../engine/graph/types.ts";
import { copyColumnsCommands } from "./copy_columns.ts";

/** Matrices side by side: `([N, A], [N, B], …) → [N, A + B + …]`. */
export const concatColumns: OpDefinition<Record<string, never>> = defineOp({
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
  lower: ({ inputs, outputs: [wide], kernels }) => {
    const firsts = startsOf(inputs.map(({ shape }) => shape[1]));
    return inputs.flatMap((narrow, i) =>
      copyColumnsCommands({ rows: wide.shape[0], first: firsts[i], narrow, wide, gather: false }, kernels)
    );
  },
  vjp: ({ builder, inputs, outGrads: [dy], needs }) => {
    if (!dy) return [];
    // Parts that nobody needs are left out: adapters on query and value alone
    // need no gradient of the first key.
    const widths = inputs.map(({ shape }) => shape[1]);
    const wanted = inputs.map((_, i) => needs(i));
    const parts = builder.call(splitColumns, [dy], { widths, wanted }).values();
    return wanted.map((isWanted) => isWanted ? parts.next().value : undefined);
  },
  reference: (inputs, _, { inputs: types, outputs: [{ shape: [rows, columns] }] }) => {
    const wide = new Float64Array(rows * columns);
    for (let n = 0; n < rows; n++) {
      let at = n * columns;
      for (let i = 0; i < inputs.length; i++) {
        for (let c = 0; c < types[i].shape[1]; c++) wide[at++] = inputs[i][n * types[i].shape[1] + c];
      }
    }
    return [wide];
  },
});

/** Attributes of `splitColumns`. */
export interface SplitColumnsAttrs {
  /** Columns of each part; their sum is the width of the matrix. */
  widths: readonly number[];
  /** Which parts are outputs. */
  wanted: readonly boolean[];
}

/** Columns of a matrix apart: `[N, A + B + …] → [N, A]?, [N, B]?, …`, those that are wanted. */
export const splitColumns: OpDefinition<SplitColumnsAttrs> = defineOp<SplitColumnsAttrs>({
  name: "split_columns",
  inferTypes: ([wide], { widths, wanted }) => {
    const columns = widths.reduce((sum, width) => sum + width, 0);
    if (wide.shape.length !== 2 || wide.shape[1] !== columns) {
      throw new ShapeError(`Cannot split ${typeText(wide)} into columns ${widths}: expected [N, ${columns}]`);
    }
    return widths.filter((_, i) => wanted[i]).map((width) => ({
      shape: [wide.shape[0], width],
      dtype: wide.dtype,
    }));
  },
  lower: ({ inputs: [wide], outputs, attrs: { widths, wanted }, kernels }) =>
    startsOf(widths).filter((_, i) => wanted[i]).flatMap((first, i) =>
      copyColumnsCommands({ rows: wide.shape[0], first, narrow: outputs[i], wide, gather: true }, kernels)
    ),
  reference: ([wide], { widths, wanted }, { inputs: [{ shape: [rows, columns] }] }) => {
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
