import type { Binding, ParamWord, ScratchCopy } from "../engine/graph/launch.ts";

/**
 * Copies that kernels read in place of their operands, where loads from the scratch texture are so much
 * cheaper than from a buffer that copying pays.
 */
export interface Scratch {
  /** Most bytes that one dispatch may copy. */
  bytes: number;
  /** Most bytes that one dispatch of a row or elementwise kernel copies. */
  rowBytes: number;
  /** Bytes that one dispatch of a table kernel may copy of `bytes` that all of them run over. */
  tableBytes(bytes: number): number;
  /** Places ranges, one behind the other. */
  place(ranges: readonly Binding[]): ScratchCopy[];
  /**
   * The word that says at which vector of 16 bytes a copy begins.
   *
   * @param offset Vectors from its first; added modulo 2³².
   */
  vectorOf(copies: readonly ScratchCopy[], copy: number, offset?: number): ParamWord;
  /**
   * WGSL of `copied(i) -> vec4<u32>`, the sixteen bytes at vector `i`, and of `copiedHalf(i) -> vec2<u32>`,
   * the eight bytes at half a vector.
   */
  wgsl: string;
}
