import { defineOp } from "./define_op.ts";
import { ShapeError } from "../engine/graph/op.ts";
import { typeText } from "../engine/graph/types.ts";
import { gelu, type GeluAttrs, geluGrad } from "./elementwise.ts";
import {
  linear,
  type LinearAttrs,
  type LinearGradAttrs,
  linearInputGrad,
  linearInputProduct,
  linearProduct,
} from "./linear.ts";
import { matmulCommands } from "./matmul/matmul.ts";
import { unusedOutputs } from "./matmul/partial_sums.ts";

/**
 * `linear` and the GELU of what it gives, in one kernel: inputs of `linear` → (h,
 * GELU(h)), both in the dtype of x, with the bits of the two ops one after the
 * other. h is what the backward pass takes the derivative at.
 */
export const linearGelu = defineOp<LinearAttrs & GeluAttrs>({
  name: "linear_gelu",
  inferTypes: (inputs, attrs) => {
    const [h, ...meeting] = linear.inferTypes(inputs, attrs);
    return [{ ...h, name: "linear" }, { ...h, name: "gelu" }, ...meeting];
  },
  lower: ({ inputs, outputs: [h, activated, meeting], attrs, kernels }) =>
    matmulCommands({
      ...linearProduct(inputs, h, meeting, attrs),
      name: "linear_gelu",
      gelu: { approximation: attrs.approximation, activated },
    }, kernels),
  reference: (inputs, attrs, types) => {
    const [h] = linear.reference(inputs, attrs, types);
    return [h, ...gelu.reference([h], attrs, types), ...unusedOutputs(types.outputs, 2)];
  },
});

/**
 * Gradient of a `linear` by its input and of the GELU that made the input:
 * `(dy [N, Cout], w, h [N, Cin]) → dh [N, Cin]` with dh = (dy · wᵀ) · GELU′(h), in one kernel, with the bits
 * of `linearInputGrad` and `geluGrad` one after the other.
 */
export const linearInputGradGelu = defineOp<LinearGradAttrs & GeluAttrs>({
  name: "linear_input_grad_gelu",
  inferTypes: ([dy, w, h], attrs) => {
    const [dx, ...meeting] = linearInputGrad.inferTypes([dy, w], attrs);
    if (typeText(dx) !== typeText(h)) {
      throw new ShapeError(
        `Cannot apply linear_input_grad_gelu at h ${typeText(h)}: expected ${typeText(dx)}`,
      );
    }
    return [{ ...dx, name: "dh" }, ...meeting];
  },
  lower: ({ inputs: [dy, w, h], outputs: [dh, meeting], attrs, kernels }) =>
    matmulCommands({
      ...linearInputProduct(dy, w, dh, meeting, attrs),
      name: "linear_input_grad_gelu",
      gelu: { approximation: attrs.approximation, of: h },
    }, kernels),
  reference: ([dy, w, h], attrs, types) => {
    const [dx, ...meeting] = linearInputGrad.reference([dy, w], attrs, types);
    return [...geluGrad.reference([h, dx], attrs, types), ...meeting];
  },
});
