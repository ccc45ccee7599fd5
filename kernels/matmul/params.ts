import type { ParamWord } from "../../engine/graph/launch.ts";
import { paramWords, widthOf } from "./text.ts";
import { elementOffset, type Part, type Window } from "./parts.ts";
import { quantizedParams } from "./quantized.ts";
import type { CheckedSpec, MatmulForm, MatmulParams } from "./product.ts";

/** Output tiles of a part, and the workgroups they are launched as. */
export interface TileGrid {
  tilesM: number;
  tilesN: number;
  grid: readonly [number, number, number];
}

/**
 * The uniform block of a part of a product.
 *
 * @param offsets Fields beside, or instead of, those that follow from `windows`.
 */
export function matmulParams(
  spec: CheckedSpec,
  part: Part,
  form: MatmulForm,
  windows: readonly Window[],
  { tilesM, tilesN, grid }: TileGrid,
  offsets: MatmulParams = {},
): ParamWord[] {
  const params: MatmulParams = {
    m: part.m.count,
    n: part.n.count,
    k: part.k.count,
    alpha: spec.alpha ?? 1,
    tilesM,
    tilesN,
    // Neighbours share the operand that stays put while they walk; walk along the
    // smaller one, which caches hold whole.
    downFirst: part.m.count < part.n.count ? 1 : 0,
    workgroups: tilesM * tilesN * part.batchCount.reduce((product, count) => product * count, 1),
    gridWidth: grid[0],
    batch1: part.batchCount[1],
    batch2: part.batchCount[2],
    biasOffset: 0,
    residualOffset: 0,
    sumsOffset: 0,
    ...quantizedParams(spec, part, windows, form),
  };
  for (const { spans, binding } of windows) {
    for (const span of spans) {
      params[`${span.role}Offset`] = elementOffset(span, binding) / widthOf(form, span.role);
    }
  }
  for (const role of ["a", "b", "c"] as const) {
    const unit = widthOf(form, role);
    // One row is never stepped over, so its stride need not be a whole number of units.
    params[`${role}Row`] = Math.floor(spec[role].ld / unit);
    spec[role].strides!.forEach((stride, d) => params[`${role}Batch${d}`] = Math.floor(stride / unit));
  }
  return paramWords(form, { ...params, ...offsets });
}
