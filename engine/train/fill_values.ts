import type { Initialization } from "../model/parameters.ts";
import type { Random } from "./random.ts";

/** A tensor that starts with values of a stream of its own. */
export interface TensorToFill {
  /** What its stream is keyed by. */
  name: string;
  init: Initialization;
  elementCount: number;
}

/** Part of a tensor's first values. */
export interface FilledChunk<T extends TensorToFill = TensorToFill> {
  tensor: T;
  firstElement: number;
  /** To be used before the next chunk is asked for: the memory is filled again. */
  values: Float32Array<ArrayBuffer>;
}

/** Gives so many elements of a tensor their first values, with the next numbers of its stream. */
export function fillValues(values: Float32Array, init: Initialization, random: Random): void {
  switch (init.kind) {
    case "constant":
      values.fill(init.value);
      return;
    case "normal":
      random.fillNormal(values, init.standardDeviation);
      return;
    case "uniform":
      for (let i = 0; i < values.length; i++) values[i] = (random.uniform() * 2 - 1) * init.bound;
      return;
    default:
      init satisfies never;
  }
}
