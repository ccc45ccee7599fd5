import { concatColumns } from "../../../kernels/concat_columns.ts";
import { checkVjp } from "../../support/check_op.ts";

Deno.test("the VJP of concat_columns matches central differences", () => {
  const inputs = [{ shape: [3, 4] }, { shape: [3, 1] }, { shape: [3, 2] }];
  checkVjp(concatColumns, inputs, {});
  checkVjp(concatColumns, inputs, {}, { wrt: [0, 2] });
});
