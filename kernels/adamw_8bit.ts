import {
  type Binding,
  defineOp,
  type Dispatch,
  f32,
  foldGrid,
  type Located,
  type ParamWord,
  ShapeError,
  type Target,
  u32,
  whole,
} from "../engine/graph/op.ts";
import { DTYPE_BYTES, elementCount, type TensorType, typeText } from "../engine/graph/types.ts";
import { dynamicMap, middlesOf, nearestCode } from "./dynamic_map.ts";
import { rowForm, rowVectorWidth } from "./row_kernel.ts";
import { rowWindows } from "./row_windows.ts";
import { NEUTRAL_STEP, type StepBlock } from "./step_block.ts";
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
  /** Whether each tensor has a seventh value: an f16 copy of the weights, written anew after the update. */
  workingCopies?: boolean;
}

/**
 * One AdamW update of many tensors whose moments are stored in 8 bits: inputs `[clip f32 [4], then for each tensor
 * w f32, g f32, codes of m u8, codes of v u8, scales of m f32 [blocks], scales of v f32 [blocks][, copy f16]]`. All but the
 * gradients are updated in place; there are no outputs. Fresh state is zeros. Gradients are multiplied by clip[1]; with
 * clip[2] set nothing changes. Learning rate and bias corrections come from the step block.
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
    if (inputs.length !== 1 + valuesPerTensor(attrs) * attrs.weightDecay.length) {
      throw new ShapeError(
        `Cannot apply adamw_8bit to ${
          inputs.length - 1
        } values and ${attrs.weightDecay.length} weight decays: ` +
          `expected ${valuesPerTensor(attrs)} values for each`,
      );
    }
    for (const tensor of tensorsOf(inputs, attrs)) checkTensor(tensor);
    return [];
  },
  mutates: (inputs, attrs) =>
    inputs.flatMap((_, i) => (i > 0 && (i - 1) % valuesPerTensor(attrs) !== 1 ? [i] : [])),
  lower: ({ inputs, attrs, target }) =>
    tensorsOf(inputs, attrs).flatMap((tensor, i) =>
      tensorCommands(inputs[0], tensor, attrs, attrs.weightDecay[i], target)
    ),
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
  tensorsOf(inputs, attrs).forEach(([w, g, codes1, codes2, absmax1, absmax2, copy], tensor) => {
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
        if (copy) copy[i] = Math.min(Math.max(w[i], -65504), 65504);
      }
    }
  });
}

function valuesPerTensor({ workingCopies }: AdamW8bitAttrs): number {
  return workingCopies ? 7 : 6;
}

function tensorsOf<T>([, ...values]: readonly T[], attrs: AdamW8bitAttrs): T[][] {
  const count = valuesPerTensor(attrs);
  return attrs.weightDecay.map((_, i) => values.slice(i * count, (i + 1) * count));
}

function checkTensor(tensor: readonly TensorType[]): void {
  const elements = elementCount(tensor[0]);
  const blocks = blockCount8bit(elements);
  const dtypes = ["f32", "f32", "u8", "u8", "f32", "f32", "f16"];
  const counts = [elements, elements, elements, elements, blocks, blocks, elements];
  if (tensor.some((value, k) => value.dtype !== dtypes[k] || elementCount(value) !== counts[k])) {
    throw new ShapeError(
      `Cannot apply adamw_8bit to ${tensor.map(typeText).join(", ")}: ` +
        `expected ${tensor.map((_, k) => `${counts[k]} ${dtypes[k]}`).join(", ")}`,
    );
  }
}

/** The dispatches of one tensor: one for every window of blocks that fits the binding limit. */
function tensorCommands(
  clip: Located,
  tensor: readonly Located[],
  { beta1, beta2, eps }: AdamW8bitAttrs,
  weightDecay: number,
  target: Target,
): Dispatch[] {
  const elements = elementCount(tensor[0]);
  const blocks = blockCount8bit(elements);
  const form = rowForm(ADAMW_8BIT_BLOCK / 4, target);
  const code = kernelCode(tensor, form.wgsl, target);
  return rowWindows(blocks, [ADAMW_8BIT_BLOCK * DTYPE_BYTES.f32], target).map(({ first, count }) => {
    const blocksPerRow = target.software ? 1 : Math.min(Math.max(Math.floor(count / GPU_WORKGROUPS), 1), 16);
    const window = (value: Located, perBlock: number): Binding => {
      const bytes = perBlock * DTYPE_BYTES[value.dtype];
      const end = first + count === blocks ? value.byteLength : (first + count) * bytes;
      return {
        buffer: value.buffer,
        byteOffset: value.byteOffset + first * bytes,
        byteLength: end - first * bytes,
      };
    };
    return {
      kernel: { name: "adamw_8bit", code, entryPoint: "adamw_8bit" },
      bindings: [
        whole(clip),
        ...tensor.map((value, k) => window(value, k === 4 || k === 5 ? 1 : ADAMW_8BIT_BLOCK)),
      ],
      params: [
        u32(Math.min(count * ADAMW_8BIT_BLOCK, elements - first * ADAMW_8BIT_BLOCK)),
        u32(count),
        u32(blocksPerRow),
        f32(beta1),
        f32(beta2),
        f32(eps),
        f32(weightDecay),
        u32(0),
        ...table(),
      ],
      workgroups: foldGrid(Math.ceil(count / blocksPerRow / form.rowsPerWorkgroup), target),
    };
  });
}

