import {
  type Binding,
  BINDING_ALIGNMENT,
  type Command,
  f32,
  type Kernel,
  type Located,
  u32,
  whole,
} from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { ShapeError } from "../engine/graph/op.ts";
import { foldGrid, type Target } from "../engine/graph/target.ts";
import { DTYPE_BYTES, type TensorType, typeText } from "../engine/graph/types.ts";
import { attendGradReference, attendReference } from "./attention_reference.ts";
import { type AttentionAttrs, checkAttentionInputs, qkvWidth } from "./attention_shapes.ts";
import {
  FLASH_PARAMS,
  FLASH_SUMS,
  type FlashForm,
  flashForwardCode,
  flashKeyValueGradCode,
  flashQueryGradCode,
  flashRowDotCode,
} from "./flash/text.ts";
import type { TileForm } from "./flash/tile.ts";
import type { KernelSet } from "./kernel_set.ts";
import { rowWindows, type Window, windowOf } from "./rows/windows.ts";
import type { Scratch } from "./scratch.ts";

/**
 * Softmax attention that never holds a T × T matrix:
 * `(qkv [N, (H+2K)·D], segments u32 [N]?) → (o [N, H·D], logsumexp f32 [B, H, T])`. Same result as
 * `attention`, the dropped probabilities included. Dao 2023, arXiv:2307.08691.
 */
export const flashAttention = defineOp<AttentionAttrs>({
  name: "flash_attention",
  inferTypes: ([qkv, segments], attrs) => {
    checkAttentionInputs("flash_attention", qkv, segments, attrs);
    const { batch, sequence, heads, headSize } = attrs;
    return [
      { shape: [batch * sequence, heads * headSize], dtype: qkv.dtype, name: "o" },
      { shape: [batch, heads, sequence], dtype: "f32", name: "logsumexp" },
    ];
  },
  lower: ({ inputs: [qkv, segments], outputs: [o, logsumexp], attrs, kernels }) =>
    tileCommands("flash_attention", { qkv, o }, attrs, kernels, {
      code: flashForwardCode,
      bindings: ({ qkv, o }) => [qkv, o, logsumexp, ...(segments ? [segments] : [])],
      writes: [1, 2],
      reads: ["qkv"],
      heads: attrs.heads,
      products: 2,
    }),
  vjp: ({ builder, inputs: [qkv, segments], outputs: [o, logsumexp], attrs, outGrads: [dO], needs }) => [
    dO && needs(0)
      ? builder.call(flashAttentionGrad, [qkv, o, logsumexp, dO, ...(segments ? [segments] : [])], attrs)[0]
      : undefined,
    ...(segments ? [undefined] : []),
  ],
  reference: ([qkv, segments], attrs) => {
    const { o, logsumexp } = attendReference(qkv, segments, attrs);
    return [o, logsumexp];
  },
});

/**
 * Gradient of `flashAttention`: `(qkv, o, logsumexp, dO, segments?) → (dqkv, D f32 [B, H, T] workspace)`.
 * Scores are made again from `logsumexp`. Deterministic: each gradient is summed by one invocation, in the
 * order of tokens and heads.
 */
export const flashAttentionGrad = defineOp<AttentionAttrs>({
  name: "flash_attention_grad",
  inferTypes: ([qkv, o, logsumexp, dO, segments], attrs) => {
    checkAttentionInputs("flash_attention_grad", qkv, segments, attrs);
    const { batch, sequence, heads, headSize } = attrs;
    const rows: TensorType = { shape: [batch, heads, sequence], dtype: "f32" };
    const expect = (what: string, value: TensorType, expected: TensorType) => {
      if (typeText(value) !== typeText(expected)) {
        throw new ShapeError(
          `Cannot apply flash_attention_grad to ${what} ${typeText(value)}: expected ${typeText(expected)}`,
        );
      }
    };
    expect("o", o, { shape: [batch * sequence, heads * headSize], dtype: qkv.dtype });
    expect("dO", dO, o);
    expect("logsumexp", logsumexp, rows);
    return [
      { shape: qkv.shape, dtype: qkv.dtype, name: "dqkv" },
      { ...rows, role: "workspace", name: "row_dot" },
    ];
  },
  lower: ({ inputs: [qkv, o, logsumexp, dO, segments], outputs: [dqkv, rowDot], attrs, kernels }) => {
    const bindings = ({ qkv, dO, dqkv }: Record<string, Binding>) => [
      qkv,
      dO,
      logsumexp,
      rowDot,
      dqkv,
      ...(segments ? [segments] : []),
    ];
    return [
      ...rowDotCommands(o, dO, rowDot, attrs, kernels),
      ...tileCommands("flash_attention_dkv", { qkv, dO, dqkv }, attrs, kernels, {
        code: flashKeyValueGradCode,
        bindings,
        writes: [4],
        reads: ["qkv", "dO"],
        heads: attrs.kvHeads,
        products: (4 * attrs.heads) / attrs.kvHeads,
      }),
      ...tileCommands("flash_attention_dq", { qkv, dO, dqkv }, attrs, kernels, {
        code: flashQueryGradCode,
        bindings,
        writes: [4],
        reads: ["qkv", "dO"],
        heads: attrs.heads,
        products: 3,
      }),
    ];
  },
  reference: ([qkv, o, logsumexp, dO, segments], attrs) => {
    const { batch, heads, sequence, headSize } = attrs;
    const { probabilities, slopes } = attendReference(qkv, segments, attrs);
    const rowDot = new Float64Array(logsumexp.length);
    for (let b = 0; b < batch; b++) {
      for (let h = 0; h < heads; h++) {
        for (let t = 0; t < sequence; t++) {
          for (let d = 0; d < headSize; d++) {
            const at = ((b * sequence + t) * heads + h) * headSize + d;
            rowDot[(b * heads + h) * sequence + t] += dO[at] * o[at];
          }
        }
      }
    }
    return [attendGradReference(qkv, probabilities, dO, attrs, slopes).dqkv, rowDot];
  },
});

