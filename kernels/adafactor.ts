import { defineOp } from "./define_op.ts";
import { ShapeError } from "../engine/graph/op.ts";
import { elementCount, type TensorType, typeText } from "../engine/graph/types.ts";
import { adafactorCommands } from "./adafactor_commands.ts";
import { adafactorReference } from "./adafactor_reference.ts";
import { scratchVectors } from "./adafactor_scratch.ts";
import { type AdafactorAttrs, type AdafactorTensor, tensorsOf } from "./adafactor_tensors.ts";
import { NEUTRAL_STEP } from "./step_block.ts";

/**
 * One Adafactor update of many tensors: inputs
 * `[clip f32 [4], then for each tensor w, g, its second moment[, m]]`. The second moment of a matrix [rows,
 * columns] is two values, means of rows [rows] and columns [columns]; that of a vector [n] one, [n]. m is
 * there with `beta1`. All but the gradients are updated in place, fresh state is zeros. The output is
 * scratch. Gradients are multiplied by clip[1]; with clip[2] set nothing changes.
 *
 * Shazeer & Stern 2018, arXiv:1804.04235, as transformers.optimization.Adafactor.
 */
export const adafactor = defineOp<AdafactorAttrs>({
  name: "adafactor",
  inferTypes: (inputs, attrs) => {
    const [clip] = inputs;
    if (clip?.dtype !== "f32" || elementCount(clip) !== 4) {
      throw new ShapeError(`Cannot apply adafactor with clip ${clip && typeText(clip)}: expected f32[4]`);
    }
    const tensors = tensorsOf(inputs, attrs, ({ shape }) => shape);
    tensors.forEach((tensor) => checkTensor(tensor, attrs));
    const matrices = tensors.flatMap(({ w }) => w.shape.length === 2 ? [w.shape] : []);
    return [{
      name: "adafactor_scratch",
      shape: [scratchVectors(matrices), 4],
      dtype: "f32",
      role: "workspace",
    }];
  },
  mutates: (inputs, attrs) => {
    const changed = new Set(
      tensorsOf([...inputs.keys()], attrs, (i) => inputs[i].shape)
        .flatMap(({ w, moments, m }) => [w, ...moments, m]),
    );
    return [...inputs.keys()].filter((i) => changed.has(i));
  },
  lower: ({ inputs, outputs: [scratch], attrs, kernels }) =>
    adafactorCommands(inputs[0], tensorsOf(inputs, attrs, ({ shape }) => shape), scratch, attrs, kernels),
  reference: (inputs, attrs, types) => adafactorReference(inputs, attrs, types, NEUTRAL_STEP),
});

function checkTensor({ w, g, moments, m }: AdafactorTensor<TensorType>, attrs: AdafactorAttrs): void {
  if (w.shape.length > 2) {
    throw new ShapeError(`Cannot apply adafactor to weights ${typeText(w)}: expected one or two dimensions`);
  }
  const f32s = [w.shape, w.shape, ...(w.shape.length === 2 ? w.shape.map((extent) => [extent]) : [w.shape])];
  if (attrs.beta1 !== null) f32s.push(w.shape);
  const expected = f32s.map((shape) => typeText({ shape, dtype: "f32" }));
  const given = [w, g, ...moments, ...(attrs.beta1 === null ? [] : [m!])].map(typeText);
  if (given.join() !== expected.join()) {
    throw new ShapeError(`Cannot apply adafactor to ${given.join(", ")}: expected ${expected.join(", ")}`);
  }
}
