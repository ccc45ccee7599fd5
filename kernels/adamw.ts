import { defineOp, f32 } from "../engine/graph/op.ts";
import type { Dtype } from "../engine/graph/types.ts";
import {
  checkOptimizerInputs,
  decayedTensors,
  optimizerWorkgroupSize,
  perTensor,
  VECTORS_PER_BLOCK,
} from "./optimizer_tensors.ts";
import { NEUTRAL_STEP, type StepBlock } from "./step_block.ts";
import { tableCommands } from "./tensor_table.ts";
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
  /** Whether each tensor has a fifth value: an f16 copy of the weights, written anew after the update. */
  workingCopies?: boolean;
}

/**
 * One AdamW update of many tensors: inputs `[clip f32 [4], then for each tensor w, g, m, v (all f32)[, copy f16]]`. w, m, v
 * and the copy are updated in place; there are no outputs. Gradients are multiplied by clip[1]; with clip[2] set nothing
 * changes. Learning rate and bias corrections come from the step block.
 *
 * Loshchilov & Hutter 2019, arXiv:1711.05101, in the order of torch.optim.AdamW.
 */
export const adamw = defineOp<AdamWAttrs>({
  name: "adamw",
  inferTypes: (inputs, attrs) => {
    checkOptimizerInputs("adamw", inputs, dtypesOf(attrs), attrs.weightDecay.length);
    return [];
  },
  mutates: (inputs, attrs) => {
    const count = dtypesOf(attrs).length;
    // Of each tensor everything but the gradient.
    return inputs.flatMap((_, i) => (i > 0 && (i - 1) % count !== 1 ? [i] : []));
  },
  lower: ({ inputs, attrs, target }) => {
    const refresh = attrs.workingCopies
      ? "put_copy(block.copy, i, end, lane, clamp(w, vec_t(-65504.0), vec_t(65504.0)));"
      : "";
    return tableCommands({
      name: "adamw",
      source: `const WG: u32 = ${optimizerWorkgroupSize(target)}u;
fn refresh_copy(block: Block, i: u32, end: u32, lane: u32, w: vec_t) { ${refresh} }
${source}`,
      operands: attrs.workingCopies ? ["w", "g", "m", "v", "copy"] : ["w", "g", "m", "v"],
      tensors: decayedTensors(inputs, dtypesOf(attrs).length, attrs.weightDecay),
      shared: [{ name: "clip", value: inputs[0] }],
      writes: ["w", "m", "v", ...attrs.workingCopies ? ["copy"] : []],
      vectorsPerBlock: VECTORS_PER_BLOCK,
      params: [
        ["one_minus_beta1", f32(1 - attrs.beta1)],
        ["beta2", f32(attrs.beta2)],
        ["one_minus_beta2", f32(1 - attrs.beta2)],
        ["eps", f32(attrs.eps)],
        ["rate_factor", f32(attrs.rateFactor ?? 1)],
      ],
    }, target);
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
  perTensor(inputs, dtypesOf(attrs).length).forEach(([w, g, m, v, copy], tensor) => {
    for (let i = 0; i < w.length; i++) {
      const gradient = factor * g[i];
      w[i] *= 1 - learningRate * attrs.weightDecay[tensor];
      m[i] = attrs.beta1 * m[i] + (1 - attrs.beta1) * gradient;
      v[i] = attrs.beta2 * v[i] + (1 - attrs.beta2) * gradient ** 2;
      const denominator = Math.sqrt(v[i]) / sqrtBiasCorrection2 + attrs.eps;
      w[i] -= (learningRate / biasCorrection1) * (m[i] / denominator);
      if (copy) copy[i] = Math.min(Math.max(w[i], -65504), 65504);
    }
  });
}

function dtypesOf({ workingCopies }: AdamWAttrs): Dtype[] {
  return workingCopies ? ["f32", "f32", "f32", "f32", "f16"] : ["f32", "f32", "f32", "f32"];
}
