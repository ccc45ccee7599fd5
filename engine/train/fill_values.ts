import type { Initialization } from "../model/parameters.ts";
import { keyedRandom } from "./random.ts";

/** A tensor and how it starts. */
export interface TensorToFill {
  /** What its streams are keyed by. */
  name: string;
  init: Initialization;
  elementCount: number;
}

/** Part of a tensor's first values. */
export interface FilledSection<T extends TensorToFill = TensorToFill> {
  tensor: T;
  firstElement: number;
  /** To be used before the next section is asked for: the memory is filled again. */
  values: Float32Array<ArrayBuffer>;
}

/** A part of a tensor that can be filled by itself. */
export interface Section<T extends TensorToFill = TensorToFill> {
  tensor: T;
  /** Counts the tensor's sections, from 0. */
  index: number;
  firstElement: number;
  elementCount: number;
}

/** The sections of a tensor, in order; none of an empty one. */
export function sectionsOf<T extends TensorToFill>(tensor: T, sectionElements: number): Section<T>[] {
  const { elementCount } = tensor;
  return Array.from({ length: Math.ceil(elementCount / sectionElements) }, (_, index) => {
    const firstElement = index * sectionElements;
    return {
      tensor,
      index,
      firstElement,
      elementCount: Math.min(sectionElements, elementCount - firstElement),
    };
  });
}

/** What the values of a section depend on. */
export interface SectionSource {
  seed: number;
  name: string;
  index: number;
  init: Initialization;
}

/**
 * Fills a section with its first values, the numbers of a stream of its own. The first section's is keyed by
 * the tensor's name, the others' by name and index, so that they can be made side by side.
 */
export function fillSection(values: Float32Array, { seed, name, index, init }: SectionSource): void {
  if (init.kind === "constant") {
    values.fill(init.value);
    return;
  }
  const random = keyedRandom(seed, index === 0 ? name : `${name}, section ${index}`);
  switch (init.kind) {
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
