import { f32 } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { type OpDefinition, type OutputType, ShapeError } from "../engine/graph/op.ts";
import { elementCount, type TensorType, typeText } from "../engine/graph/types.ts";
import { elementwiseCommands } from "./rows/elementwise.ts";
import { ELEMENTWISE_WGSL as source } from "./elementwise_source.ts";
import { cappedReference } from "./soft_cap.ts";

/** Sum, in place of the first operand: `(a, b) → (a + b)`, same shape and dtype. */
export const add = defineOp({
  name: "add",
  inferTypes: ([a, b]) => {
    requireSame("add", a, b);
    return [{ shape: a.shape, dtype: a.dtype, aliasOfInput: 0 }];
  },
  lower: ({ inputs: [a, b], kernels }) =>
    elementwiseCommands(
      { name: "add", source, operands: [a, b], reads: 2, writes: [0], params: () => [f32(0)] },
      kernels,
    ),
  vjp: ({ outGrads: [dy], needs }) => [needs(0) ? dy : undefined, needs(1) ? dy : undefined],
  reference: ([a, b]) => [a.map((x, i) => x + b[i])],
});

/** Which approximation of x·Φ(x): GPT-2's tanh form, or the exact one of BERT. */
export interface GeluAttrs {
  approximation: "tanh" | "erf";
}

/** Gaussian error linear unit: `x → y`, same shape and dtype. Hendrycks & Gimpel 2016, arXiv:1606.08415. */
export const gelu = defineOp<GeluAttrs>({
  name: "gelu",
  inferTypes: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: ({ inputs: [x], outputs: [y], attrs, kernels }) =>
    elementwiseCommands(
      { name: `gelu_${attrs.approximation}`, source, operands: [x, y], reads: 1, params: () => [f32(0)] },
      kernels,
    ),
  vjp: ({ builder, inputs: [x], attrs, outGrads: [dy], needs }) => [
    needs(0) && dy ? builder.call(geluGrad, [x, dy], attrs)[0] : undefined,
  ],
  reference: ([x], { approximation }) => [x.map((v) => v * phi(v, approximation))],
});

/** Gradient of `gelu` in place of `dy`: `(x, dy) → dx`. */
export const geluGrad = defineOp<GeluAttrs>({
  name: "gelu_grad",
  inferTypes: ([x, dy]) => {
    requireSame("gelu_grad", x, dy);
    return [{ shape: dy.shape, dtype: dy.dtype, aliasOfInput: 1 }];
  },
  lower: ({ inputs: [x, dy], attrs, kernels }) =>
    elementwiseCommands(
      {
        name: `gelu_${attrs.approximation}_grad`,
        source,
        operands: [x, dy],
        reads: 2,
        params: () => [f32(0)],
      },
      kernels,
    ),
  reference: ([x, dy], { approximation }) => [
    dy.map((g, i) => g * (phi(x[i], approximation) + x[i] * phiSlope(x[i], approximation))),
  ],
});

/** GeGLU's product `(gate [N, F], up [N, F]) → gelu(gate) · up`. Shazeer 2020, arXiv:2002.05202. */
export const geluMul = defineOp<GeluAttrs>({
  name: "gelu_mul",
  inferTypes: ([gate, up]) => {
    requireSame("gelu_mul", gate, up);
    return [{ shape: gate.shape, dtype: gate.dtype }];
  },
  lower: ({ inputs: [gate, up], outputs: [y], attrs: { approximation }, kernels }) =>
    elementwiseCommands(
      {
        name: `gelu_${approximation}_mul`,
        source,
        operands: [gate, up, y],
        reads: 2,
        params: () => [f32(0)],
      },
      kernels,
    ),
  vjp: ({ builder, inputs: [gate, up], attrs, outGrads: [dy], needs }) => {
    if (!dy) return [undefined, undefined];
    const [dGate, dUp] = builder.call(geluMulGrad, [gate, up, dy], attrs);
    return [needs(0) ? dGate : undefined, needs(1) ? dUp : undefined];
  },
  reference: ([gate, up], { approximation }) => [gate.map((g, i) => g * phi(g, approximation) * up[i])],
});

