import type { Located } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { type OutputType, ShapeError } from "../engine/graph/op.ts";
import { type TensorType, typeText, type Value } from "../engine/graph/types.ts";
import { columnSum } from "./column_sum.ts";
import { matmulCommands } from "./matmul/matmul.ts";
import type { MatmulSpec } from "./matmul/product.ts";
import { bytesOf, mayBeSplit, meetingType, unusedOutputs } from "./matmul/partial_sums.ts";

/** Attributes of `linear`. */
export interface LinearAttrs {
  /** The weight is [Cout, Cin] (torch.nn.Linear) instead of [Cin, Cout] (GPT-2's Conv1D). */
  transposedWeight: boolean;
  /** Whether a bias [Cout] follows the weight in the inputs. */
  bias: boolean;
  /** Whether a residual [N, Cout], added to the product, is the last input. */
  residual: boolean;
}

/** Attributes of the gradient of `linear` by its input. */
export type LinearGradAttrs = Pick<LinearAttrs, "transposedWeight">;

/**
 * Attributes of the gradient of `linear` by its weight, and by its bias where it has one that is trained too.
 */
export type LinearWeightGradAttrs = Pick<LinearAttrs, "transposedWeight" | "bias">;

/** `[Cin, Cout]` of a weight. */
function widths(w: TensorType, transposedWeight: boolean): [number, number] {
  return transposedWeight ? [w.shape[1], w.shape[0]] : [w.shape[0], w.shape[1]];
}

/** Where bias and residual stand among the inputs, −1 where they do not. */
function places({ bias, residual }: LinearAttrs): { bias: number; residual: number } {
  return { bias: bias ? 2 : -1, residual: residual ? 2 + Number(bias) : -1 };
}

function requireMatrices(op: string, ...types: TensorType[]): void {
  for (const type of types) {
    if (type.shape.length === 2) continue;
    throw new ShapeError(
      `Cannot apply ${op} to ${types.map(typeText).join(" and ")}: expected two dimensions each`,
    );
  }
}

/** The product of `linear` on its inputs. @param meeting The workspace that it may have. */
export function linearProduct(
  inputs: readonly Located[],
  y: Located,
  meeting: Located | undefined,
  attrs: LinearAttrs,
): MatmulSpec {
  const [x, w] = inputs;
  const place = places(attrs);
  const [cIn, cOut] = widths(w, attrs.transposedWeight);
  return {
    name: "linear",
    m: x.shape[0],
    n: cOut,
    k: cIn,
    a: { value: x, ld: cIn },
    b: { value: w, ld: w.shape[1], transposed: attrs.transposedWeight },
    c: { value: y, ld: cOut },
    meeting,
    bias: inputs[place.bias],
    residual: inputs[place.residual],
  };
}

/** The product of `linearInputGrad`, without a prior. @param meeting The workspace that it may have. */
export function linearInputProduct(
  dy: Located,
  w: Located,
  dx: Located,
  meeting: Located | undefined,
  { transposedWeight }: LinearGradAttrs,
): MatmulSpec {
  const [cIn, cOut] = widths(w, transposedWeight);
  return {
    name: "linear_input_grad",
    m: dy.shape[0],
    n: cIn,
    k: cOut,
    a: { value: dy, ld: cOut },
    b: { value: w, ld: w.shape[1], transposed: !transposedWeight },
    c: { value: dx, ld: cIn },
    meeting,
  };
}

/**
 * Affine map of rows: `(x [N, Cin], w, bias? [Cout], residual? [N, Cout]) → y [N, Cout]` with
 * y = x · w (+ bias) (+ residual), in the dtype of x; sums are f32. An f16 y of a weight past the least
 * binding limit has a workspace beside it, where parts of the sums meet.
 */
