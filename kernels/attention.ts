import { type Binding, type Command, type Kernel, type Located, u32, whole } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { type OutputType, ShapeError } from "../engine/graph/op.ts";
import { accessOf } from "./access.ts";
import { DTYPE_BYTES, elementCount, type TensorType, typeText } from "../engine/graph/types.ts";
import { attendGradReference, attendReference } from "./attention_reference.ts";
import {
  type AttentionAttrs,
  attentionDropoutWgsl,
  checkAttentionInputs,
  PADDING_SEGMENT,
  qkvWidth,
} from "./attention_shapes.ts";
import dropoutSource from "./attention_dropout.wgsl" with { type: "text" };
import softmaxSource from "./attention_softmax.wgsl" with { type: "text" };
import softmaxGradSource from "./attention_softmax_grad.wgsl" with { type: "text" };
import { softCapWgsl } from "./soft_cap.ts";
import { matmulCommands } from "./matmul/matmul.ts";
import type { MatmulOperand } from "./matmul/product.ts";
import {
  bytesOf,
  mayBeSplit,
  meetingOperand,
  meetingType,
  partialSums,
  unusedOutputs,
} from "./matmul/partial_sums.ts";
import { rowGrid, rowVectorWidth, vectorWgsl } from "./rows/reduction.ts";
import { rowWindows, windowOf } from "./rows/windows.ts";
import type { KernelSet } from "./kernel_set.ts";

/**
 * Softmax attention that holds the probabilities: `(qkv [N, (H+2K)·D], segments u32 [N]?) → (o [N, H·D],
 * probabilities [B, H, T, T])`, both in the dtype of `qkv`; with dropout also the dropped probabilities as
 * workspace, with capped scores the slopes of the cap `[B, H, T, T]`. A query that sees no key gives zeros.
 */
export const attention = defineOp<AttentionAttrs>({
  name: "attention",
  inferTypes: ([qkv, segments], attrs) => {
    checkAttentionInputs("attention", qkv, segments, attrs);
    const { batch, sequence, heads, headSize } = attrs;
    const scores = { shape: [batch, heads, sequence, sequence], dtype: qkv.dtype };
    return [
      { shape: [batch * sequence, heads * headSize], dtype: qkv.dtype, name: "o" },
      { ...scores, name: "probabilities" },
      // Probabilities are saved without the mask: where one is dropped, its gradient still needs the value.
      ...(attrs.dropout ? [{ ...scores, role: "workspace" as const, name: "dropped" }] : []),
      ...(attrs.scoreCap !== undefined ? [{ ...scores, name: "slopes" }] : []),
      ...meetingType(headsType(qkv, attrs, heads), mayBeSplit(bytesOf(qkv) / batch)),
    ];
  },
  lower: ({ inputs: [qkv, segments], outputs: [o, probabilities, ...rest], attrs, kernels }) => {
    const dropped = attrs.dropout ? rest.shift() : undefined;
    const slopes = attrs.scoreCap !== undefined ? rest.shift() : undefined;
    const [meeting] = rest;
    const { sequence, headSize, softmaxScale } = attrs;
    const part = operands(attrs);
    return [
      ...matmulCommands({
        name: "attention_scores",
        m: sequence,
        n: sequence,
        k: headSize,
        batch: headBatch(attrs),
        a: part.q(qkv),
        b: { ...part.k(qkv), transposed: true },
        c: part.scores(probabilities),
        // Here and not in the softmax: unscaled scores would overflow f16.
        alpha: softmaxScale,
        triangle: attrs.causal ? "c" : undefined,
      }, kernels),
      ...softmaxCommands({ probabilities, dropped, slopes }, segments, attrs, kernels),
      ...matmulCommands({
        name: "attention_values",
        m: sequence,
        n: headSize,
        k: sequence,
        batch: headBatch(attrs),
        a: part.scores(dropped ?? probabilities),
        b: part.v(qkv),
        c: part.o(o),
        meeting,
        triangle: attrs.causal ? "a" : undefined,
      }, kernels),
    ];
  },
  // The segments are not needed again: masked probabilities are stored zeros.
  vjp: ({ builder, inputs: [qkv], outputs: [, probabilities, ...rest], attrs, outGrads: [dO], needs }) => {
    if (!dO || !needs(0)) return [undefined];
    const slopes = attrs.scoreCap === undefined ? [] : [rest[attrs.dropout ? 1 : 0]];
    const inputs = [qkv, probabilities, dO, ...slopes];
    return [builder.call(attentionGrad, inputs, { ...attrs, segments: false })[0]];
  },
  reference: ([qkv, segments], attrs, { outputs }) => {
    const { o, probabilities, dropped, slopes } = attendReference(qkv, segments, attrs);
    const own = [
      o,
      probabilities,
      ...(attrs.dropout ? [dropped] : []),
      ...(attrs.scoreCap === undefined ? [] : [slopes]),
    ];
    return [...own, ...unusedOutputs(outputs, own.length)];
  },
});