/** Gradients of `geluMul`: `(gate, up, dy) → (dGate in place of dy, dUp)`. */
export const geluMulGrad = defineOp<GeluAttrs>({
  name: "gelu_mul_grad",
  inferTypes: ([gate, up, dy]) => gatedGradTypes("gelu_mul_grad", gate, up, dy),
  lower: ({ inputs: [gate, up, dy], outputs: [, dUp], attrs: { approximation }, kernels }) =>
    elementwiseCommands(
      {
        name: `gelu_${approximation}_mul_grad`,
        source,
        operands: [gate, up, dy, dUp],
        reads: 3,
        writes: [2, 3],
        params: () => [f32(0)],
      },
      kernels,
    ),
  reference: ([gate, up, dy], { approximation }) => [
    dy.map((d, i) => d * up[i] * (phi(gate[i], approximation) + gate[i] * phiSlope(gate[i], approximation))),
    dy.map((d, i) => d * gate[i] * phi(gate[i], approximation)),
  ],
});

/** SwiGLU's product `(gate [N, F], up [N, F]) → gate · σ(gate) · up`. Shazeer 2020, arXiv:2002.05202. */
export const siluMul = defineOp({
  name: "silu_mul",
  inferTypes: ([gate, up]) => {
    requireSame("silu_mul", gate, up);
    return [{ shape: gate.shape, dtype: gate.dtype }];
  },
  lower: ({ inputs: [gate, up], outputs: [y], kernels }) =>
    elementwiseCommands(
      { name: "silu_mul", source, operands: [gate, up, y], reads: 2, params: () => [f32(0)] },
      kernels,
    ),
  vjp: ({ builder, inputs: [gate, up], outGrads: [dy], needs }) => {
    if (!dy) return [undefined, undefined];
    const [dGate, dUp] = builder.call(siluMulGrad, [gate, up, dy], {});
    return [needs(0) ? dGate : undefined, needs(1) ? dUp : undefined];
  },
  reference: ([gate, up]) => [gate.map((g, i) => g * logistic(g) * up[i])],
});

/** Gradients of `siluMul`: `(gate, up, dy) → (dGate in place of dy, dUp)`. */
export const siluMulGrad = defineOp({
  name: "silu_mul_grad",
  inferTypes: ([gate, up, dy]) => gatedGradTypes("silu_mul_grad", gate, up, dy),
  lower: ({ inputs: [gate, up, dy], outputs: [, dUp], kernels }) =>
    elementwiseCommands(
      {
        name: "silu_mul_grad",
        source,
        operands: [gate, up, dy, dUp],
        reads: 3,
        writes: [2, 3],
        params: () => [f32(0)],
      },
      kernels,
    ),
  reference: ([gate, up, dy]) => [
    dy.map((g, i) => g * up[i] * logistic(gate[i]) * (1 + gate[i] * (1 - logistic(gate[i])))),
    dy.map((g, i) => g * gate[i] * logistic(gate[i])),
  ],
});

/** Rectifier: `x → y`, same shape and dtype; negative numbers become zero. */
export const relu = defineOp({
  name: "relu",
  inferTypes: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: ({ inputs: [x], outputs: [y], kernels }) =>
    elementwiseCommands(
      { name: "relu", source, operands: [x, y], reads: 1, params: () => [f32(0)] },
      kernels,
    ),
  vjp: ({ builder, outputs: [y], outGrads: [dy], needs }) => [
    needs(0) && dy ? builder.call(reluGrad, [y, dy], {})[0] : undefined,
  ],
  reference: ([x]) => [x.map((v) => Math.max(v, 0))],
});

/** Gradient of `relu` in place of `dy`, from its output: `(y, dy) → dx`; zero where the output is. */
export const reluGrad = defineOp({
  name: "relu_grad",
  inferTypes: ([y, dy]) => {
    requireSame("relu_grad", y, dy);
    return [{ shape: dy.shape, dtype: dy.dtype, aliasOfInput: 1 }];
  },
  lower: ({ inputs: [y, dy], kernels }) =>
    elementwiseCommands(
      { name: "relu_grad", source, operands: [y, dy], reads: 2, params: () => [f32(0)] },
      kernels,
    ),
  reference: ([y, dy]) => [dy.map((g, i) => y[i] > 0 ? g : 0)],
});