export const linear = defineOp<LinearAttrs>({
  name: "linear",
  inferTypes: (inputs, attrs) => {
    const [x, w] = inputs;
    const place = places(attrs);
    const expected = 2 + Number(attrs.bias) + Number(attrs.residual);
    if (inputs.length !== expected) {
      throw new ShapeError(
        `Cannot apply linear to ${inputs.length} inputs: expected ${expected} with these attributes`,
      );
    }
    requireMatrices("linear", x, w);
    const [cIn, cOut] = widths(w, attrs.transposedWeight);
    if (x.shape[1] !== cIn) {
      throw new ShapeError(
        `Cannot apply linear to x [${x.shape}] and w [${w.shape}]: expected x [N, ${cIn}]`,
      );
    }
    const bias = inputs[place.bias];
    if (bias && !(bias.shape.length === 1 && bias.shape[0] === cOut)) {
      throw new ShapeError(
        `Cannot add bias [${bias.shape}] to linear with w [${w.shape}]: expected [${cOut}]`,
      );
    }
    const shape = [x.shape[0], cOut];
    const residual = inputs[place.residual];
    if (
      residual && !(residual.shape.length === 2 && residual.shape.every((extent, d) => extent === shape[d]))
    ) {
      throw new ShapeError(`Cannot add residual [${residual.shape}] to linear: expected [${shape}]`);
    }
    const y: TensorType = { shape, dtype: x.dtype };
    return [y, ...meetingType(y, !attrs.transposedWeight && mayBeSplit(bytesOf(w)))];
  },
  lower: ({ inputs, outputs: [y, meeting], attrs, kernels }) =>
    matmulCommands(linearProduct(inputs, y, meeting, attrs), kernels),
  vjp: ({ builder, inputs, attrs, outGrads: [dy], needs, takePrior }) => {
    const gradients: (Value | undefined)[] = inputs.map(() => undefined);
    if (!dy) return gradients;
    const { transposedWeight } = attrs;
    const place = places(attrs);
    const priors = (...places: number[]) => places.map(takePrior).filter((value) => value !== undefined);
    const needsBias = attrs.bias && needs(place.bias);
    // All readers of dy stand here, so that whatever takes dy over in place comes later.
    const weightPrior = needs(1) ? priors(1) : [];
    const biasPrior = needsBias ? priors(place.bias) : [];
    // One kernel makes both and reads dy once, unless only one of them is added to something.
    const bias = needs(1) && needsBias && weightPrior.length === biasPrior.length;
    if (needs(1)) {
      const operands = [inputs[0], dy, ...weightPrior, ...bias ? biasPrior : []];
      const [dw, db] = builder.call(linearWeightGrad, operands, { transposedWeight, bias });
      gradients[1] = dw;
      if (bias) gradients[place.bias] = db;
    }
    if (needsBias && !bias) [gradients[place.bias]] = builder.call(columnSum, [dy, ...biasPrior], {});
    if (needs(0)) {
      [gradients[0]] = builder.call(linearInputGrad, [dy, inputs[1], ...priors(0)], { transposedWeight });
    }
    if (attrs.residual && needs(place.residual)) gradients[place.residual] = dy;
    return gradients;
  },
  reference: (inputs, attrs, { inputs: [{ shape: [rows] }, w], outputs }) => {
    const [x, weights] = inputs;
    const place = places(attrs);
    const [cIn, cOut] = widths(w, attrs.transposedWeight);
    const y = new Float64Array(rows * cOut);
    for (let n = 0; n < rows; n++) {
      for (let o = 0; o < cOut; o++) {
        let sum = (inputs[place.bias]?.[o] ?? 0) + (inputs[place.residual]?.[n * cOut + o] ?? 0);
        for (let i = 0; i < cIn; i++) {
          sum += x[n * cIn + i] * weights[attrs.transposedWeight ? o * cIn + i : i * cOut + o];
        }
        y[n * cOut + o] = sum;
      }
    }
    return [y, ...unusedOutputs(outputs, 1)];
  },
});

/**
 * Gradient of `linear` by its input: `(dy [N, Cout], w, prior? [N, Cin]) → dx [N, Cin]` with dx = dy · wᵀ,
 * added in place to `prior` where it is given. Without a prior dx has the dtype of dy.
 */
export const linearInputGrad = defineOp<LinearGradAttrs>({
  name: "linear_input_grad",
  inferTypes: ([dy, w, prior], { transposedWeight }) => {
    requireMatrices("linear_input_grad", dy, w);
    const [cIn, cOut] = widths(w, transposedWeight);
    if (dy.shape[1] !== cOut) {
      throw new ShapeError(
        `Cannot apply linear_input_grad to dy [${dy.shape}] and w [${w.shape}]: expected dy [N, ${cOut}]`,
      );
    }
    const dx = accumulated({ shape: [dy.shape[0], cIn], dtype: dy.dtype, name: "dx" }, prior, 2);
    return [dx, ...meetingType(dx, transposedWeight && mayBeSplit(bytesOf(w)))];
  },
  lower: ({ inputs: [dy, w, prior], outputs: [dx, meeting], attrs, kernels }) =>
    matmulCommands(
      { ...linearInputProduct(dy, w, dx, meeting, attrs), accumulate: prior !== undefined },
      kernels,
    ),
  reference: ([dy, weights, prior], { transposedWeight }, { inputs: [{ shape: [rows] }, w], outputs }) => {
    const [cIn, cOut] = widths(w, transposedWeight);
    const dx = new Float64Array(rows * cIn);
    for (let n = 0; n < rows; n++) {
      for (let i = 0; i < cIn; i++) {
        let sum = prior?.[n * cIn + i] ?? 0;
        for (let o = 0; o < cOut; o++) {
          sum += dy[n * cOut + o] * weights[transposedWeight ? o * cIn + i : i * cOut + o];
        }
        dx[n * cIn + i] = sum;
      }
    }
    return [dx, ...unusedOutputs(outputs, 1)];
  },
});

