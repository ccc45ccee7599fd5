import { ShapeError } from "../engine/graph/op.ts";
import type { Shape } from "../engine/graph/types.ts";

/** Attributes of `adafactor`. β2 and the relative step or rate ρ come from the step block. */
export interface AdafactorAttrs {
  /** Added to squared gradients. */
  eps1: number;
  /** Smallest root mean square that a tensor's rate is scaled by. */
  eps2: number;
  /** Updates whose root mean square is above this are scaled down to it. */
  clipThreshold: number;
  /** Decay of a first moment; null keeps none. */
  beta1: number | null;
  /** Whether ρ is multiplied by the root mean square of each tensor. */
  scaleParameter: boolean;
  /** One for each tensor. */
  weightDecay: readonly number[];
}

/** The values that belong to one tensor. */
export interface AdafactorTensor<T> {
  w: T;
  g: T;
  /** Means of rows and of columns, or the whole second moment of a vector. */
  moments: T[];
  m?: T;
}

/** Inputs by tensor; how many each has depends on its number of dimensions. */
export function tensorsOf<T>(
  [, ...values]: readonly T[],
  { beta1, weightDecay }: AdafactorAttrs,
  shapeOf: (value: T) => Shape,
): AdafactorTensor<T>[] {
  const tensors: AdafactorTensor<T>[] = [];
  let next = 0;
  while (next < values.length) {
    const [w, g] = [values[next++], values[next++]];
    const moments = [values[next++]];
    if (shapeOf(w).length > 1) moments.push(values[next++]);
    tensors.push({
      w,
      g,
      moments,
      m: beta1 === null ? undefined : values[next++],
    });
  }
  if (next !== values.length || tensors.length !== weightDecay.length) {
    throw new ShapeError(
      `Cannot apply adafactor to ${values.length} values and ${weightDecay.length} weight decays: ` +
        `expected weights, gradient and state for each`,
    );
  }
  return tensors;
}
