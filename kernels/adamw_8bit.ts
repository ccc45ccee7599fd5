import {
  type Binding,
  type Dispatch,
  f32,
  type Located,
  type ParamWord,
  u32,
} from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { ShapeError } from "../engine/graph/op.ts";
import type { Target } from "../engine/graph/target.ts";
import { DTYPE_BYTES, elementCount, type TensorType, typeText } from "../engine/graph/types.ts";
import { dynamicMap, middlesOf, nearestCode } from "./dynamic_map.ts";
import type { KernelSet } from "./kernel_set.ts";
import { rowVectorWidth } from "./rows/reduction.ts";
import { floatBits } from "./tables/optimizer.ts";
import { NEUTRAL_STEP, type StepBlock } from "./step_block.ts";
import { tableDispatches, type TablePiece } from "./tables/dispatch.ts";
import type { TableOperand } from "./tables/kernel.ts";
import source from "./adamw_8bit.wgsl" with { type: "text" };

/** Elements that share one scale of each moment. */
export const ADAMW_8BIT_BLOCK = 256;

/** Scales of one moment of a tensor with so many elements. */
export function blockCount8bit(elements: number): number {
  return Math.ceil(elements / ADAMW_8BIT_BLOCK);
}

/** Attributes of `adamw8bit`. */
export interface AdamW8bitAttrs {
  beta1: number;
  beta2: number;
  eps: number;
  /** One for each tensor. */
  weightDecay: readonly number[];
}

/**
 * One AdamW update of many tensors whose moments are stored in 8 bits: inputs
 * `[clip f32 [4], then for each tensor w and g f32, codes of m and v u8, scales of m and v f32 [blocks]]`.
 * All but the gradients are updated in place; there are no outputs. Fresh state
 * is zeros. Gradients are multiplied by clip[1]; with clip[2] set nothing
 * changes. Learning rate and bias corrections come from the step block.
 *
 * Dettmers et al. 2022, arXiv:2110.02861, in the order of bitsandbytes' CUDA kernel.
 */
export const adamw8bit = defineOp<AdamW8bitAttrs>({
  name: "adamw_8bit",
  inferTypes: (inputs, attrs) => {
    const [clip] = inputs;
    if (clip?.dtype !== "f32" || elementCount(clip) !== 4) {
      throw new ShapeError(`Cannot apply adamw_8bit with clip ${clip && typeText(clip)}: expected f32[4]`);
    }
    if (inputs.length !== 1 + OPERANDS.length * attrs.weightDecay.length) {
      throw new ShapeError(
        `Cannot apply adamw_8bit to ${
          inputs.length - 1
        } values and ${attrs.weightDecay.length} weight decays: ` +
          `expected ${OPERANDS.length} values for each`,
      );
    }
    for (const tensor of tensorsOf(inputs, attrs)) checkTensor(tensor);
    return [];
  },
  mutates: (inputs) => inputs.flatMap((_, i) => (i > 0 && (i - 1) % OPERANDS.length !== 1 ? [i] : [])),
  lower: ({ inputs, attrs, kernels }) => commands(inputs[0], tensorsOf(inputs, attrs), attrs, kernels),
  reference: (inputs, attrs) => {
    adamw8bitReference(inputs, attrs, NEUTRAL_STEP);
    return [];
  },
});

/** `adamw8bit` in f64 for a given step block; writes into `inputs`. */
export function adamw8bitReference(
  inputs: readonly Float64Array[],
  attrs: AdamW8bitAttrs,
  { learningRate, biasCorrection1, sqrtBiasCorrection2 }: StepBlock,
): void {
  const [, factor, found] = inputs[0];
  if (found !== 0) return;
  const { beta1, beta2, eps, weightDecay } = attrs;
  const map1 = dynamicMap(true);
  const map2 = dynamicMap(false);
  const middles1 = middlesOf(map1);
  const middles2 = middlesOf(map2);
  tensorsOf(inputs, attrs).forEach(([w, g, codes1, codes2, absmax1, absmax2], tensor) => {
    for (let block = 0; block < absmax1.length; block++) {
      const first = block * ADAMW_8BIT_BLOCK;
      const last = Math.min(first + ADAMW_8BIT_BLOCK, w.length);
      const m: number[] = [];
      const v: number[] = [];
      for (let i = first; i < last; i++) {
        if (!Number.isFinite(g[i])) {
          m.push(0);
          v.push(0);
          continue;
        }
        const gradient = factor * g[i];
        m.push(beta1 * map1[codes1[i]] * absmax1[block] + (1 - beta1) * gradient);
        v.push(beta2 * map2[codes2[i]] * absmax2[block] + (1 - beta2) * gradient ** 2);
        const denominator = Math.sqrt(v[i - first]) + sqrtBiasCorrection2 * eps;
        w[i] -= (learningRate * sqrtBiasCorrection2 / biasCorrection1) * (m[i - first] / denominator);
        w[i] *= 1 - learningRate * weightDecay[tensor];
      }
      absmax1[block] = Math.max(...m.map(Math.abs));
      absmax2[block] = Math.max(...v);
      for (let i = first; i < last; i++) {
        const code = nearestCode(absmax1[block] === 0 ? 0 : m[i - first] / absmax1[block], middles1);
        codes1[i] = m[i - first] < 0 && code === 127 ? 126 : code; // only 0 itself loses its sign
        codes2[i] = nearestCode(absmax2[block] === 0 ? 0 : v[i - first] / absmax2[block], middles2);
      }
    }
  });
}

