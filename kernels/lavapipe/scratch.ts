import {
  type Binding,
  type ParamWord,
  SCRATCH_BINDING,
  SCRATCH_ROW_BYTES,
  SCRATCH_ROW_VECTORS,
  type ScratchCopy,
  u32,
} from "../../engine/graph/launch.ts";
import type { Scratch } from "../scratch.ts";

/** Most bytes of the scratch texture: it holds the logits and the head of a small model. */
export const MESA_SCRATCH_BYTES = 32 * 2 ** 20;
/** Most bytes that one dispatch of a row or elementwise kernel reads through it. */
const ROW_BYTES = 8 * 2 ** 20;
/**
 * Share of its operands, and most bytes, that one dispatch over tables reads through it: large enough that
 * dispatches stay few and copies cheap, small beside the model, since every plan pays for the texture. Where
 * the most would make thousands of dispatches, each with a table of its own, another share: models so large
 * have products that fill the texture.
 */
const TABLE_SHARE = 1 / 4;
const MOST_TABLE_BYTES = 8 * 2 ** 20;
const LEAST_TABLE_BYTES = 2 ** 18;
const LARGE_TABLE_SHARE = 1 / 1024;

/** The scratch texture as kernels read it, of at most `bytes`. */
export function scratchOf(bytes: number): Scratch {
  return {
    bytes,
    rowBytes: Math.min(bytes, ROW_BYTES),
    tableBytes: (all) => {
      const most = Math.max(MOST_TABLE_BYTES, all * LARGE_TABLE_SHARE);
      return Math.min(bytes, Math.max(LEAST_TABLE_BYTES, Math.min(all * TABLE_SHARE, most)));
    },
    place: placeCopies,
    vectorOf: (copies, copy, offset) => scratchWord(copies, copy, SCRATCH_ROW_VECTORS, offset),
    wgsl: SCRATCH_WGSL,
  };
}

/** Places ranges in the texture, one behind the other. */
export function placeCopies(ranges: readonly Binding[]): ScratchCopy[] {
  let row = 0;
  return ranges.map((source): ScratchCopy => {
    const copy = { source, row };
    row += Math.ceil(source.byteLength / SCRATCH_ROW_BYTES);
    return copy;
  });
}

/**
 * A word that says where in the texture a copy lies.
 *
 * @param unitsPerRow What the kernel counts in, a row of the texture: 1024 for texels.
 * @param offset Units from the first of the copy; added modulo 2³².
 */
export function scratchWord(
  copies: readonly ScratchCopy[],
  copy: number,
  unitsPerRow: number,
  offset = 0,
): ParamWord {
  return u32((copies[copy].row * unitsPerRow + offset) >>> 0);
}

/** See `Scratch.wgsl`. */
export const SCRATCH_WGSL =
  `@group(0) @binding(${SCRATCH_BINDING}) var scratch: texture_storage_2d<rgba32uint, read>;
fn copied(i: u32) -> vec4<u32> {
  return textureLoad(scratch, vec2<u32>(i % ${SCRATCH_ROW_VECTORS}u, i / ${SCRATCH_ROW_VECTORS}u));
}
fn copiedHalf(i: u32) -> vec2<u32> {
  let both = copied(i / 2u);
  return select(both.xy, both.zw, (i & 1u) != 0u);
}
`;
