import { type Command, type Located, u32, whole } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { type OutputType, ShapeError } from "../engine/graph/op.ts";
import { foldGrid, type Target } from "../engine/graph/target.ts";
import { accessOf } from "./access.ts";
import { type TensorType, typeText } from "../engine/graph/types.ts";
import biasGradSource from "./cross_entropy_bias_grad.wgsl" with { type: "text" };
import rowsSource from "./cross_entropy.wgsl" with { type: "text" };
import sumSource from "./cross_entropy_sum.wgsl" with { type: "text" };
import { LARGE_WORKGROUPS_AT_ONCE } from "./matmul/tiles.ts";
import { matmulCommands } from "./matmul/matmul.ts";
import type { MatmulOperand, MatmulSpec } from "./matmul/product.ts";
import { splitTermsCommands } from "./matmul/split_terms.ts";
import { bytesOf, mayBeSplit } from "./matmul/partial_sums.ts";
import type { KernelSet } from "./kernel_set.ts";
import { rowGrid, vectorWgsl } from "./rows/reduction.ts";
import { rowWindows, windowOf } from "./rows/windows.ts";
import { cappedReference, capSlopeReference, softCapWgsl } from "./soft_cap.ts";

export interface LinearCrossEntropyAttrs {
  /** Rows whose logits exist at the same time. */
  chunkRows: number;
  /** Whether the weight is stored `[V, C]`, as tied embeddings are, rather than `[C, V]`. */
  transposedWeight: boolean;
  /** Whether the last input is a bias `[V]`. */
  bias: boolean;
  /** Logits become cap · tanh(logit / cap); default uncapped. */
  logitCap?: number;
}

export interface LinearCrossEntropyGradAttrs extends LinearCrossEntropyAttrs {
  /** Which gradients are outputs, in the order input, weight, bias. */
  inputGrad: boolean;
  weightGrad: boolean;
  biasGrad: boolean;
  /** Which earlier gradients are inputs, to be added to in place. */
  weightPrior: boolean;
  biasPrior: boolean;
}

/** Target of a row that does not count. */
export const IGNORED_TARGET = -100;

/**
 * Rows per chunk: as many as fit 64 MiB of logits, in multiples of 128 so that the products' tiles are full,
 * at least 128 and at most all.
 *
 * One rule and no tuning knob: each chunk reads the weight twice and its gradient
 * once, and writes that, 16 bytes for 6 · rows operations, which a few hundred
 * rows hide on a GPU; and 64 MiB is far below the memory of `[N, V]`.
 */
export function crossEntropyChunkRows(rows: number, vocabularySize: number): number {
  const fitting = Math.floor((64 * 2 ** 20) / (4 * leadingColumns(vocabularySize)));
  return Math.min(rows, Math.max(128, Math.floor(fitting / 128) * 128));
}

/** Terms that a part of the input's gradient sums at least. */
const LEAST_TERMS = 2048;

/**
 * Parts into which a GPU splits the vocabulary where the gradient of the input sums over it: few rows of C
 * channels alone have fewer tiles than a GPU has cores. As many as make one wave of the largest tiles.
 */
function inputGradParts(vocabulary: number, rows: number, channels: number): number {
  const tiles = Math.ceil(rows / 128) * Math.ceil(channels / 128);
  return Math.max(
    1,
    Math.min(Math.floor(vocabulary / LEAST_TERMS), Math.floor(LARGE_WORKGROUPS_AT_ONCE / tiles)),
  );
}

/**
 * Cross-entropy of a linear layer's logits, which never exist as a whole: `(x [N, C], w [V, C] or [C, V],
 * targets i32 [N], loss f32 [1], bias [V]?) → loss`, to which the sum over rows with a target other than −100
 * is added in place. Workspace: logits of a chunk, losses of all rows.
 *
 * Its gradient node makes the loss too (Liger Kernel, arXiv:2410.10989), so that
 * the logits are computed once.
 */
