import { takeRows } from "../../../kernels/take_rows.ts";
import { checkVjp } from "../../support/check_op.ts";

Deno.test("the VJP of take_rows matches central differences", () => {
  checkVjp(takeRows, [{ shape: [6, 5] }], { every: 3 });
  checkVjp(takeRows, [{ shape: [3, 2] }], { every: 1 });
});