/**
 * Gradient of `linear` by its weight:
 * `(x [N, Cin], dy [N, Cout], prior?, biasPrior?) → (dw, db?)`, f32 whatever the inputs. dw has
 * the layout of the weight: xᵀ · dy, or dyᵀ · x where the weight is transposed. db = Σ_n dy[n],
 * with `bias`. Both are added in place to their priors where these are given, to both or to none.
 */
export const linearWeightGrad = defineOp<LinearWeightGradAttrs>({
  name: "linear_weight_grad",
  inferTypes: (inputs, { transposedWeight, bias }) => {
    const [x, dy, prior, biasPrior] = inputs;
    if (inputs.length !== 2 && inputs.length !== 3 + Number(bias)) {
      throw new ShapeError(
        `Cannot apply linear_weight_grad to ${inputs.length} inputs: expected 2 or ${3 + Number(bias)}`,
      );
    }
    requireMatrices("linear_weight_grad", x, dy);
    if (x.shape[0] !== dy.shape[0]) {
      throw new ShapeError(
        `Cannot apply linear_weight_grad to x [${x.shape}] and dy [${dy.shape}]: expected equal rows`,
      );
    }
    const shape = transposedWeight ? [dy.shape[1], x.shape[1]] : [x.shape[1], dy.shape[1]];
    const dw = accumulated({ shape, dtype: "f32", role: "gradients", name: "dw" }, prior, 2);
    if (!bias) return [dw];
    const db: OutputType = { shape: [dy.shape[1]], dtype: "f32", role: "gradients", name: "db" };
    return [dw, accumulated(db, biasPrior, 3)];
  },
  lower: ({ inputs: [x, dy, prior], outputs: [dw, db], attrs: { transposedWeight, bias }, kernels }) => {
    const [left, right] = transposedWeight ? [dy, x] : [x, dy];
    return matmulCommands({
      name: "linear_weight_grad",
      m: left.shape[1],
      n: right.shape[1],
      k: x.shape[0],
      a: { value: left, ld: left.shape[1], transposed: true },
      b: { value: right, ld: right.shape[1] },
      c: { value: dw, ld: right.shape[1] },
      accumulate: prior !== undefined,
      sums: bias
        ? { of: transposedWeight ? "a" : "b", value: db, accumulate: prior !== undefined }
        : undefined,
    }, kernels);
  },
  reference: (
    [x, dy, prior, biasPrior],
    { transposedWeight, bias },
    { inputs: [{ shape: [rows, cIn] }, { shape: [, cOut] }] },
  ) => {
    const dw = new Float64Array(cIn * cOut);
    for (let i = 0; i < cIn; i++) {
      for (let o = 0; o < cOut; o++) {
        const at = transposedWeight ? o * cIn + i : i * cOut + o;
        dw[at] = prior?.[at] ?? 0;
        for (let n = 0; n < rows; n++) dw[at] += x[n * cIn + i] * dy[n * cOut + o];
      }
    }
    if (!bias) return [dw];
    const db = new Float64Array(cOut);
    for (let o = 0; o < cOut; o++) {
      db[o] = biasPrior?.[o] ?? 0;
      for (let n = 0; n < rows; n++) db[o] += dy[n * cOut + o];
    }
    return [dw, db];
  },
});

/**
 * The type of a gradient, in place of the prior it is added to. @throws {ShapeError} if their shapes differ.
 */
function accumulated(type: OutputType, prior: TensorType | undefined, input: number): OutputType {
  if (!prior) return type;
  if (prior.shape.length !== type.shape.length || prior.shape.some((extent, d) => extent !== type.shape[d])) {
    throw new ShapeError(`Cannot add gradient [${type.shape}] to [${prior.shape}]: the shapes differ`);
  }
  return { ...type, dtype: prior.dtype, aliasOfInput: input };
}