function formOf(
  { headSize, causal, segments, dropout, window, scoreCap }: AttentionAttrs,
  dtype: string,
  { scratch, names }: Copies,
  { readsHalvesAsWords }: KernelSet,
): FlashForm {
  const copied = { names, wgsl: names.length > 0 ? scratch!.wgsl : "" };
  return {
    headSize,
    causal,
    segments,
    dropout,
    window,
    scoreCap,
    dtype,
    halvesAsWords: readsHalvesAsWords,
    copied,
  };
}

/**
 * Matrices that a kernel reads from copies, all that it reads or none, and the limits to split the batch by.
 */
interface Copies {
  scratch: Scratch | null;
  names: readonly string[];
  splitFor: Target;
}

/** What is copied of the matrices that a kernel reads: a sequence of each must fit. */
function copiesOf(
  matrices: Readonly<Record<string, Located>>,
  reads: readonly string[],
  { sequence, headSize }: AttentionAttrs,
  { scratch, target }: KernelSet,
): Copies {
  const most = (scratch?.bytes ?? 0) / reads.length;
  const fits = Object.values(matrices).every(({ shape, dtype }) =>
    sequence * shape[1] * DTYPE_BYTES[dtype] + 2 * BINDING_ALIGNMENT <= most
  );
  if (!fits || headSize % 4 !== 0) return { scratch, names: [], splitFor: target };
  const maxStorageBufferBindingSize = Math.min(target.maxStorageBufferBindingSize, most);
  return { scratch, names: reads, splitFor: { ...target, maxStorageBufferBindingSize } };
}

/** What a dispatch copies, and the words that say where. */
function placed(range: SequenceRange, { scratch, names }: Copies) {
  if (names.length === 0) return { copies: {}, words: [] };
  const copies = scratch!.place(names.map((name) => range.windows[name]));
  return { copies: { copies }, words: copies.map((_, copy) => scratch!.vectorOf(copies, copy)) };
}

/**
 * The first tile of the set that the device's workgroups hold.
 *
 * @throws {RangeError} if they are too small for all of them.
 */
function tileForm(
  name: keyof typeof FLASH_SUMS,
  headSize: number,
  { flashTiles, target }: KernelSet,
): TileForm {
  const { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupStorageSize } = target;
  const sums = FLASH_SUMS[name].length;
  const forms = flashTiles(headSize, sums);
  const fitting = forms.find((form) =>
    form.invocations <= maxComputeInvocationsPerWorkgroup &&
    form.workgroupBytes(sums) <= maxComputeWorkgroupStorageSize
  );
  if (fitting) return fitting;
  const smallest = forms.at(-1)!;
  throw new RangeError(
    `Cannot run ${name} in workgroups of ${maxComputeInvocationsPerWorkgroup} invocations and ` +
      `${maxComputeWorkgroupStorageSize} bytes: it needs ${smallest.invocations} and ${
        smallest.workgroupBytes(sums)
      }`,
  );
}

/** The big matrices of a range of sequences, as bindings. */
interface SequenceRange {
  firstBatch: number;
  batch: number;
  windows: Record<string, Window>;
}

/** Splits the batch where a matrix with a row per token would pass the binding limit. */
function sequenceRanges(
  matrices: Readonly<Record<string, Located>>,
  { batch, sequence }: AttentionAttrs,
  target: Target,
): SequenceRange[] {
  const entries = Object.entries(matrices);
  const elements = ({ shape }: Located) => sequence * shape[1];
  const bytes = entries.map(([, value]) => elements(value) * DTYPE_BYTES[value.dtype]);
  return rowWindows(batch, bytes, target, 1).map((window) => ({
    firstBatch: window.first,
    batch: window.count,
    windows: Object.fromEntries(
      entries.map(([name, value]) => [name, windowOf(value, window, elements(value))]),
    ),
  }));
}

