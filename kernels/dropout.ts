import { f32, u32 } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import type { OpDefinition } from "../engine/graph/op.ts";
import { elementCount } from "../engine/graph/types.ts";
import { elementwiseCommands } from "./rows/elementwise.ts";
import { dropoutKeep, dropoutThreshold, RANDOM_WGSL } from "./random.ts";
import { rowVectorWidth } from "./rows/reduction.ts";
import { NEUTRAL_STEP } from "./step_block.ts";
import dropoutSource from "./dropout.wgsl" with { type: "text" };

/** Attributes of `dropout`. */
export interface DropoutAttrs {
  /** Chance that an element is dropped, in [0, 1). */
  probability: number;
  /** Tells the dropouts of a model apart: the same stream draws the same mask in one micro-step. */
  stream: number;
}

/**
 * Dropout `x → y`, same shape and dtype: elements are zero with `probability`,
 * the others scaled by 1 ÷ (1 − probability).
 *
 * The gradient is the same op on `dy`, with the same mask. It is a new value
 * rather than in place of `dy`: dropout sits on residual branches, where `dy` is
 * the gradient of the residual stream as well. Srivastava et al. 2014.
 */
export const dropout: OpDefinition<DropoutAttrs> = defineOp<DropoutAttrs>({
  name: "dropout",
  inferTypes: ([x], { probability }) => {
    dropoutThreshold(probability); // throws where it is no probability
    return [{ shape: x.shape, dtype: x.dtype }];
  },
  lower: ({ inputs: [x], outputs: [y], attrs, kernels }) =>
    elementwiseCommands({
      name: "dropout",
      source: RANDOM_WGSL + KEEP_WGSL[rowVectorWidth(elementCount(x))] + dropoutSource,
      operands: [x, y],
      params: (firstElement) => [
        u32(dropoutThreshold(attrs.probability)),
        f32(1 / (1 - attrs.probability)),
        u32(attrs.stream),
        // Windows begin at multiples of four elements.
        u32(firstElement / 4 % 2 ** 32),
        u32(Math.floor(firstElement / 4 / 2 ** 32)),
      ],
    }, kernels),
  vjp: ({ builder, attrs, outGrads: [dy], needs }) => [
    needs(0) && dy ? builder.call(dropout, [dy], attrs)[0] : undefined,
  ],
  reference: ([x], { probability, stream }) => [
    x.map((v, i) => dropoutKeep(NEUTRAL_STEP, stream, i, probability) ? v / (1 - probability) : 0),
  ],
});

/** `keep(i)` for the elements of vector i of a window, by vector width. */
const KEEP_WGSL = {
  1: `fn keep(i: u32) -> bool {
  return random_words(params.stream, group_at(i / 4u))[i % 4u] >= params.threshold;
}
`,
  4: `fn keep(i: u32) -> vec4<bool> {
  return random_words(params.stream, group_at(i)) >= vec4<u32>(params.threshold);
}
`,
};