/**
 * Gradient of `attention`: `(qkv, probabilities, dO [N, H·D], slopes?) → (dqkv, dS [B, H, T, T] workspace)`,
 * with slopes where scores are capped. Grouped heads are summed in the order of the heads, in f32: in f16
 * they have a workspace for it.
 */
export const attentionGrad = defineOp<AttentionAttrs>({
  name: "attention_grad",
  inferTypes: ([qkv, probabilities, dO, slopes], attrs) => {
    checkAttentionInputs("attention_grad", qkv, undefined, attrs);
    const { batch, sequence, heads, headSize } = attrs;
    const expect = (what: string, value: TensorType, shape: number[]) => {
      if (typeText(value) !== typeText({ shape, dtype: qkv.dtype })) {
        throw new ShapeError(
          `Cannot apply attention_grad to ${what} ${typeText(value)}: expected ${
            typeText({ shape, dtype: qkv.dtype })
          }`,
        );
      }
    };
    expect("probabilities", probabilities, [batch, heads, sequence, sequence]);
    expect("dO", dO, [batch * sequence, heads * headSize]);
    if (attrs.scoreCap !== undefined) expect("slopes", slopes, [batch, heads, sequence, sequence]);
    return [
      { shape: qkv.shape, dtype: qkv.dtype, name: "dqkv" },
      { shape: probabilities.shape, dtype: qkv.dtype, role: "workspace", name: "dS" },
      ...gradMeetingType(qkv, dO, attrs),
    ];
  },
  lower: ({ inputs: [qkv, probabilities, dO, slopes], outputs: [dqkv, dS, meeting], attrs, kernels }) => {
    const { batch, sequence, headSize, heads, kvHeads, softmaxScale } = attrs;
    const part = operands(attrs);
    const groups = heads / kvHeads;
    /** Sums over the query heads of a group, one product after the other. */
    const overGroup = (name: string, a: MatmulOperand, b: MatmulOperand, c: MatmulOperand, alpha: number) => {
      const shape = { m: sequence, n: headSize, batch: [batch, kvHeads] };
      const stored = headOfGroup(c, 0);
      // Of f16 the heads' sums meet elsewhere.
      const meets = groups > 1 ? meeting : undefined;
      const products = Array.from({ length: groups }, (_, group) =>
        matmulCommands({
          ...shape,
          name,
          k: sequence,
          a: { ...headOfGroup(a, group), transposed: true },
          b: headOfGroup(b, group),
          c: meets ? meetingOperand(meets, shape) : stored,
          meeting: meets ? undefined : meeting,
          alpha,
          accumulate: group > 0,
          triangle: attrs.causal ? "a" : undefined,
        }, kernels)).flat();
      if (!meets) return products;
      const sums = { ...shape, partials: meets, parts: 1, c: stored, accumulate: false };
      return [...products, ...partialSums(sums, kernels.target)];
    };
    const perHead = { batch: headBatch(attrs), m: sequence };
    return [
      // dS holds the dropped probabilities first, then dP, then dS.
      ...(attrs.dropout ? dropoutCommands(probabilities, dS, attrs, kernels) : []),
      ...overGroup(
        "attention_dv",
        part.scores(attrs.dropout ? dS : probabilities),
        part.o(dO),
        part.v(dqkv),
        1,
      ),
      ...matmulCommands({
        ...perHead,
        name: "attention_dp",
        n: sequence,
        k: headSize,
        a: part.o(dO),
        b: { ...part.v(qkv), transposed: true },
        c: part.scores(dS),
        triangle: attrs.causal ? "c" : undefined,
      }, kernels),
      ...softmaxGradCommands({ probabilities, gradient: dS, slopes }, attrs, kernels),
      ...matmulCommands({
        ...perHead,
        name: "attention_dq",
        n: headSize,
        k: sequence,
        a: part.scores(dS),
        b: part.k(qkv),
        c: part.q(dqkv),
        meeting,
        alpha: softmaxScale,
        triangle: attrs.causal ? "a" : undefined,
      }, kernels),
      ...overGroup("attention_dk", part.scores(dS), part.q(qkv), part.k(dqkv), softmaxScale),
    ];
  },
  reference: ([qkv, probabilities, dO, slopes], attrs, { outputs }) => {
    const { dqkv, dS } = attendGradReference(qkv, probabilities, dO, attrs, slopes);
    return [dqkv, dS, ...unusedOutputs(outputs, 2)];
  },
});