export const linearCrossEntropy = defineOp<LinearCrossEntropyAttrs>({
  name: "linear_cross_entropy",
  gradientReplacesForward: true,
  inferTypes: (inputs, attrs) => {
    checkInputs("linear_cross_entropy", inputs, attrs);
    return [{ ...inputs[3], aliasOfInput: 3, name: "loss" }, ...workspaces(inputs, attrs)];
  },
  lower: ({ inputs, outputs: [loss, logits, rowLosses], attrs, kernels }) => {
    const [x, w, targets] = inputs;
    const bias = attrs.bias ? inputs[4] : undefined;
    return [
      ...chunks(x.shape[0], attrs).flatMap(({ first, count }) => [
        ...logitsCommands(x, w, bias, logits, first, count, attrs, kernels),
        ...rowCommands(logits, targets, rowLosses, w, first, count, attrs, false, kernels),
      ]),
      sumCommand(rowLosses, loss, kernels),
    ];
  },
  vjp: ({ builder, inputs, attrs, needs, takePrior }) => {
    const [inputGrad, weightGrad] = [needs(0), needs(1)];
    const biasGrad = attrs.bias && needs(4);
    const priors = [weightGrad ? takePrior(1) : undefined, biasGrad ? takePrior(4) : undefined];
    const outputs = builder.call(linearCrossEntropyGrad, [...inputs, ...priors.filter((prior) => !!prior)], {
      ...attrs,
      inputGrad,
      weightGrad,
      biasGrad,
      weightPrior: !!priors[0],
      biasPrior: !!priors[1],
    });
    let next = 1;
    const take = (present: boolean) => present ? outputs[next++] : undefined;
    return [take(inputGrad), take(weightGrad), undefined, undefined, ...(attrs.bias ? [take(biasGrad)] : [])];
  },
  reference: ([x, w, targets, loss, bias], attrs, { inputs: [xType, wType] }) => {
    const [rows, channels] = xType.shape;
    const vocabulary = wType.shape[attrs.transposedWeight ? 0 : 1];
    let total = loss[0];
    const rowLosses = new Float64Array(rows);
    for (let n = 0; n < rows; n++) {
      if (targets[n] === IGNORED_TARGET) continue;
      const logits = rowLogitsReference(x, w, bias, n, channels, vocabulary, attrs);
      rowLosses[n] = logsumexpReference(logits) - logits[targets[n]];
      total += rowLosses[n];
    }
    return [
      Float64Array.of(total),
      new Float64Array(Math.min(attrs.chunkRows, rows) * leadingColumns(vocabulary)),
      rowLosses,
    ];
  },
});

/**
 * Loss and gradients of `linearCrossEntropy` together:
 * `(x, w, targets, loss, bias?, prior dw?, prior db?) → (loss, dx?, dw f32?, db f32?)`. The gradient of the
 * logits is `(softmax − onehot) · step.gradientScale` and takes the place of the logits, chunk by chunk; dw
 * and db add up over chunks in f32.
 */
