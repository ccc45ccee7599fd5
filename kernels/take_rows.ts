import { whole } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { type OpDefinition, ShapeError } from "../engine/graph/op.ts";
import { typeText } from "../engine/graph/types.ts";
import { copyColumnsCommands } from "./copy_columns.ts";

/** Attributes of `takeRows`. */
export interface TakeRowsAttrs {
  /** Rows from one that is taken to the next: the length of a sequence whose first token is wanted. */
  every: number;
}

/** Rows 0, `every`, 2·`every`, … of a matrix: `x [N, C] → y [N / every, C]`. */
export const takeRows: OpDefinition<TakeRowsAttrs> = defineOp<TakeRowsAttrs>({
  name: "take_rows",
  inferTypes: ([x], { every }) => {
    if (x.shape.length !== 2 || x.shape[0] % every !== 0) {
      throw new ShapeError(
        `Cannot take every ${every}th row of ${typeText(x)}: expected [N, C], N a multiple of ${every}`,
      );
    }
    return [{ shape: [x.shape[0] / every, x.shape[1]], dtype: x.dtype }];
  },
  // Groups of `every` rows, seen as one row each, begin with the row that is wanted.
  lower: ({ inputs: [x], outputs: [y], kernels }) =>
    copyColumnsCommands({ rows: y.shape[0], first: 0, narrow: y, wide: x, gather: true }, kernels),
  vjp: ({ builder, attrs, outGrads: [dy], needs }) => [
    needs(0) && dy ? builder.call(takeRowsGrad, [dy], attrs)[0] : undefined,
  ],
  reference: ([x], { every }, { outputs: [{ shape: [rows, columns] }] }) => {
    const y = new Float64Array(rows * columns);
    for (let n = 0; n < rows; n++) {
      for (let c = 0; c < columns; c++) y[n * columns + c] = x[n * every * columns + c];
    }
    return [y];
  },
});

/** Gradient of `takeRows`: `dy [M, C] → dx [M · every, C]`, zero in the rows that were not taken. */
export const takeRowsGrad: OpDefinition<TakeRowsAttrs> = defineOp<TakeRowsAttrs>({
  name: "take_rows_grad",
  inferTypes: ([dy], { every }) => [{ shape: [dy.shape[0] * every, dy.shape[1]], dtype: dy.dtype }],
  lower: ({ inputs: [dy], outputs: [dx], kernels }) => [
    { clear: whole(dx) },
    ...copyColumnsCommands({ rows: dy.shape[0], first: 0, narrow: dy, wide: dx, gather: false }, kernels),
  ],
  reference: ([dy], { every }, { inputs: [{ shape: [rows, columns] }] }) => {
    const dx = new Float64Array(rows * every * columns);
    for (let n = 0; n < rows; n++) {
      for (let c = 0; c < columns; c++) dx[n * every * columns + c] = dy[n * columns + c];
    }
    return [dx];
  },
});