/** The uniform block of a kernel. */
function paramWords(
  range: SequenceRange,
  attrs: AttentionAttrs,
  grid: { tiles: number; workgroups: number; gridWidth: number },
) {
  const { sequence, heads, kvHeads, headSize, dropout, softmaxScale } = attrs;
  const width = headSize % 4 === 0 ? 4 : 1;
  const { qkv, o, dO, dqkv } = range.windows;
  const first = (window: Window | undefined) => (window?.firstElement ?? 0) / width;
  const fields: Record<typeof FLASH_PARAMS[number], number> = {
    sequence,
    heads,
    groups: heads / kvHeads,
    ...grid,
    head: headSize / width,
    qkvRow: qkvWidth(attrs) / width,
    oRow: (heads * headSize) / width,
    qkvFirst: first(qkv),
    oFirst: first(o ?? dO),
    dqkvFirst: first(dqkv),
    firstBatch: range.firstBatch,
    stream: dropout?.stream ?? 0,
  };
  return [...FLASH_PARAMS.map((field) => u32(fields[field])), f32(softmaxScale)];
}

interface TileKernel {
  code: (form: FlashForm, tile: TileForm) => string;
  bindings: (windows: Record<string, Binding>) => Binding[];
  /** Which of the bindings it writes. */
  writes: readonly number[];
  /** Matrices that it reads, rather than writes. */
  reads: readonly string[];
  /** Heads that have a workgroup per tile. */
  heads: number;
  /** Products of T × T × D per head, for the profile. */
  products: number;
}

/** Dispatches of one tiled kernel: a workgroup per tile of tokens, head and sequence. */
function tileCommands(
  name: keyof typeof FLASH_SUMS,
  matrices: Readonly<Record<string, Located>>,
  attrs: AttentionAttrs,
  kernels: KernelSet,
  { code, bindings, writes, reads, heads, products }: TileKernel,
): Command[] {
  const { sequence, headSize, causal } = attrs;
  const tile = tileForm(name, headSize, kernels);
  const copied = copiesOf(matrices, reads, attrs, kernels);
  const kernel: Kernel = {
    name,
    code: cachedCode(name, formOf(attrs, matrices.qkv.dtype, copied, kernels), tile, code),
    entryPoint: name,
    writes,
    workgroupBytes: tile.workgroupBytes(FLASH_SUMS[name].length),
  };
  const tiles = Math.ceil(sequence / tile.columns);
  return sequenceRanges(matrices, attrs, copied.splitFor).map((range) => {
    const { copies, words } = placed(range, copied);
    const workgroups = tiles * heads * range.batch;
    const grid = foldGrid(workgroups, kernels.target);
    const perHead = 2 * products * sequence * sequence * headSize * (causal ? 0.5 : 1);
    return {
      kernel,
      bindings: bindings(range.windows),
      ...copies,
      params: [...paramWords(range, attrs, { tiles, workgroups, gridWidth: grid[0] }), ...words],
      workgroups: grid,
      flops: perHead * heads * range.batch,
    };
  });
}

function rowDotCommands(
  o: Located,
  dO: Located,
  rowDot: Located,
  attrs: AttentionAttrs,
  kernels: KernelSet,
): Command[] {
  const copied = copiesOf({ o, dO }, ["o", "dO"], attrs, kernels);
  const kernel = {
    name: "flash_attention_row_dot",
    code: flashRowDotCode(formOf({ ...attrs, dropout: null }, o.dtype, copied, kernels)),
    entryPoint: "flash_attention_row_dot",
    writes: [2],
  };
  return sequenceRanges({ o, dO }, attrs, copied.splitFor).map((range): Command => {
    const { copies, words } = placed(range, copied);
    const rows = range.batch * attrs.heads * attrs.sequence;
    const grid = foldGrid(Math.ceil(rows / 64), kernels.target);
    return {
      kernel,
      bindings: [range.windows.o, range.windows.dO, whole(rowDot)],
      ...copies,
      params: [
        ...paramWords(range, attrs, { tiles: rows, workgroups: grid[0] * grid[1], gridWidth: grid[0] }),
        ...words,
      ],
      workgroups: grid,
    };
  });
}

const codes = new Map<string, string>();

/** The text for a form and tile, generated once: it is long, and every layer asks for it. */
function cachedCode(
  name: string,
  form: FlashForm,
  tile: TileForm,
  codeOf: (form: FlashForm, tile: TileForm) => string,
): string {
  // The stream is a uniform: layers that differ in nothing else share a pipeline.
  const key = JSON.stringify([name, { ...form, dropout: form.dropout?.probability }, tile.name]);
  let code = codes.get(key);
  if (code === undefined) {
    code = codeOf(form, tile);
    codes.set(key, code);
  }
  return code;
}