/** So many heads of every token, one behind the other. */
function headsType(
  { dtype }: TensorType,
  { batch, sequence, headSize }: AttentionAttrs,
  heads: number,
): TensorType {
  return { shape: [batch, heads, sequence, headSize], dtype };
}

/**
 * Where parts of the gradients meet: of every head where sums over keys may be split, of every key/value head
 * where sums over queries may be, or where several heads add to one.
 */
function gradMeetingType(qkv: TensorType, dO: TensorType, attrs: AttentionAttrs): OutputType[] {
  const { batch, sequence, heads, kvHeads } = attrs;
  const split = mayBeSplit(bytesOf(qkv) / batch);
  const apart = split || heads > kvHeads || mayBeSplit(bytesOf(dO) / batch) ||
    mayBeSplit(sequence * sequence * DTYPE_BYTES[qkv.dtype]);
  return meetingType(headsType(qkv, attrs, split ? heads : kvHeads), apart);
}

/** Batch dimensions of the products: sequence, key/value head, query head of its group. */
function headBatch({ batch, heads, kvHeads }: AttentionAttrs): number[] {
  return [batch, kvHeads, heads / kvHeads];
}

/** The operands of the products, as slices of the values that hold them. */
function operands(attrs: AttentionAttrs) {
  const { sequence: t, heads, kvHeads, headSize: d } = attrs;
  const groups = heads / kvHeads;
  const width = qkvWidth(attrs);
  const q = (value: Located): MatmulOperand => ({ value, ld: width, strides: [t * width, groups * d, d] });
  const shared = (value: Located, offset: number): MatmulOperand => ({
    value,
    offset,
    ld: width,
    strides: [t * width, d, 0],
  });
  return {
    q,
    k: (value: Located) => shared(value, heads * d),
    v: (value: Located) => shared(value, (heads + kvHeads) * d),
    o: (value: Located): MatmulOperand => ({ value, ld: heads * d, strides: [t * heads * d, groups * d, d] }),
    scores: (value: Located): MatmulOperand => ({
      value,
      ld: t,
      strides: [heads * t * t, groups * t * t, t * t],
    }),
  };
}

