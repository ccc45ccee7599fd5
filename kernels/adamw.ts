import { f32 } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import type { Dtype } from "../engine/graph/types.ts";
import { checkOptimizerInputs, decayedTensors, perTensor, VECTORS_PER_BLOCK } from "./tables/optimizer.ts";
import { NEUTRAL_STEP, type StepBlock } from "./step_block.ts";
import { tableCommands } from "./tables/tensors.ts";
import source from "./adamw.wgsl" with { type: "text" };

/** Attributes of `adamw`. */
export interface AdamWAttrs {
  beta1: number;
  beta2: number;
  eps: number;
  /** One for each tensor. */
  weightDecay: readonly number[];
  /** What the learning rate of these tensors is multiplied by; default 1. */
  rateFactor?: number;
}

/** Of w, g, m and v. */
const DTYPES: readonly Dtype[] = ["f32", "f32", "f32", "f32"];

/**
 * One AdamW update of many tensors: inputs `[clip f32 [4], then for each tensor w, g, m, v (all f32)]`. w, m
 * and v are updated in place; there are no outputs. Gradients are multiplied by clip[1]; with clip[2] set
 * nothing changes. Learning rate and bias corrections come from the step block.
 *
 * Loshchilov & Hutter 2019, arXiv:1711.05101, in the order of torch.optim.AdamW.
 */
export const adamw = defineOp<AdamWAttrs>({
  name: "adamw",
  inferTypes: (inputs, attrs) => {
    checkOptimizerInputs("adamw", inputs, DTYPES, attrs.weightDecay.length);
    return [];
  },
  // Of each tensor everything but the gradient.
  mutates: (inputs) => inputs.flatMap((_, i) => (i > 0 && (i - 1) % DTYPES.length !== 1 ? [i] : [])),
  lower: ({ inputs, attrs, kernels }) => {
    return tableCommands({
      name: "adamw",
      source: `const WG: u32 = ${kernels.workgroups.block}u;
${source}`,
      operands: ["w", "g", "m", "v"],
      tensors: decayedTensors(inputs, DTYPES.length, attrs.weightDecay),
      shared: [{ name: "clip", value: inputs[0] }],
      writes: ["w", "m", "v"],
      vectorsPerBlock: VECTORS_PER_BLOCK,
      params: [
        ["one_minus_beta1", f32(1 - attrs.beta1)],
        ["beta2", f32(attrs.beta2)],
        ["one_minus_beta2", f32(1 - attrs.beta2)],
        ["eps", f32(attrs.eps)],
        ["rate_factor", f32(attrs.rateFactor ?? 1)],
      ],
    }, kernels);
  },
  reference: (inputs, attrs) => {
    adamwReference(inputs, attrs, NEUTRAL_STEP);
    return [];
  },
});

/** `adamw` in f64 for a given step block; writes into `inputs`. */
export function adamwReference(
  inputs: readonly Float64Array[],
  attrs: AdamWAttrs,
  { learningRate: stepRate, biasCorrection1, sqrtBiasCorrection2 }: StepBlock,
): void {
  const [, factor, found] = inputs[0];
  if (found !== 0) return;
  const learningRate = stepRate * (attrs.rateFactor ?? 1);
  perTensor(inputs, DTYPES.length).forEach(([w, g, m, v], tensor) => {
    for (let i = 0; i < w.length; i++) {
      const gradient = factor * g[i];
      w[i] *= 1 - learningRate * attrs.weightDecay[tensor];
      m[i] = attrs.beta1 * m[i] + (1 - attrs.beta1) * gradient;
      v[i] = attrs.beta2 * v[i] + (1 - attrs.beta2) * gradient ** 2;
      const denominator = Math.sqrt(v[i]) / sqrtBiasCorrection2 + attrs.eps;
      w[i] -= (learningRate / biasCorrection1) * (m[i] / denominator);
    }
  });
}
