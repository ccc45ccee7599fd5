import { type Located, type ParamWord, u32 } from "../../engine/graph/launch.ts";
import { ShapeError } from "../../engine/graph/op.ts";
import { type Dtype, elementCount, type TensorType, typeText } from "../../engine/graph/types.ts";
import type { TableTensor } from "./tensors.ts";

/** Vectors of four elements that one workgroup of an optimizer kernel updates. */
export const VECTORS_PER_BLOCK = 512;

/** An optimizer's inputs `[clip, then perTensor values for each tensor]`, one array per tensor. */
export function perTensor<T>([, ...values]: readonly T[], count: number): T[][] {
  return Array.from({ length: values.length / count }, (_, i) => values.slice(i * count, (i + 1) * count));
}

/**
 * Checks `[clip, then values of these dtypes for each tensor]`.
 *
 * @param settings How many per-tensor settings were given.
 * @throws {ShapeError}
 */
export function checkOptimizerInputs(
  op: string,
  inputs: readonly TensorType[],
  dtypes: readonly Dtype[],
  settings: number,
): void {
  const [clip] = inputs;
  if (clip?.dtype !== "f32" || elementCount(clip) !== 4) {
    throw new ShapeError(`Cannot apply ${op} with clip ${clip && typeText(clip)}: expected f32[4]`);
  }
  if (inputs.length !== 1 + dtypes.length * settings) {
    throw new ShapeError(
      `Cannot apply ${op} to ${inputs.length - 1} values and ${settings} weight decays: ` +
        `expected ${dtypes.length} values for each`,
    );
  }
  for (const values of perTensor(inputs, dtypes.length)) {
    const alike = values.every((value, k) =>
      value.dtype === dtypes[k] && elementCount(value) === elementCount(values[0])
    );
    if (!alike) {
      throw new ShapeError(
        `Cannot apply ${op} to ${values.map(typeText).join(", ")}: expected equal sizes in ${
          dtypes.join(", ")
        }`,
      );
    }
  }
}

/** Tensors of a table kernel whose word is the weight decay. */
export function decayedTensors(
  inputs: readonly Located[],
  count: number,
  weightDecay: readonly number[],
): TableTensor[] {
  return perTensor(inputs, count).map((values, i) => ({ values, word: floatBits(weightDecay[i]) }));
}

/** An f32 as the u32 with the same bits. */
export function floatBits(value: number): ParamWord {
  return u32(new Uint32Array(Float32Array.of(value).buffer)[0]);
}
