import { layerNorm } from "../../../kernels/layer_norm.ts";
import { checkVjp } from "../../support/check_op.ts";

Deno.test("layer_norm: the VJP agrees with central differences", () => {
  for (const [rows, columns] of [[1, 2], [3, 7], [4, 8]]) {
    checkVjp(layerNorm, [{ shape: [rows, columns] }, { shape: [columns] }, { shape: [columns] }], {
      eps: 1e-5,
    });
  }
});

Deno.test("layer_norm: each gradient can be asked for alone, with and without a prior", () => {
  for (const input of [0, 1, 2]) {
    checkVjp(layerNorm, [{ shape: [3, 5] }, { shape: [5] }, { shape: [5] }], { eps: 1e-5 }, { wrt: [input] });
  }
});
