import { concatColumns, splitColumns } from "../../../kernels/concat_columns.ts";
import { checkVjp } from "../../support/check_op.ts";

Deno.test("the VJP of concat_columns matches central differences", () => {
  const inputs = [{ shape: [3, 4] }, { shape: [3, 1] }, { shape: [3, 2] }];
  checkVjp(concatColumns, inputs, {});
  checkVjp(concatColumns, inputs, {}, { wrt: [0, 2] });
});

Deno.test("the VJPs of concat_columns in blocks and of split_columns match central differences", () => {
  checkVjp(concatColumns, [{ shape: [3, 4] }, { shape: [3, 6] }], { blocks: 2 });
  const wide = [{ shape: [3, 10] }];
  for (const attrs of [{ widths: [7, 3] }, { widths: [2, 3], blocks: 2 }]) {
    checkVjp(splitColumns, wide, { ...attrs, wanted: [true, true] }, { outputs: [0, 1] });
  }
});
