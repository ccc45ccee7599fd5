import { rmsNorm } from "../../../kernels/rms_norm.ts";
import { checkVjp } from "../../support/check_op.ts";

for (const shape of [[1, 1], [5, 7]]) {
  Deno.test(`the VJP of rms_norm matches central differences: [${shape}]`, () => {
    checkVjp(rmsNorm, [{ shape }, { shape: [shape[1]] }], { eps: 1e-3 });
    checkVjp(rmsNorm, [{ shape }, { shape: [shape[1]] }], { eps: 1e-3, onePlus: true });
  });
}

Deno.test("the VJP of rms_norm over heads matches central differences", () => {
  checkVjp(rmsNorm, [{ shape: [3, 10] }, { shape: [5] }], { eps: 1e-3 });
  checkVjp(rmsNorm, [{ shape: [3, 10] }, { shape: [5] }], { eps: 1e-3, onePlus: true });
});