/** Hyperbolic tangent: `x → y`, same shape and dtype. */
export const tanh = defineOp({
  name: "tanh",
  inferTypes: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: ({ inputs: [x], outputs: [y], kernels }) =>
    elementwiseCommands(
      { name: "tanh_forward", source, operands: [x, y], reads: 1, params: () => [f32(0)] },
      kernels,
    ),
  vjp: ({ builder, outputs: [y], outGrads: [dy], needs }) => [
    needs(0) && dy ? builder.call(tanhGrad, [y, dy], {})[0] : undefined,
  ],
  reference: ([x]) => [x.map(Math.tanh)],
});

/** Gradient of `tanh` in place of `dy`, from its output: `(y, dy) → dx`. */
export const tanhGrad = defineOp({
  name: "tanh_grad",
  inferTypes: ([y, dy]) => {
    requireSame("tanh_grad", y, dy);
    return [{ shape: dy.shape, dtype: dy.dtype, aliasOfInput: 1 }];
  },
  lower: ({ inputs: [y, dy], kernels }) =>
    elementwiseCommands(
      { name: "tanh_grad", source, operands: [y, dy], reads: 2, params: () => [f32(0)] },
      kernels,
    ),
  reference: ([y, dy]) => [dy.map((g, i) => g * (1 - y[i] * y[i]))],
});

/**
 * Soft cap: `x → cap · tanh(x / cap)`, same shape and dtype. For logits that are shown: the loss caps its
 * own, so that no gradient passes here. Gemma Team 2024, arXiv:2408.00118.
 */
export const softCap: OpDefinition<{ cap: number }> = defineOp<{ cap: number }>({
  name: "soft_cap",
  inferTypes: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: ({ inputs: [x], outputs: [y], attrs, kernels }) =>
    elementwiseCommands(
      { name: "soft_cap", source, operands: [x, y], reads: 1, params: () => [f32(attrs.cap)] },
      kernels,
    ),
  reference: ([x], { cap }) => [x.map((v) => cappedReference(v, cap))],
});

/** Multiple: `x → factor · x`, same shape and dtype. */
export const scale: OpDefinition<{ factor: number }> = defineOp<{ factor: number }>({
  name: "scale",
  inferTypes: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: ({ inputs: [x], outputs: [y], attrs, kernels }) =>
    elementwiseCommands(
      { name: "scale", source, operands: [x, y], reads: 1, params: () => [f32(attrs.factor)] },
      kernels,
    ),
  vjp: ({ builder, attrs, outGrads: [dy], needs }) => [
    needs(0) && dy ? builder.call(scale, [dy], attrs)[0] : undefined,
  ],
  reference: ([x], { factor }) => [x.map((v) => factor * v)],
});

/** Types of the gradients of a gate, in place of `dy`, and of what it multiplies. */
function gatedGradTypes(op: string, gate: TensorType, up: TensorType, dy: TensorType): OutputType[] {
  requireSame(op, gate, up);
  requireSame(op, gate, dy);
  return [
    { shape: dy.shape, dtype: dy.dtype, aliasOfInput: 2, name: "d_gate" },
    { shape: up.shape, dtype: up.dtype, name: "d_up" },
  ];
}

function requireSame(op: string, a: TensorType, b: TensorType): void {
  if (elementCount(a) !== elementCount(b) || a.dtype !== b.dtype) {
    throw new ShapeError(
      `Cannot apply ${op} to ${typeText(a)} and ${typeText(b)}: expected equal shapes and dtypes`,
    );
  }
}

function logistic(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

const TANH_RATE = Math.sqrt(2 / Math.PI);

/** Φ(x), or the tanh form that approximates it. */
function phi(x: number, approximation: "tanh" | "erf"): number {
  if (approximation === "erf") return 0.5 * (1 + erf(x / Math.SQRT2));
  return 0.5 * (1 + Math.tanh(TANH_RATE * (x + 0.044715 * x ** 3)));
}

function phiSlope(x: number, approximation: "tanh" | "erf"): number {
  if (approximation === "erf") return Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
  const t = Math.tanh(TANH_RATE * (x + 0.044715 * x ** 3));
  return 0.5 * (1 - t * t) * TANH_RATE * (1 + 3 * 0.044715 * x * x);
}

/**
 * erf by the series 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!, whose terms all
 * have one sign (Abramowitz & Stegun 7.1.6).
 */
function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}
