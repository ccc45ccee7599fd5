import { rope } from "../../../kernels/rope.ts";
import { checkVjp } from "../../support/check_op.ts";

for (const inverse of [false, true]) {
  Deno.test(`the VJP of rope matches central differences: ${inverse ? "inverse" : "forward"}`, () => {
    const attrs = { heads: 2, kvHeads: 1, headSize: 4, inverse };
    const inputs = [
      { shape: [5, 16] },
      { shape: [3, 4] },
      { shape: [5], dtype: "u32" as const, data: [0, 2, 1, 2, 0] },
    ];
    checkVjp(rope, inputs, attrs, { wrt: [0] });
    const narrow = [inputs[0], { shape: [3, 2] }, inputs[2]];
    checkVjp(rope, narrow, { ...attrs, rotaryWidth: 2 }, { wrt: [0] });
  });
}