export const linearCrossEntropyGrad = defineOp<LinearCrossEntropyGradAttrs>({
  name: "linear_cross_entropy_grad",
  inferTypes: (inputs, attrs) => {
    checkInputs("linear_cross_entropy_grad", inputs, attrs);
    const [x, w] = inputs;
    const parameterGrad = (parameter: TensorType, prior: number | undefined, name: string): OutputType => {
      const type: TensorType = { shape: parameter.shape, dtype: "f32" };
      if (prior === undefined) return { ...type, role: "gradients", name };
      if (!inputs[prior] || typeText(inputs[prior]) !== typeText(type)) {
        throw new ShapeError(
          `Cannot add ${name} ${typeText(type)} to ${inputs[prior] ? typeText(inputs[prior]) : "nothing"}`,
        );
      }
      return { ...type, aliasOfInput: prior, name };
    };
    const { weightPrior, biasPrior } = priorInputs(attrs);
    return [
      { ...inputs[3], aliasOfInput: 3, name: "loss" },
      ...(attrs.inputGrad
        ? [{ shape: x.shape, dtype: x.dtype, role: "workspace" as const, name: "dx" }]
        : []),
      ...(attrs.weightGrad ? [parameterGrad(w, weightPrior, "dw")] : []),
      ...(attrs.biasGrad ? [parameterGrad(inputs[4], biasPrior, "db")] : []),
      ...workspaces(inputs, attrs),
      ...partialsType(inputs, attrs),
    ];
  },
  lower: ({ inputs, outputs, attrs, kernels }) => {
    const [x, w, targets] = inputs;
    const bias = attrs.bias ? inputs[4] : undefined;
    const rest = outputs.slice(1);
    const dx = attrs.inputGrad ? rest.shift() : undefined;
    const dw = attrs.weightGrad ? rest.shift() : undefined;
    const db = attrs.biasGrad ? rest.shift() : undefined;
    const [logits, rowLosses, partials] = rest;
    return [
      ...chunks(x.shape[0], attrs).flatMap(({ first, count }) => [
        ...logitsCommands(x, w, bias, logits, first, count, attrs, kernels),
        ...rowCommands(logits, targets, rowLosses, w, first, count, attrs, true, kernels),
        ...(dx ? inputGradCommands(logits, w, dx, partials, first, count, attrs, kernels) : []),
        ...(dw
          ? weightGradCommands(logits, x, dw, first, count, attrs.weightPrior || first > 0, attrs, kernels)
          : []),
        ...(db ? biasGradCommands(logits, db, count, attrs.biasPrior || first > 0, kernels.target) : []),
      ]),
      sumCommand(rowLosses, outputs[0], kernels),
    ];
  },
  reference: (inputs, attrs, { inputs: [xType, wType] }) => {
    const [x, w, targets, loss] = inputs;
    const bias = attrs.bias ? inputs[4] : undefined;
    const [rows, channels] = xType.shape;
    const vocabulary = wType.shape[attrs.transposedWeight ? 0 : 1];
    const { weightPrior, biasPrior } = priorInputs(attrs);
    const dx = new Float64Array(x.length);
    const dw = weightPrior === undefined ? new Float64Array(w.length) : inputs[weightPrior].slice();
    const db = biasPrior === undefined ? new Float64Array(vocabulary) : inputs[biasPrior].slice();
    let total = loss[0];
    const rowLosses = new Float64Array(rows);
    for (let n = 0; n < rows; n++) {
      if (targets[n] === IGNORED_TARGET) continue;
      const logits = rowLogitsReference(x, w, bias, n, channels, vocabulary, attrs);
      const logsumexp = logsumexpReference(logits);
      rowLosses[n] = logsumexp - logits[targets[n]];
      total += rowLosses[n];
      for (let v = 0; v < vocabulary; v++) {
        const dz = (Math.exp(logits[v] - logsumexp) - (v === targets[n] ? 1 : 0)) *
          capSlopeReference(logits[v], attrs.logitCap); // step.gradientScale = 1
        db[v] += dz;
        for (let c = 0; c < channels; c++) {
          const at = attrs.transposedWeight ? v * channels + c : c * vocabulary + v;
          dx[n * channels + c] += dz * w[at];
          dw[at] += dz * x[n * channels + c];
        }
      }
    }
    return [
      Float64Array.of(total),
      ...(attrs.inputGrad ? [dx] : []),
      ...(attrs.weightGrad ? [dw] : []),
      ...(attrs.biasGrad ? [db] : []),
      new Float64Array(Math.min(attrs.chunkRows, rows) * leadingColumns(vocabulary)),
      rowLosses,
      ...partialsType([xType, wType], attrs).map(({ shape }) => new Float64Array(shape[0] * shape[1])),
    ];
  },
});

function rowLogitsReference(
  x: Float64Array,
  w: Float64Array,
  bias: Float64Array | undefined,
  n: number,
  channels: number,
  vocabulary: number,
  { transposedWeight, logitCap }: LinearCrossEntropyAttrs,
): number[] {
  const logits = [];
  for (let v = 0; v < vocabulary; v++) {
    let logit = bias ? bias[v] : 0;
    for (let c = 0; c < channels; c++) {
      logit += x[n * channels + c] * w[transposedWeight ? v * channels + c : c * vocabulary + v];
    }
    logits.push(cappedReference(logit, logitCap));
  }
  return logits;
}

function logsumexpReference(logits: readonly number[]): number {
  const highest = logits.reduce((a, b) => Math.max(a, b));
  return highest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - highest), 0));
}

/** Columns of the logits' workspace: a whole number of vectors. */
function leadingColumns(vocabulary: number): number {
  return Math.ceil(vocabulary / 4) * 4;
}