function tensorsOf<T>([, ...values]: readonly T[], attrs: AdamW8bitAttrs): T[][] {
  const count = OPERANDS.length;
  return attrs.weightDecay.map((_, i) => values.slice(i * count, (i + 1) * count));
}

function checkTensor(tensor: readonly TensorType[]): void {
  const elements = elementCount(tensor[0]);
  const blocks = blockCount8bit(elements);
  const dtypes = ["f32", "f32", "u8", "u8", "f32", "f32"];
  const counts = [elements, elements, elements, elements, blocks, blocks];
  if (tensor.some((value, k) => value.dtype !== dtypes[k] || elementCount(value) !== counts[k])) {
    throw new ShapeError(
      `Cannot apply adamw_8bit to ${tensor.map(typeText).join(", ")}: ` +
        `expected ${tensor.map((_, k) => `${counts[k]} ${dtypes[k]}`).join(", ")}`,
    );
  }
}

/**
 * Workgroups to keep a GPU busy with; beyond them each takes several scales,
 * where it has to copy the maps first.
 */
const BUSY_WORKGROUPS = 2048;
const MOST_SCALES_PER_BLOCK = 16;

/** Names of a tensor's values, and how they are reached. */
const OPERANDS: readonly TableOperand[] = [
  { name: "p", access: "vector" },
  { name: "g", access: "vector" },
  { name: "codes1", access: "word" },
  { name: "codes2", access: "word" },
  { name: "absmax1", access: "scalar" },
  { name: "absmax2", access: "scalar" },
];
/** Bytes of an element in those that are read, scales left out. */
const READ_BYTES = 10;

function commands(
  clip: Located,
  tensors: readonly (readonly Located[])[],
  attrs: AdamW8bitAttrs,
  kernels: KernelSet,
): Dispatch[] {
  const scales = tensors.reduce((sum, [p]) => sum + blockCount8bit(elementCount(p)), 0);
  const scalesPerBlock = kernels.copiesLookups
    ? Math.min(Math.max(Math.floor(scales / BUSY_WORKGROUPS), 1), MOST_SCALES_PER_BLOCK)
    : kernels.rowsPerBlock(ADAMW_8BIT_BLOCK / 4);
  const elements = tensors.reduce((sum, [p]) => sum + elementCount(p), 0);
  const copyBytes = kernels.scratch?.tableBytes(READ_BYTES * elements) ?? 0;
  const widthOf = ([p]: readonly Located[]) => rowVectorWidth(elementCount(p));
  return ([4, 1] as const).flatMap((width) => {
    const form = kernels.rowForm(ADAMW_8BIT_BLOCK / 4);
    const pieces = tensors.flatMap((tensor, i) =>
      widthOf(tensor) === width
        ? tensorPieces(
          tensor,
          attrs.weightDecay[i],
          scalesPerBlock,
          width === 4 ? copyBytes : 0,
          kernels.target,
        )
        : []
    );
    return tableDispatches(
      {
        name: "adamw_8bit",
        source: kernelSource(width, form.wgsl, kernels),
        width,
        operands: OPERANDS,
        fields: ["count", "decay"],
        shared: [{ name: "clip", value: clip }],
        writes: OPERANDS.map(({ name }) => name).filter((name) => name !== "g"),
        workgroupBytes: form.workgroupBytes + (kernels.copiesLookups ? 16 * MAP_VECTORS : 0),
        params: [
          ["scales_per_block", u32(scalesPerBlock)],
          ["beta1", f32(attrs.beta1)],
          ["beta2", f32(attrs.beta2)],
          ["eps", f32(attrs.eps)],
        ],
        constants: { name: "maps", words: maps() },
        blocksPerWorkgroup: form.rowsPerWorkgroup,
      },
      pieces,
      copyBytes,
      kernels,
    );
  });
}