/** The operand without its group dimension, at one query head of each group. */
function headOfGroup(operand: MatmulOperand, group: number): MatmulOperand {
  const [sequence, head, inGroup] = operand.strides!;
  return { ...operand, offset: (operand.offset ?? 0) + group * inGroup, strides: [sequence, head] };
}

/** WGSL of `keepScale(row, i)`: what dropout multiplies vector `i` of a row of probabilities with. */
function keepScaleWgsl(width: 1 | 4, attrs: AttentionAttrs): string {
  if (!attrs.dropout) return "fn keepScale(row: u32, i: u32) -> vec_t { return vec_t(1.0); }";
  const [group, component] = width === 4 ? ["i", ""] : ["i / 4u", "[i % 4u]"];
  return `${attentionDropoutWgsl(attrs)}
fn keepScale(row: u32, i: u32) -> vec_t {
  let scales = dropoutScale(params.stream, row, params.sequence, ${group});
  return scales${component};
}`;
}

/** WGSL of `visible(sequenceStart, query, columns)`: which keys a query sees. */
function visibleWgsl(width: 1 | 4, { causal, segments, window }: AttentionAttrs): string {
  const tests = [causal ? "(columns <= index_t(query))" : "mask_t(true)"];
  if (window !== undefined) tests.push(`(columns + index_t(${window}u) > index_t(query))`);
  const lines = [];
  if (segments) {
    const at = (i: string) => width === 4 ? `segments[(${i}) >> 2u][(${i}) & 3u]` : `segments[${i}]`;
    lines.push(
      `  let own = index_t(${at("sequenceStart + query")});`,
      `  let theirs = segments[(sequenceStart + ${width === 4 ? "columns.x" : "columns"}) / WIDTH];`,
    );
    tests.push("(theirs == own)", `(theirs != index_t(${PADDING_SEGMENT}u))`);
  }
  return `fn visible(sequenceStart: u32, query: u32, columns: index_t) -> mask_t {
${lines.join("\n")}
  return ${tests.join(" & ")};
}`;
}

/** A kernel over rows of matrices, which it reads and writes by these names. */
interface RowKernel {
  name: string;
  source: string;
  reads: readonly string[];
  /** Those of `reads` that may be loaded from copies. */
  copied: readonly string[];
  writes: readonly string[];
  /** Whether its invocations reduce a row together. */
  reduces: boolean;
}

/** The matrices of a row kernel: the first alone, or with others. */
type Matrices = Readonly<Record<string, Located | undefined>>;