function vocabularyOf(w: TensorType, { transposedWeight }: LinearCrossEntropyAttrs): number {
  return w.shape[transposedWeight ? 0 : 1];
}

/** Indices of the earlier gradients among the inputs. */
function priorInputs({ bias, weightPrior, biasPrior }: LinearCrossEntropyGradAttrs) {
  const first = bias ? 5 : 4;
  return {
    weightPrior: weightPrior ? first : undefined,
    biasPrior: biasPrior ? first + (weightPrior ? 1 : 0) : undefined,
  };
}

function checkInputs(name: string, inputs: readonly TensorType[], attrs: LinearCrossEntropyAttrs): void {
  const [x, w, targets, loss] = inputs;
  const channels = w.shape[attrs.transposedWeight ? 1 : 0];
  if (x.shape.length !== 2 || w.shape.length !== 2 || x.shape[1] !== channels) {
    const expected = attrs.transposedWeight ? "[N, C] and [V, C]" : "[N, C] and [C, V]";
    throw new ShapeError(
      `Cannot apply ${name} to x ${typeText(x)} and w ${typeText(w)}: expected ${expected}`,
    );
  }
  const expect = (what: string, value: TensorType | undefined, text: string) => {
    if (!value || typeText(value) !== text) {
      throw new ShapeError(
        `Cannot apply ${name} to ${what} ${value ? typeText(value) : "missing"}: expected ${text}`,
      );
    }
  };
  expect("targets", targets, `i32[${x.shape[0]}]`);
  expect("loss", loss, "f32[1]");
  if (attrs.bias) expect("bias", inputs[4], `${inputs[4]?.dtype}[${vocabularyOf(w, attrs)}]`);
  if (!(Number.isInteger(attrs.chunkRows) && attrs.chunkRows > 0)) {
    throw new RangeError(
      `Cannot apply ${name} to chunks of ${attrs.chunkRows} rows: expected a positive whole number`,
    );
  }
}

function workspaces([x, w]: readonly TensorType[], attrs: LinearCrossEntropyAttrs): OutputType[] {
  const rows = Math.min(attrs.chunkRows, x.shape[0]);
  return [
    {
      shape: [rows, leadingColumns(vocabularyOf(w, attrs))],
      dtype: "f32",
      role: "workspace",
      name: "logits",
    },
    { shape: [x.shape[0]], dtype: "f32", role: "workspace", name: "row_losses" },
  ];
}

/** Where the parts of the input's gradient meet, if it has or may have any. */
function partialsType([x, w]: readonly TensorType[], attrs: LinearCrossEntropyGradAttrs): OutputType[] {
  const rows = Math.min(attrs.chunkRows, x.shape[0]);
  const parts = inputGradParts(vocabularyOf(w, attrs), rows, x.shape[1]);
  const apart = parts > 1 || (x.dtype === "f16" && attrs.transposedWeight && mayBeSplit(bytesOf(w)));
  if (!attrs.inputGrad || !apart) return [];
  return [{ shape: [parts, rows * x.shape[1]], dtype: "f32", role: "workspace", name: "dx_parts" }];
}

function chunks(rows: number, { chunkRows }: LinearCrossEntropyAttrs): { first: number; count: number }[] {
  return Array.from({ length: Math.ceil(rows / chunkRows) }, (_, i) => ({
    first: i * chunkRows,
    count: Math.min(chunkRows, rows - i * chunkRows),
  }));
}

function logitsOperand(logits: Located): MatmulOperand {
  return { value: logits, ld: logits.shape[1], padded: true };
}

function logitsCommands(
  x: Located,
  w: Located,
  bias: Located | undefined,
  logits: Located,
  first: number,
  count: number,
  attrs: LinearCrossEntropyAttrs,
  kernels: KernelSet,
): Command[] {
  const channels = x.shape[1];
  return matmulCommands({
    name: "cross_entropy_logits",
    m: count,
    n: vocabularyOf(w, attrs),
    k: channels,
    a: { value: x, offset: first * channels, ld: channels },
    b: { value: w, ld: w.shape[1], transposed: attrs.transposedWeight },
    c: logitsOperand(logits),
    bias,
  }, kernels);
}

