import { f32 } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import type { Dtype } from "../engine/graph/types.ts";
import { checkOptimizerInputs, decayedTensors, perTensor, VECTORS_PER_BLOCK } from "./tables/optimizer.ts";
import { NEUTRAL_STEP, type StepBlock } from "./step_block.ts";
import { tableCommands } from "./tables/tensors.ts";
import source from "./sgd.wgsl" with { type: "text" };

/** Attributes of `sgd`. */
export interface SgdAttrs {
  /** 0 for none; each tensor then has no momentum buffer. */
  momentum: number;
  /** One for each tensor; added to the gradient. */
  weightDecay: readonly number[];
}

/**
 * One step of gradient descent on many tensors: inputs
 * `[clip f32 [4], then for each tensor w, g[, momentum buffer] (all f32)]`. w and the buffer are updated in
 * place; there are no outputs. Gradients are multiplied by clip[1]; with clip[2] set nothing changes. The
 * learning rate comes from the step block.
 *
 * Semantics of torch.optim.SGD with dampening 0; buffers start as zeros.
 */
export const sgd = defineOp<SgdAttrs>({
  name: "sgd",
  inferTypes: (inputs, attrs) => {
    checkOptimizerInputs("sgd", inputs, dtypesOf(attrs), attrs.weightDecay.length);
    return [];
  },
  mutates: (inputs, attrs) => {
    const count = dtypesOf(attrs).length;
    // Of each tensor everything but the gradient.
    return inputs.flatMap((_, i) => (i > 0 && (i - 1) % count !== 1 ? [i] : []));
  },
  lower: ({ inputs, attrs, kernels }) => {
    const momentum = attrs.momentum === 0
      ? "return d;"
      : "let b = params.momentum * load_b(block.b + i) + d; store_b(block.b + i, b); return b;";
    return tableCommands({
      name: "sgd",
      source: `const WG: u32 = ${kernels.workgroups.block}u;
fn with_momentum(block: Block, i: u32, d: vec_t) -> vec_t { ${momentum} }
${source}`,
      operands: ["w", "g", ...(attrs.momentum === 0 ? [] : ["b"])],
      tensors: decayedTensors(inputs, dtypesOf(attrs).length, attrs.weightDecay),
      shared: [{ name: "clip", value: inputs[0] }],
      writes: ["w", ...attrs.momentum === 0 ? [] : ["b"]],
      vectorsPerBlock: VECTORS_PER_BLOCK,
      params: [["momentum", f32(attrs.momentum)]],
    }, kernels);
  },
  reference: (inputs, attrs) => {
    sgdReference(inputs, attrs, NEUTRAL_STEP);
    return [];
  },
});

/** `sgd` in f64 for a given step block; writes into `inputs`. */
export function sgdReference(
  inputs: readonly Float64Array[],
  attrs: SgdAttrs,
  { learningRate }: Pick<StepBlock, "learningRate">,
): void {
  const [, factor, found] = inputs[0];
  if (found !== 0) return;
  perTensor(inputs, dtypesOf(attrs).length).forEach(([w, g, buffer], tensor) => {
    for (let i = 0; i < w.length; i++) {
      let d = factor * g[i] + attrs.weightDecay[tensor] * w[i];
      if (buffer) d = buffer[i] = attrs.momentum * buffer[i] + d;
      w[i] -= learningRate * d;
    }
  });
}

function dtypesOf({ momentum }: SgdAttrs): Dtype[] {
  return momentum === 0 ? ["f32", "f32"] : ["f32", "f32", "f32"];
}
