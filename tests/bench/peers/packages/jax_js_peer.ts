// Peer: jax-js, the whole step (forward, backward, AdamW) in one jit(), which fuses what can be fused.
//
// jax-js counts references: a function takes its arguments over, and `.ref` keeps one for another use.
import { defaultDevice, init, jit, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";
import manifest from "./deno.json" with { type: "json" };
import { type OpenPeer, type PeerJob, type PeerShape, servePeer } from "../protocol.ts";
import { decays, readWeights } from "../weights.ts";

type Tensors = Record<string, np.Array>;

const EPSILON = 1e-5;

function linear(x: np.Array, p: Tensors, name: string): np.Array {
  return np.matmul(x, p[`${name}.weight`].ref).add(p[`${name}.bias`].ref);
}

function layerNorm(x: np.Array, p: Tensors, name: string): np.Array {
  const centred = x.ref.sub(x.mean(-1, { keepdims: true }));
  const variance = np.square(centred.ref).mean(-1, { keepdims: true });
  const normed = centred.div(np.sqrt(variance.add(EPSILON)));
  return normed.mul(p[`${name}.weight`].ref).add(p[`${name}.bias`].ref);
}

/** Causal self-attention: [N, 3C] to [N, C]. */
function attention(
  qkv: np.Array,
  { batchSize: B, sequenceLength: T, headCount: H, hiddenSize: C }: PeerShape,
) {
  const heads = np.split(qkv, 3, -1).map((part) => part.reshape([B, T, H, C / H]));
  return nn.dotProductAttention(heads[0], heads[1], heads[2], { isCausal: true }).reshape([B * T, C]);
}

/**
 * Rows of zeros with a one at each index. `nn.oneHot` takes rows of an identity
 * matrix: 256 MiB of it at 8192 columns.
 */
function oneHot(indices: np.Array, columns: number): np.Array {
  const places = np.arange(0, columns, 1, { dtype: np.int32 }).reshape([1, columns]);
  return np.equal(indices.reshape([-1, 1]), places).astype(np.float32);
}

/** Mean cross-entropy; takes the parameters over. */
function meanLoss(p: Tensors, tokens: np.Array, targets: np.Array, shape: PeerShape): np.Array {
  const { batchSize: B, sequenceLength: T, hiddenSize: C, vocabularySize: V } = shape;
  const embedding = p["transformer.wte.weight"];
  const positions = p["transformer.wpe.weight"].ref.slice([0, T]).reshape([1, T, C]);
  // Not gathered: the gradient of a gather is a scatter, whose shader naga
  // refuses (a pointer to storage as an argument).
  let x = np.matmul(oneHot(tokens, V), embedding.ref).reshape([B, T, C]).add(positions)
    .reshape([B * T, C]);
  for (let l = 0; l < shape.layerCount; l++) {
    const name = `transformer.h.${l}`;
    const mixed = attention(linear(layerNorm(x.ref, p, `${name}.ln_1`), p, `${name}.attn.c_attn`), shape);
    x = x.add(linear(mixed, p, `${name}.attn.c_proj`));
    const wide = nn.gelu(linear(layerNorm(x.ref, p, `${name}.ln_2`), p, `${name}.mlp.c_fc`));
    x = x.add(linear(wide, p, `${name}.mlp.c_proj`));
  }
  const logits = np.matmul(layerNorm(x, p, "transformer.ln_f"), embedding.ref.transpose());
  const hit = oneHot(targets, V);
  const loss = nn.logSoftmax(logits, -1).mul(hit).sum().mul(-1 / (B * T));
  tree.dispose(p);
  return loss;
}

async function open({ shape, hyperparameters, modelFolder }: PeerJob): Promise<OpenPeer> {
  const available = await init("webgpu");
  if (!available.includes("webgpu")) throw new Error("jax-js found no WebGPU adapter");
  defaultDevice("webgpu");
  const { learningRate, beta1, beta2, eps, weightDecay } = hyperparameters;

  let parameters: Tensors = {};
  for (const { name, shape, values } of await readWeights(modelFolder)) {
    parameters[name] = np.array(values, { shape });
  }
  let first: Tensors = tree.map((p: np.Array) => np.zerosLike(p), tree.ref(parameters));
  let second: Tensors = tree.map((p: np.Array) => np.zerosLike(p), tree.ref(parameters));

  const step = jit((p: Tensors, m: Tensors, v: Tensors, corrections: np.Array, x: np.Array, y: np.Array) => {
    const [loss, gradients] = valueAndGrad((p: Tensors) => meanLoss(p, x, y, shape))(tree.ref(p)) as [
      np.Array,
      Tensors,
    ];
    const next: { p: Tensors; m: Tensors; v: Tensors } = { p: {}, m: {}, v: {} };
    for (const name of Object.keys(p)) {
      const g = gradients[name];
      const m1 = m[name].mul(beta1).add(g.ref.mul(1 - beta1));
      const v1 = v[name].mul(beta2).add(np.square(g).mul(1 - beta2));
      const [c1, c2] = [corrections.ref.slice(0), corrections.ref.slice(1)];
      const update = m1.ref.div(c1).div(np.sqrt(v1.ref.div(c2)).add(eps)).mul(learningRate);
      const kept = decays(name) ? p[name].mul(1 - learningRate * weightDecay) : p[name];
      next.p[name] = kept.sub(update);
      next.m[name] = m1;
      next.v[name] = v1;
    }
    corrections.dispose();
    return { loss, ...next };
  });

  let t = 0;
  return {
    version: manifest.imports["@jax-js/jax"].replace("npm:@jax-js/jax@", "jax-js "),
    adapter: (await navigator.gpu.requestAdapter())?.info.description ?? "unknown adapter",
    async step(inputs, targets) {
      t++;
      const corrections = np.array([1 - beta1 ** t, 1 - beta2 ** t]);
      const x = np.array(Int32Array.from(inputs), { dtype: np.int32 });
      const y = np.array(targets as Int32Array<ArrayBuffer>, { dtype: np.int32 });
      const next = step(parameters, first, second, corrections, x, y);
      [parameters, first, second] = [next.p, next.m, next.v];
      const [loss] = await next.loss.data();
      return loss;
    },
  };
}

await servePeer(open);
