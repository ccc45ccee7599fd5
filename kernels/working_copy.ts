import { f32 } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { ShapeError } from "../engine/graph/op.ts";
import { elementCount, typeText } from "../engine/graph/types.ts";
import { elementwiseCommands } from "./rows/elementwise.ts";
import { ELEMENTWISE_WGSL as source } from "./elementwise_source.ts";

/** Largest finite f16. */
const LARGEST_F16 = 65504;

/**
 * Makes an f16 working copy anew: `(master f32, working f16) → working`, in place of the old copy. Weights
 * beyond ±65504 are clamped; none that trains is near it.
 */
export const refreshWorkingCopy = defineOp({
  name: "refresh_working_copy",
  inferTypes: ([master, working]) => {
    if (elementCount(master) !== elementCount(working) || master.dtype !== "f32" || working.dtype !== "f16") {
      throw new ShapeError(
        `Cannot refresh ${typeText(working)} from ${typeText(master)}: expected f16 and f32 of equal size`,
      );
    }
    return [{ shape: working.shape, dtype: "f16", aliasOfInput: 1 }];
  },
  lower: ({ inputs: [master], outputs: [working], kernels }) =>
    elementwiseCommands(
      { name: "cast_to", source, operands: [master, working], reads: 1, params: () => [f32(LARGEST_F16)] },
      kernels,
    ),
  reference: ([master]) => [master.map((v) => Math.min(Math.max(v, -LARGEST_F16), LARGEST_F16))],
});