function inputGradCommands(
  logits: Located,
  w: Located,
  dx: Located,
  partials: Located | undefined,
  first: number,
  count: number,
  attrs: LinearCrossEntropyAttrs,
  kernels: KernelSet,
): Command[] {
  const channels = dx.shape[1];
  const product: MatmulSpec = {
    name: "cross_entropy_dx",
    m: count,
    n: channels,
    k: vocabularyOf(w, attrs),
    a: logitsOperand(logits),
    b: { value: w, ld: w.shape[1], transposed: !attrs.transposedWeight },
    c: { value: dx, offset: first * channels, ld: channels },
  };
  return partials ? splitTermsCommands({ ...product, partials }, kernels) : matmulCommands(product, kernels);
}

function weightGradCommands(
  logits: Located,
  x: Located,
  dw: Located,
  first: number,
  count: number,
  accumulate: boolean,
  attrs: LinearCrossEntropyAttrs,
  kernels: KernelSet,
): Command[] {
  const channels = x.shape[1];
  const dz: MatmulOperand = logitsOperand(logits);
  const rows: MatmulOperand = { value: x, offset: first * channels, ld: channels };
  const [left, right] = attrs.transposedWeight ? [dz, rows] : [rows, dz];
  return matmulCommands({
    name: "cross_entropy_dw",
    m: dw.shape[0],
    n: dw.shape[1],
    k: count,
    a: { ...left, transposed: true },
    b: right,
    c: { value: dw, ld: dw.shape[1] },
    accumulate,
  }, kernels);
}

function rowCommands(
  logits: Located,
  targets: Located,
  rowLosses: Located,
  w: Located,
  firstRow: number,
  rows: number,
  attrs: LinearCrossEntropyAttrs,
  gradient: boolean,
  kernels: KernelSet,
): Command[] {
  const leading = logits.shape[1];
  const form = kernels.rowForm(leading / 4);
  const access = accessOf([{ name: "logits", dtype: "f32", reads: true, writes: true }], {
    width: 4,
    leastBytes: leading * 4,
  }, kernels);
  const code = [
    vectorWgsl(4),
    form.wgsl,
    softCapWgsl(attrs.logitCap),
    `const GRADIENT = ${gradient};`,
    access.code(rowsSource),
  ].join("\n");
  return rowWindows(rows, [leading * 4], access.target, 1).map(({ first, count }) => {
    const window = windowOf(logits, { first, count }, leading);
    return {
      kernel: {
        name: gradient ? "cross_entropy_grad" : "cross_entropy",
        code,
        entryPoint: "cross_entropy",
        writes: gradient ? [0, 2] : [2],
        workgroupBytes: form.workgroupBytes,
      },
      bindings: [window, whole(targets), whole(rowLosses)],
      ...access.of(
        [window],
        [count, firstRow + first, vocabularyOf(w, attrs), leading / 4, window.firstElement / 4].map(u32),
      ),
      workgroups: rowGrid(count, form, kernels.target),
    };
  });
}

function sumCommand(rowLosses: Located, loss: Located, kernels: KernelSet): Command {
  const rows = rowLosses.shape[0];
  const form = kernels.rowForm(rows);
  return {
    kernel: {
      name: "cross_entropy_sum",
      code: `${form.wgsl}\n${sumSource}`,
      entryPoint: "cross_entropy_sum",
      writes: [1],
      workgroupBytes: form.workgroupBytes,
    },
    bindings: [whole(rowLosses), whole(loss)],
    params: [u32(rows)],
    workgroups: [1, 1, 1],
  };
}

function biasGradCommands(
  logits: Located,
  db: Located,
  rows: number,
  accumulate: boolean,
  target: Target,
): Command[] {
  const [vocabulary, leading] = [db.shape[0], logits.shape[1]];
  return rowWindows(rows, [leading * 4], target, 1).map(({ first, count }) => {
    const window = windowOf(logits, { first, count }, leading);
    return {
      kernel: {
        name: "cross_entropy_bias_grad",
        code: `const ACCUMULATE = ${accumulate || first > 0};\n${biasGradSource}`,
        entryPoint: "cross_entropy_bias_grad",
        writes: [1],
      },
      bindings: [window, whole(db)],
      params: [count, vocabulary, leading, window.firstElement].map(u32),
      workgroups: foldGrid(Math.ceil(vocabulary / 64), target),
    };
  });
}
