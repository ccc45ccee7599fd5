import type { Located } from "../../engine/graph/launch.ts";
import { defineOp } from "../../kernels/define_op.ts";
import type { OpDefinition } from "../../engine/graph/op.ts";
import type { Dtype, TensorType } from "../../engine/graph/types.ts";
import { matmulCommands } from "../../kernels/matmul/matmul.ts";
import { unusedOutputs } from "../../kernels/matmul/partial_sums.ts";

/** Where an operand of a `ProbeAttrs` product lies in its input. */
export interface ProbeOperand {
  offset?: number;
  ld: number;
  transposed?: boolean;
  strides?: readonly number[];
  padded?: boolean;
}

/** A product as plain data, so that the harness of single ops can run it. */
export interface ProbeAttrs {
  m: number;
  n: number;
  k: number;
  batch?: readonly number[];
  a: ProbeOperand;
  b: ProbeOperand;
  c: ProbeOperand;
  /** Elements and dtype of the value that holds C; with `accumulate` those of the input it aliases. */
  output: { shape: readonly number[]; dtype: Dtype };
  alpha?: number;
  bias?: boolean;
  residual?: boolean;
  accumulate?: boolean;
  /** Whether the product has somewhere to meet in f32 where its terms are split. */
  meeting?: boolean;
  tileRows?: number;
  triangle?: "a" | "c";
  /** A and B lie in one value, the first input. */
  oneValue?: boolean;
}

/** Inputs of a probe by what they are. */
function roles<T>(
  inputs: readonly T[],
  attrs: ProbeAttrs,
): { a: T; b: T; bias?: T; residual?: T; prior?: T } {
  const rest = [...inputs];
  const a = rest.shift()!;
  const b = attrs.oneValue ? a : rest.shift()!;
  return {
    a,
    b,
    bias: attrs.bias ? rest.shift() : undefined,
    residual: attrs.residual ? rest.shift() : undefined,
    prior: attrs.accumulate ? rest.shift() : undefined,
  };
}

/**
 * Any product `matmulCommands` accepts, as an op: inputs a, b (unless `oneValue`), bias, residual, prior in
 * this order. Elements of the output outside C are compared only where the prior defines them.
 */
export const matmulProbe: OpDefinition<ProbeAttrs> = defineOp<ProbeAttrs>({
  name: "matmul_probe",
  inferTypes: (inputs, attrs) => [
    { ...attrs.output, ...(attrs.accumulate ? { aliasOfInput: inputs.length - 1 } : {}) },
    ...attrs.meeting
      ? [{
        shape: [...attrs.batch ?? [], attrs.m, attrs.n],
        dtype: "f32" as const,
        role: "workspace" as const,
      }]
      : [],
  ],
  lower: ({ inputs, outputs: [c, meeting], attrs, kernels }) => {
    const { a, b, bias, residual } = roles<Located>(inputs, attrs);
    const { m, n, k, batch, alpha, accumulate, tileRows, triangle } = attrs;
    return matmulCommands({
      name: "matmul_probe",
      m,
      n,
      k,
      batch,
      a: { value: a, ...attrs.a },
      b: { value: b, ...attrs.b },
      c: { value: c, ...attrs.c },
      alpha,
      bias,
      residual,
      accumulate,
      meeting,
      tileRows,
      triangle,
    }, kernels);
  },
  reference: (inputs, attrs, { outputs: [type, ...meeting] }) => {
    const { a, b, bias, residual, prior } = roles(inputs, attrs);
    const { m, n, k, alpha = 1 } = attrs;
    const [e0, e1, e2] = [...Array(3 - (attrs.batch?.length ?? 0)).fill(1), ...(attrs.batch ?? [])];
    const out = prior?.slice() ?? new Float64Array(elements(type));
    const start = ({ offset = 0, strides = [] }: ProbeOperand, z: number[]) =>
      strides.reduce((sum, stride, d) => sum + stride * z[z.length - strides.length + d], offset);
    const at = ({ ld, transposed }: ProbeOperand, i: number, j: number) =>
      transposed ? j * ld + i : i * ld + j;
    for (let z0 = 0; z0 < e0; z0++) {
      for (let z1 = 0; z1 < e1; z1++) {
        for (let z2 = 0; z2 < e2; z2++) {
          const z = [z0, z1, z2];
          for (let i = 0; i < m; i++) {
            for (let j = 0; j < n; j++) {
              let sum = 0;
              for (let q = 0; q < k; q++) {
                sum += a[start(attrs.a, z) + at(attrs.a, i, q)] * b[start(attrs.b, z) + at(attrs.b, q, j)];
              }
              const to = start(attrs.c, z) + at(attrs.c, i, j);
              out[to] = alpha * sum + (bias?.[j] ?? 0) + (residual?.[to] ?? 0) + (prior?.[to] ?? 0);
            }
          }
        }
      }
    }
    return [out, ...unusedOutputs(meeting, 0)];
  },
});

function elements({ shape }: TensorType): number {
  return shape.reduce((product, extent) => product * extent, 1);
}
