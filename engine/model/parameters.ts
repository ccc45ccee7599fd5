import type { Shape } from "../graph/types.ts";

/** How a parameter starts when no weights are loaded. */
export type Initialization =
  | { kind: "normal"; standardDeviation: number }
  | { kind: "uniform"; bound: number }
  | { kind: "constant"; value: number };

/** One parameter of a model, as stored: its name and shape are those of the Hugging Face checkpoint. */
export interface ParameterSpec {
  name: string;
  shape: Shape;
  init: Initialization;
  /** Whether AdamW decays it: matrices of linear layers yes; norms, biases and embeddings no, by convention. */
  decay: boolean;
  /** Layout, where it is the weight of a linear layer: GPT-2 stores `[in, out]`, torch's Linear `[out, in]`. */
  linear?: "in_out" | "out_in";
}

/** Number of elements over all parameters. */
export function parameterCount(parameters: readonly ParameterSpec[]): number {
  return parameters.reduce(
    (sum, { shape }) => sum + shape.reduce((product, extent) => product * extent, 1),
    0,
  );
}