/** One row kernel over `[B·H·T, T]` matrices, split where a range of rows would pass the binding limit. */
function rowCommands(
  kernel: RowKernel,
  matrices: Matrices,
  segments: Located | undefined,
  attrs: AttentionAttrs,
  kernels: KernelSet,
  withSequenceRows: boolean,
): Command[] {
  const { sequence, heads } = attrs;
  const given = Object.entries(matrices).filter((entry): entry is [string, Located] =>
    entry[1] !== undefined
  );
  const matrixNames = given.map(([name]) => name);
  const values = given.map(([, value]) => value);
  const width = rowVectorWidth(sequence);
  const form = kernels.rowForm(sequence / width);
  const names = [
    ...matrixNames.map((name) => [name, `${name}_t`]),
    ...(segments ? [["segments", "index_t"]] : []),
  ];
  const rowBytes = sequence * DTYPE_BYTES[values[0].dtype];
  const access = accessOf(
    given.map(([name, { dtype }]) => ({
      name,
      dtype,
      reads: kernel.reads.includes(name),
      writes: kernel.writes.includes(name),
      copied: kernel.copied.includes(name),
    })),
    { width, leastBytes: rowBytes },
    kernels,
  );
  const code = [
    vectorWgsl(width),
    form.wgsl,
    ...names.map(([name, type], i) =>
      `@group(0) @binding(${i}) var<storage, read_write> ${name}: array<${type}>;`
    ),
    `const CAUSAL = ${attrs.causal};`,
    visibleWgsl(width, { ...attrs, segments: segments !== undefined }),
    keepScaleWgsl(width, attrs),
    `fn storeDropped(row: u32, start: u32, i: u32, p: vec_t) {
  ${matrices.dropped ? "store_dropped(start + i, p * keepScale(row, i));" : ""}
}`,
    softCapWgsl(attrs.scoreCap),
    slopesWgsl(kernel, matrices),
    access.code(kernel.source),
  ].join("\n");
  const rows = elementCount(values[0]) / sequence;
  const slots = (of: readonly string[]) => of.map((name) => matrixNames.indexOf(name));
  const launched: Kernel = {
    name: kernel.name,
    code,
    entryPoint: kernel.name,
    writes: slots(kernel.writes),
    workgroupBytes: kernel.reduces ? form.workgroupBytes : 0,
  };
  return rowWindows(rows, [rowBytes], access.target, 1).map(({ first, count }) => {
    const windows = values.map((value) => windowOf(value, { first, count }, sequence));
    const bindings: Binding[] = segments ? [...windows, whole(segments)] : windows;
    const firstOf = (name: string) => (windows[matrixNames.indexOf(name)]?.firstElement ?? 0) / width;
    return {
      kernel: launched,
      bindings,
      ...access.of(
        access.copied.map((slot) => windows[slot]),
        [
          count,
          first,
          sequence,
          ...(withSequenceRows ? [heads * sequence] : []),
          firstOf("probabilities"),
          firstOf(matrices.gradient ? "gradient" : "dropped"),
          attrs.dropout?.stream ?? 0,
          firstOf("slopes"),
        ].map(u32),
      ),
      workgroups: rowGrid(count, form, kernels.target),
    };
  });
}

/** WGSL that stores slopes of the cap on scores, or multiplies gradients with them. */
function slopesWgsl({ reads, writes }: RowKernel, { slopes }: Matrices): string {
  const stored = slopes && writes.includes("slopes") ? "store_slopes(at, slope);" : "";
  const factor = slopes && reads.includes("slopes") ? " * load_slopes(at)" : "";
  return `fn storeSlopes(at: u32, slope: vec_t) { ${stored} }
fn sloped(d: vec_t, at: u32) -> vec_t { return d${factor}; }`;
}

function softmaxCommands(
  matrices: { probabilities: Located; dropped: Located | undefined; slopes: Located | undefined },
  segments: Located | undefined,
  attrs: AttentionAttrs,
  kernels: KernelSet,
): Command[] {
  return rowCommands(
    {
      name: "attention_softmax",
      source: softmaxSource,
      reads: ["probabilities"],
      copied: ["probabilities"],
      writes: (["probabilities", "dropped", "slopes"] as const).filter((name) => matrices[name]),
      reduces: true,
    },
    { ...matrices },
    segments,
    attrs,
    kernels,
    true,
  );
}

function dropoutCommands(
  probabilities: Located,
  dropped: Located,
  attrs: AttentionAttrs,
  kernels: KernelSet,
): Command[] {
  const kernel = {
    name: "attention_dropout",
    source: dropoutSource,
    reads: ["probabilities"],
    copied: [],
    writes: ["dropped"],
    reduces: false,
  };
  return rowCommands(kernel, { probabilities, dropped }, undefined, attrs, kernels, false);
}

function softmaxGradCommands(
  matrices: { probabilities: Located; gradient: Located; slopes: Located | undefined },
  attrs: AttentionAttrs,
  kernels: KernelSet,
): Command[] {
  const kernel = {
    name: "attention_softmax_grad",
    source: softmaxGradSource,
    reads: ["probabilities", "gradient", ...matrices.slopes ? ["slopes"] : []],
    copied: ["probabilities", "gradient"],
    writes: ["gradient"],
    reduces: true,
  };
  return rowCommands(kernel, { ...matrices }, undefined, attrs, kernels, false);
}
