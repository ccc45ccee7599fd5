import type { Command, Located } from "../../engine/graph/launch.ts";
import type { KernelSet } from "../kernel_set.ts";
import { matmulCommands } from "./matmul.ts";
import type { MatmulOperand, MatmulSpec } from "./product.ts";
import { partialSums } from "./partial_sums.ts";

/** A product without batches, and where its parts may meet. */
export interface SplitTermsSpec
  extends Omit<MatmulSpec, "batch" | "bias" | "residual" | "gelu" | "sums" | "triangle" | "meeting"> {
  /** f32 [parts, m·n]: what each part of the terms adds up to. */
  partials: Located;
}

/**
 * A product with many terms and few outputs: shares of the terms are multiplied
 * side by side, as batches, and their results added, so that a GPU has more
 * workgroups than C has tiles; where the set has enough of them, it is one product.
 */
export function splitTermsCommands({ partials, ...spec }: SplitTermsSpec, kernels: KernelSet): Command[] {
  const { m, n, k, a, b, c } = spec;
  const parts = partials.shape[0];
  // Whole vectors of four, so that every share begins with one.
  const share = Math.floor(k / parts / 4) * 4;
  const most = kernels.target.maxStorageBufferBindingSize;
  const bindable = Math.max(partials.byteLength, m * n * 4) <= most;
  if (!kernels.products.splitsTerms || parts < 2 || share === 0 || spec.accumulate || !bindable) {
    return matmulCommands({ ...spec, meeting: partials }, kernels);
  }
  const steps = [
    a.transposed ? share * a.ld : share,
    b.transposed ? share : share * b.ld,
  ];
  const at = ({ offset = 0, ...operand }: MatmulOperand, elements: number) => ({
    ...operand,
    offset: offset + elements,
  });
  const meeting: MatmulOperand = { value: partials, ld: n };
  const rest = k - parts * share;
  return [
    ...matmulCommands({
      ...spec,
      k: share,
      batch: [parts],
      a: { ...a, strides: [steps[0]] },
      b: { ...b, strides: [steps[1]] },
      c: { ...meeting, strides: [m * n] },
    }, kernels),
    ...rest > 0
      ? matmulCommands({
        ...spec,
        k: rest,
        a: at(a, parts * steps[0]),
        b: at(b, parts * steps[1]),
        c: meeting,
        accumulate: true,
      }, kernels)
      : [],
    ...partialSums({ partials, parts, c, m, n, batch: [], accumulate: false }, kernels.target),
  ];
}
