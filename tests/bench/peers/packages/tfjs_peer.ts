// Peer: TensorFlow.js on its WebGPU backend: eager ops, gradients by its tape,
// its own Adam with decoupled decay before it.
import * as tf from "@tensorflow/tfjs";
import manifest from "./deno.json" with { type: "json" };
import { type OpenPeer, type PeerJob, type PeerShape, servePeer } from "../protocol.ts";
import { decays, readWeights } from "../weights.ts";

type Variables = Record<string, tf.Variable>;

const EPSILON = 1e-5;

function linear(x: tf.Tensor2D, p: Variables, name: string): tf.Tensor2D {
  const weight = p[`${name}.weight`] as unknown as tf.Tensor2D;
  return tf.fused.matMul({ a: x, b: weight, bias: p[`${name}.bias`] }) as tf.Tensor2D;
}

function layerNorm(x: tf.Tensor2D, p: Variables, name: string): tf.Tensor2D {
  const { mean, variance } = tf.moments(x, 1, true);
  const normed = tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, EPSILON)));
  return tf.add(tf.mul(normed, p[`${name}.weight`]), p[`${name}.bias`]);
}

/** GELU by tanh, as GPT-2 has it. */
function gelu(x: tf.Tensor2D): tf.Tensor2D {
  const inner = tf.mul(tf.mul(x, tf.add(tf.mul(tf.square(x), 0.044715), 1)), Math.sqrt(2 / Math.PI));
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(inner), 1));
}

/** Causal self-attention: [N, 3C] to [N, C]. */
function attention(qkv: tf.Tensor2D, mask: tf.Tensor, shape: PeerShape): tf.Tensor2D {
  const { batchSize: B, sequenceLength: T, headCount: H, hiddenSize: C } = shape;
  const [q, k, v] = tf.split(qkv, 3, 1)
    .map((part) => tf.transpose(tf.reshape(part, [B, T, H, C / H]), [0, 2, 1, 3]));
  const scores = tf.add(tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(C / H)), mask);
  return tf.reshape(tf.transpose(tf.matMul(tf.softmax(scores), v), [0, 2, 1, 3]), [B * T, C]);
}

function meanLoss(
  p: Variables,
  tokens: tf.Tensor1D,
  targets: tf.Tensor1D,
  mask: tf.Tensor,
  shape: PeerShape,
) {
  const { batchSize: B, sequenceLength: T, hiddenSize: C, vocabularySize: V } = shape;
  const embedding = p["transformer.wte.weight"] as unknown as tf.Tensor2D;
  const positions = tf.slice(p["transformer.wpe.weight"], [0, 0], [T, C]);
  const embedded = tf.add(tf.reshape(tf.gather(embedding, tokens), [B, T, C]), positions);
  let x = tf.reshape(embedded, [B * T, C]) as tf.Tensor2D;
  for (let l = 0; l < shape.layerCount; l++) {
    const name = `transformer.h.${l}`;
    const mixed = attention(linear(layerNorm(x, p, `${name}.ln_1`), p, `${name}.attn.c_attn`), mask, shape);
    x = tf.add(x, linear(mixed, p, `${name}.attn.c_proj`));
    const wide = gelu(linear(layerNorm(x, p, `${name}.ln_2`), p, `${name}.mlp.c_fc`));
    x = tf.add(x, linear(wide, p, `${name}.mlp.c_proj`));
  }
  const logits = tf.matMul(layerNorm(x, p, "transformer.ln_f"), embedding, false, true);
  return tf.losses.softmaxCrossEntropy(tf.oneHot(targets, V), logits) as tf.Scalar;
}

/**
 * Opens TensorFlow.js on WebGPU.
 *
 * Its backend asks for one feature by a list in place of a name, which browsers
 * take for the name and Deno refuses.
 */
async function openBackend(): Promise<string> {
  const requestDevice = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = function (descriptor) {
    const requiredFeatures = [...descriptor?.requiredFeatures ?? []].map((name) =>
      `${name}` as GPUFeatureName
    );
    return requestDevice.call(this, { ...descriptor, requiredFeatures });
  };
  await import("@tensorflow/tfjs-backend-webgpu");
  if (!await tf.setBackend("webgpu")) throw new Error("TensorFlow.js could not open its WebGPU backend");
  await tf.ready();
  return (await navigator.gpu.requestAdapter())?.info.description ?? "unknown adapter";
}

async function open({ shape, hyperparameters, modelFolder }: PeerJob): Promise<OpenPeer> {
  const adapter = await openBackend();
  const { learningRate, beta1, beta2, eps, weightDecay } = hyperparameters;
  const parameters: Variables = {};
  for (const { name, shape, values } of await readWeights(modelFolder)) {
    parameters[name] = tf.variable(tf.tensor(values, shape), true, name);
  }
  const T = shape.sequenceLength;
  const mask = tf.tensor2d(
    Float32Array.from({ length: T * T }, (_, i) => (i % T > Math.floor(i / T) ? -1e9 : 0)),
    [T, T],
  );
  const optimizer = tf.train.adam(learningRate, beta1, beta2, eps);
  return {
    version: manifest.imports["@tensorflow/tfjs"].replace("npm:@tensorflow/tfjs@", "TensorFlow.js "),
    adapter,
    async step(inputs, targets) {
      const loss = tf.tidy(() => {
        const [x, y] = [tf.tensor1d(Int32Array.from(inputs), "int32"), tf.tensor1d(targets, "int32")];
        const { value, grads } = tf.variableGrads(() => meanLoss(parameters, x, y, mask, shape));
        for (const [name, variable] of Object.entries(parameters)) {
          if (decays(name)) variable.assign(tf.mul(variable, 1 - learningRate * weightDecay));
        }
        optimizer.applyGradients(grads as Variables);
        return value;
      });
      const [read] = await loss.data();
      loss.dispose();
      return read;
    },
  };
}

await servePeer(open);
