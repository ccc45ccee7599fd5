import { elementCount, type TensorType } from "../engine/graph/types.ts";
import { type AdafactorAttrs, tensorsOf } from "./adafactor_tensors.ts";
import type { StepBlock } from "./step_block.ts";

/** `adafactor` in f64 for a given step block; writes into `inputs` and returns (empty) scratch. */
export function adafactorReference(
  inputs: readonly Float64Array[],
  attrs: AdafactorAttrs,
  types: { inputs: readonly TensorType[]; outputs: readonly TensorType[] },
  { adafactorBeta2, adafactorStep }: Pick<StepBlock, "adafactorBeta2" | "adafactorStep">,
): Float64Array[] {
  const scratch = types.outputs.map((type) => new Float64Array(elementCount(type)));
  const [, factor, found] = inputs[0];
  if (found !== 0) return scratch;
  const shapes = new Map(inputs.map((array, i) => [array, types.inputs[i].shape]));
  const rms = (values: Float64Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
  tensorsOf(inputs, attrs, (array) => shapes.get(array)!).forEach(({ w, g, moments, m }, tensor) => {
    const n = w.length;
    const [rows, columns] = moments.length === 2 ? shapes.get(w)! : [1, n];
    const squares = Float64Array.from(g, (x) => (factor * x) ** 2 + attrs.eps1);
    const blend = (state: Float64Array, i: number, mean: number) => {
      state[i] = adafactorBeta2 * state[i] + (1 - adafactorBeta2) * mean;
    };
    const update = new Float64Array(n);
    if (moments.length === 2) {
      const [rowState, columnState] = moments;
      for (let r = 0; r < rows; r++) {
        let sum = 0;
        for (let c = 0; c < columns; c++) sum += squares[r * columns + c];
        blend(rowState, r, sum / columns);
      }
      for (let c = 0; c < columns; c++) {
        let sum = 0;
        for (let r = 0; r < rows; r++) sum += squares[r * columns + c];
        blend(columnState, c, sum / rows);
      }
      const mean = rowState.reduce((sum, x) => sum + x, 0) / rows;
      for (let i = 0; i < n; i++) {
        const r = Math.floor(i / columns);
        update[i] = factor * g[i] / Math.sqrt((rowState[r] / mean) * columnState[i % columns]);
      }
    } else {
      for (let i = 0; i < n; i++) {
        blend(moments[0], i, squares[i]);
        update[i] = factor * g[i] / Math.sqrt(moments[0][i]);
      }
    }
    const rate = adafactorStep * (attrs.scaleParameter ? Math.max(attrs.eps2, rms(w)) : 1);
    const scale = rate / Math.max(1, rms(update) / attrs.clipThreshold);
    for (let i = 0; i < n; i++) {
      let change = scale * update[i];
      if (m) change = m[i] = attrs.beta1! * m[i] + (1 - attrs.beta1!) * change;
      w[i] += -attrs.weightDecay[tensor] * rate * w[i] - change;
    }
  });
  return scratch;
}