/** A tensor in runs of whole blocks that fit bindings and what may be copied. */
function tensorPieces(
  tensor: readonly Located[],
  weightDecay: number,
  scalesPerBlock: number,
  copyBytes: number,
  { maxStorageBufferBindingSize }: Target,
): TablePiece[] {
  const elements = elementCount(tensor[0]);
  const most = Math.min(
    maxStorageBufferBindingSize / DTYPE_BYTES.f32,
    copyBytes > 0 ? copyBytes / READ_BYTES : Infinity,
  );
  // Scales of a run begin at an aligned byte where it has this many times 64.
  const perBlock = ADAMW_8BIT_BLOCK * scalesPerBlock;
  const perPiece = Math.max(Math.floor(most / perBlock) * perBlock, perBlock);
  const pieces = [];
  for (let first = 0; first < elements; first += perPiece) {
    const count = Math.min(perPiece, elements - first);
    pieces.push({
      blocks: Math.ceil(count / perBlock),
      fields: [u32(count), floatBits(weightDecay)],
      places: tensor.map(({ buffer, byteOffset, dtype }, k): Binding => {
        const isScale = OPERANDS[k].access === "scalar";
        const [from, length] = isScale
          ? [first / ADAMW_8BIT_BLOCK, Math.ceil(count / ADAMW_8BIT_BLOCK)]
          : [first, count];
        return {
          buffer,
          byteOffset: byteOffset + from * DTYPE_BYTES[dtype],
          byteLength: length * DTYPE_BYTES[dtype],
        };
      }),
    });
  }
  return pieces;
}

/**
 * The maps as the kernel looks them up: values of the signed one from 0 up, its middles; values of the
 * unsigned one, its middles.
 */
function maps(): ParamWord[] {
  const signed = dynamicMap(true);
  const unsigned = dynamicMap(false);
  const parts = [signed.subarray(127), middlesOf(signed).subarray(127), unsigned, middlesOf(unsigned)];
  return parts.flatMap((part) => {
    const words = Array.from(part, f32);
    while (words.length % 4 !== 0) words.push(f32(1));
    return words;
  });
}
const MAP_START = { SIGNED_VALUES: 0, SIGNED_MIDDLES: 132, UNSIGNED_VALUES: 260, UNSIGNED_MIDDLES: 516 };
const MAP_VECTORS = 193;

function kernelSource(width: 1 | 4, formWgsl: string, { copiesLookups }: KernelSet): string {
  const each = [0, 1, 2, 3];
  const access = width === 4
    ? `fn inside(block: Block, word: u32) -> vec4<bool> { return vec4<bool>(true); }
fn four_weights(block: Block, word: u32) -> vec4<f32> { return load_p(block.p + word); }
fn bits_of_four(block: Block, word: u32) -> vec4<u32> { return bits_g(block.g + word); }
fn store_four_weights(block: Block, word: u32, value: vec4<f32>) { store_p(block.p + word, value); }`
    : `// Elements beyond the last read what it holds; the kernel leaves them out.
fn element(block: Block, word: u32, i: u32) -> u32 { return min(4u * word + i, block.count - 1u); }
fn inside(block: Block, word: u32) -> vec4<bool> {
  return vec4<u32>(4u * word) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(block.count);
}
fn four_weights(block: Block, word: u32) -> vec4<f32> {
  return vec4<f32>(${each.map((i) => `load_p(block.p + element(block, word, ${i}u))`).join(", ")});
}
fn bits_of_four(block: Block, word: u32) -> vec4<u32> {
  return vec4<u32>(${each.map((i) => `bits_g(block.g + element(block, word, ${i}u))`).join(", ")});
}
fn store_four_weights(block: Block, word: u32, value: vec4<f32>) {
  let stored = inside(block, word);
${each.map((i) => `  if (stored[${i}]) { store_p(block.p + 4u * word + ${i}u, value[${i}]); }`).join("\n")}
}`;
  const lookups = copiesLookups
    ? `var<workgroup> lookup_maps: array<vec4<f32>, MAP_VECTORS>;
fn lookup(i: u32) -> f32 { return lookup_maps[i >> 2u][i & 3u]; }
fn fill_maps(local: u32) {
  for (var i = local; i < MAP_VECTORS; i += WG) { lookup_maps[i] = params.maps[i]; }
  workgroupBarrier();
}`
    : `fn lookup(i: u32) -> f32 { return params.maps[i >> 2u][i & 3u]; }
fn fill_maps(local: u32) {}`;
  const constants = Object.entries(MAP_START).map(([name, start]) => `const ${name}: u32 = ${start}u;`);
  return `${formWgsl}
const WORDS_PER_LANE: u32 = ${ADAMW_8BIT_BLOCK / 4}u / LANES;
const MAP_VECTORS: u32 = ${MAP_VECTORS}u;
${constants.join("\n")}
${access}
${lookups}
${source}`;
}