/** Workgroups to keep a GPU busy with; beyond them each takes several blocks, since it has to copy the maps first. */
const GPU_WORKGROUPS = 2048;

/** The maps as the kernel looks them up: values of the signed one from 0 up, its middles; values of the unsigned one, its middles. */
function table(): ParamWord[] {
  const signed = dynamicMap(true);
  const unsigned = dynamicMap(false);
  const parts = [signed.subarray(127), middlesOf(signed).subarray(127), unsigned, middlesOf(unsigned)];
  return parts.flatMap((part) => {
    const words = Array.from(part, f32);
    while (words.length % 4 !== 0) words.push(f32(1));
    return words;
  });
}
const TABLE_START = { SIGNED_VALUES: 0, SIGNED_MIDDLES: 132, UNSIGNED_VALUES: 260, UNSIGNED_MIDDLES: 516 };
const TABLE_VECTORS = 193;

function kernelCode(tensor: readonly Located[], formWgsl: string, target: Target): string {
  const vector = rowVectorWidth(elementCount(tensor[0])) === 4;
  const copy = tensor.length > 6;
  const each = [0, 1, 2, 3];
  const access = vector
    ? `alias p_t = vec4<f32>;
alias g_t = vec4<u32>;
fn inside(word: u32) -> vec4<bool> { return vec4<bool>(true); }
fn load_p(word: u32) -> vec4<f32> { return p[word]; }
fn load_g(word: u32) -> vec4<u32> { return g[word]; }
fn store_p(word: u32, value: vec4<f32>) {
  p[word] = value;
  ${copy ? "copy[word] = vec4<f16>(clamp(value, vec4<f32>(-65504.0), vec4<f32>(65504.0)));" : ""}
}`
    : `alias p_t = f32;
alias g_t = u32;
// Elements beyond the last read what it holds; the kernel leaves them out.
fn element(word: u32, i: u32) -> u32 { return min(4u * word + i, params.count - 1u); }
fn inside(word: u32) -> vec4<bool> { return vec4<u32>(4u * word) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.count); }
fn load_p(word: u32) -> vec4<f32> { return vec4<f32>(${
      each.map((i) => `p[element(word, ${i}u)]`).join(", ")
    }); }
fn load_g(word: u32) -> vec4<u32> { return vec4<u32>(${
      each.map((i) => `g[element(word, ${i}u)]`).join(", ")
    }); }
fn store_p(word: u32, value: vec4<f32>) {
  let stored = inside(word);
${
      each.map((i) =>
        `  if (stored[${i}]) { p[4u * word + ${i}u] = value[${i}];${
          copy ? ` copy[4u * word + ${i}u] = f16(clamp(value[${i}], -65504.0, 65504.0));` : ""
        } }`
      ).join("\n")
    }
}`;
  const lookups = target.software
    ? `fn lookup(i: u32) -> f32 { return params.table[i >> 2u][i & 3u]; }
fn fill_table(local: u32) {}`
    : `var<workgroup> lookup_table: array<vec4<f32>, TABLE_VECTORS>;
fn lookup(i: u32) -> f32 { return lookup_table[i >> 2u][i & 3u]; }
fn fill_table(local: u32) {
  for (var i = local; i < TABLE_VECTORS; i += WG) { lookup_table[i] = params.table[i]; }
  workgroupBarrier();
}`;
  const constants = Object.entries(TABLE_START).map(([name, start]) => `const ${name}: u32 = ${start}u;`);
  return `${formWgsl}
const WORDS_PER_LANE: u32 = ${ADAMW_8BIT_BLOCK / 4}u / LANES;
const TABLE_VECTORS: u32 = ${TABLE_VECTORS}u;
${constants.join("\n")}
${
    copy
      ? `@group(0) @binding(7) var<storage, read_write> copy: array<${vector ? "vec4<f16>" : "f16"}>;\n`
      : ""
  }${source}
${access}
${lookups}
`;
}
