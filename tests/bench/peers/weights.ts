import { openSafetensors } from "../../../engine/formats/safetensors.ts";

/** A tensor on the host. */
export interface HostTensor {
  name: string;
  shape: number[];
  values: Float32Array<ArrayBuffer>;
}

/** The weights that all peers start from. GPT-2's matrices are stored `[in, out]`. */
export async function readWeights(modelFolder: string): Promise<HostTensor[]> {
  using source = await openSafetensors(`${modelFolder}/model.safetensors`);
  const tensors: HostTensor[] = [];
  for (const name of source.names()) {
    tensors.push({ name, shape: [...source.info(name).shape], values: await source.read(name) });
  }
  return tensors;
}

/** Whether AdamW decays a parameter: matrices of linear layers, neither embeddings nor norms nor biases. */
export function decays(name: string): boolean {
  return /\.(c_attn|c_proj|c_fc)\.weight$/.test(name);
}
