import { f32, u32, whole } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { ShapeError } from "../engine/graph/op.ts";
import { elementCount, type TensorType, typeText } from "../engine/graph/types.ts";
import { NEUTRAL_STEP, type StepBlock } from "./step_block.ts";
import { blockCount, tableCommands } from "./tables/tensors.ts";
import partialsSource from "./global_norm.wgsl" with { type: "text" };
import totalSource from "./global_norm_total.wgsl" with { type: "text" };

/** Attributes of `globalNorm`. */
export interface GlobalNormAttrs {
  /** Norm that gradients are scaled down to; 0 for no clipping. */
  maxNorm: number;
}

/** Vectors of four gradients that one partial sum covers. */
const VECTORS_PER_BLOCK = 1024;

/**
 * Norm of all gradients together: `(gradients f32 …) → clip f32 [4]`, which holds
 *
 * - the norm of the gradients with the loss scale taken out,
 * - the factor to multiply each (scaled) gradient with: 1 ÷ loss scale, and less
 *   where the norm passes `maxNorm`,
 * - 1 if any gradient is infinite or NaN (the factor is 0 then, and optimizers skip the update), else 0,
 * - and a spare 0.
 *
 * The second output is scratch. Formula of torch.nn.utils.clip_grad_norm_.
 */
export const globalNorm = defineOp<GlobalNormAttrs>({
  name: "global_norm",
  inferTypes: (gradients) => {
    for (const gradient of gradients) {
      if (gradient.dtype !== "f32") {
        throw new ShapeError(`Cannot take the norm of a gradient ${typeText(gradient)}: expected f32`);
      }
    }
    return [
      { shape: [4], dtype: "f32", role: "workspace", name: "clip" },
      {
        shape: [Math.max(slotCount(gradients), 1), 4],
        dtype: "f32",
        role: "workspace",
        name: "norm_partials",
      },
    ];
  },
  lower: ({ inputs, outputs: [clip, partials], attrs, kernels }) => {
    const form = kernels.rowForm(VECTORS_PER_BLOCK);
    let firstSlot = 0;
    const tensors = inputs.map((gradient) => {
      const tensor = { values: [gradient], firstSlot };
      firstSlot += blockCount(elementCount(gradient), VECTORS_PER_BLOCK);
      return tensor;
    });
    const totalForm = kernels.rowForm(firstSlot);
    return [
      ...tableCommands({
        name: "global_norm_partials",
        source: form.wgsl + partialsSource,
        operands: ["g"],
        tensors,
        shared: [{ name: "partials", value: partials }],
        writes: ["partials"],
        workgroupBytes: form.workgroupBytes,
        vectorsPerBlock: VECTORS_PER_BLOCK,
        blocksPerWorkgroup: form.rowsPerWorkgroup,
      }, kernels),
      {
        kernel: {
          name: "global_norm_total",
          code: totalForm.wgsl + totalSource,
          entryPoint: "global_norm_total",
          writes: [1],
          workgroupBytes: totalForm.workgroupBytes,
        },
        bindings: [whole(partials), whole(clip)],
        params: [u32(firstSlot), f32(attrs.maxNorm)],
        workgroups: [1, 1, 1],
      },
    ];
  },
  reference: (gradients, attrs, { inputs }) => globalNormReference(gradients, attrs, inputs, NEUTRAL_STEP),
});

/** `globalNorm` in f64 for a given step block. */
export function globalNormReference(
  gradients: readonly Float64Array[],
  { maxNorm }: GlobalNormAttrs,
  types: readonly TensorType[],
  { inverseLossScale }: Pick<StepBlock, "inverseLossScale">,
): Float64Array[] {
  let sum = 0;
  for (const gradient of gradients) {
    for (const g of gradient) sum += (g * inverseLossScale) ** 2;
  }
  const norm = Math.sqrt(sum);
  const found = !Number.isFinite(norm);
  const factor = inverseLossScale * (maxNorm > 0 ? Math.min(1, maxNorm / (norm + 1e-6)) : 1);
  return [
    Float64Array.of(norm, found ? 0 : factor, found ? 1 : 0, 0),
    new Float64Array(4 * Math.max(slotCount(types), 1)),
  ];
}

function slotCount(gradients: readonly TensorType[]): number {
  return gradients.reduce(
    (slots, gradient) => slots + blockCount(elementCount(gradient), VECTORS_PER_BLOCK),
    0,
  );
}
