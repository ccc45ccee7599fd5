import {
  type Binding,
  type ParamWord,
  SCRATCH_BINDING,
  TEXEL_ROW_BYTES,
  TEXEL_ROW_TEXELS,
  type TexelCopy,
  texelWord,
} from "../../engine/graph/launch.ts";
import type { Target } from "../../engine/graph/target.ts";
import type { Dtype } from "../../engine/graph/types.ts";

/** Most bytes that one dispatch of a row or elementwise kernel reads through the scratch texture. */
const READ_BYTES = 8 * 2 ** 20;

/** Bytes that a dispatch may read through the scratch texture. On GPUs none, whatever a test changes of a target. */
export function texelBytesOf({ software, texelBytes }: Target): number {
  return software ? texelBytes ?? 0 : 0;
}

/** Places ranges in the scratch texture, one behind the other. */
export function placeTexels(ranges: readonly Binding[]): TexelCopy[] {
  let row = 0;
  return ranges.map((source): TexelCopy => {
    const copy = { source, row };
    row += Math.ceil(source.byteLength / TEXEL_ROW_BYTES);
    return copy;
  });
}

/** The word that says at which texel a copy begins. */
export function firstTexel(copies: readonly TexelCopy[], copy: number, offset = 0): ParamWord {
  return texelWord(copies, copy, TEXEL_ROW_TEXELS, offset);
}

/** WGSL of `texel(i)`: the sixteen bytes at texel `i`, and `halfTexel(i)`: the eight bytes at half a texel, as f16. */
export const TEXEL_LOAD_WGSL =
  `@group(0) @binding(${SCRATCH_BINDING}) var scratch: texture_storage_2d<rgba32uint, read>;
fn texel(i: u32) -> vec4<u32> {
  return textureLoad(scratch, vec2<u32>(i % ${TEXEL_ROW_TEXELS}u, i / ${TEXEL_ROW_TEXELS}u));
}
fn halfTexel(i: u32) -> vec4<f32> {
  let both = texel(i / 2u);
  let words = select(both.xy, both.zw, (i & 1u) != 0u);
  return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}
`;

/** What a kernel reads by `load_<name>(i)`: its storage variable of this name, or a copy of it in the scratch texture. */
export interface Read {
  name: string;
  dtype: Dtype;
  /** Loads give one f32 each instead of a `vec_t`. */
  scalar?: boolean;
  /** It is a row alone, or a number a row: next to nothing beside the others. */
  small?: boolean;
}

/** The loads of a kernel; see `readsOf`. */
export interface Reads {
  /** The kernel's source with its loads. Where they read the texture, its `Params` begin with a field for each. */
  code(source: string): string;
  /** Further properties of a dispatch whose operands are bound so, in the order of the reads. */
  of(ranges: readonly Binding[], params: readonly ParamWord[]): { params: ParamWord[]; texels?: TexelCopy[] };
  /** The target to split operands for: its binding limit is what a dispatch may copy of one, where it copies. */
  target: Target;
}

/**
 * How a kernel reads operands: through the scratch texture where that is faster on the target and rows are vectors of four.
 *
 * @param width Elements of the kernel's `vec_t`.
 * @param leastBytes Bytes of an operand that a dispatch must take at least: more than may be copied are read where they lie.
 */
export function readsOf(
  reads: readonly Read[],
  { width, leastBytes }: { width: 1 | 4; leastBytes: number },
  target: Target,
): Reads {
  const large = reads.filter(({ small }) => !small).length;
  const texelBytes = Math.min(texelBytesOf(target), READ_BYTES);
  const most = Math.min(target.maxStorageBufferBindingSize, texelBytes / Math.max(large, 1));
  const copied = texelBytes > 0 && width === 4 && leastBytes <= most;
  if (!copied || reads.length === 0) return { ...storageReads(reads), target };
  const loads = reads.map(({ name, dtype, scalar }) => {
    const first = `params.${name}_texel`;
    if (scalar) {
      return `fn load_${name}(i: u32) -> f32 { return bitcast<f32>(texel(${first} + i / 4u)[i % 4u]); }`;
    }
    return dtype === "f16"
      ? `fn load_${name}(i: u32) -> vec_t { return halfTexel(2u * ${first} + i); }`
      : `fn load_${name}(i: u32) -> vec_t { return bitcast<vec_t>(texel(${first} + i)); }`;
  });
  const fields = reads.map(({ name }) => `  ${name}_texel: u32,`).join("\n");
  return {
    code: (source) =>
      `${source.replace("struct Params {", `struct Params {\n${fields}\n`)}\n${TEXEL_LOAD_WGSL}${
        loads.join("\n")
      }\n`,
    of: (ranges, params) => {
      const texels = placeTexels(ranges);
      return { params: [...texels.map((_, copy) => firstTexel(texels, copy)), ...params], texels };
    },
    target: { ...target, maxStorageBufferBindingSize: most },
  };
}

/** Loads from where the operands lie. */
export function storageReads(reads: readonly Read[]): Omit<Reads, "target"> {
  const loads = reads.map(({ name, scalar }) =>
    scalar
      ? `fn load_${name}(i: u32) -> f32 { return f32(${name}[i]); }`
      : `fn load_${name}(i: u32) -> vec_t { return vec_t(${name}[i]); }`
  );
  return {
    code: (source) => `${source}\n${loads.join("\n")}\n`,
    of: (_, params) => ({ params: [...params] }),
  };
}
