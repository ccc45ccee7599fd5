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
  /**
   * Whether AdamW decays it: matrices of linear layers yes; norms, biases and embeddings no, by convention.
   */
  decay: boolean;
  /** What the learning rate is multiplied by for this parameter; default 1. */
  rateFactor?: number;
  /**
   * Whether rows are looked up in it by ids, as torch.nn.Embedding does; a head
   * tied to it is the same parameter.
   */
  embedding?: true;
  /**
   * Layout, where it is the weight of a linear layer: GPT-2 stores `[in, out]`, torch's Linear `[out, in]`.
   */
  linear?: "in_out" | "out_in";
  /**
   * Trained and saved with adapters too, as peft's `modules_to_save`: the head of
   * a task that the base does not know.
   */
  trainedWithAdapters?: true;
  /** Other names that checkpoints have it under. */
  storedAs?: readonly string[];
}

/** Number of elements over all parameters. */
export function parameterCount(parameters: readonly ParameterSpec[]): number {
  return parameters.reduce(
    (sum, { shape }) => sum + shape.reduce((product, extent) => product * extent, 1),
    0,
  );
}

/** Normal numbers around zero. */
export function normal(standardDeviation: number): Initialization {
  return { kind: "normal", standardDeviation };
}

/** An embedding table `<name>.weight [rows, columns]`. */
export function embeddingSpec(name: string, shape: Shape, init: Initialization): ParameterSpec {
  return { name: `${name}.weight`, shape, init, decay: false, embedding: true };
}

/** Weight, and bias where there is one, of a linear layer from `cIn` to `cOut`. */
export function linearSpecs(
  name: string,
  { cIn, cOut, init, bias, layout = "out_in" }: {
    cIn: number;
    cOut: number;
    init: Initialization;
    bias: boolean;
    layout?: "in_out" | "out_in";
  },
): ParameterSpec[] {
  const shape = layout === "in_out" ? [cIn, cOut] : [cOut, cIn];
  const weight: ParameterSpec = { name: `${name}.weight`, shape, init, decay: true, linear: layout };
  return bias ? [weight, vectorSpec(`${name}.bias`, cOut, 0)] : [weight];
}

/**
 * The matrix `[V, C]` before the softmax: decayed, but none of the layers that
 * adapters and quantization are for.
 */
export function headSpec(name: string, shape: Shape, init: Initialization): ParameterSpec {
  return { name, shape, init, decay: true };
}

/** Weight, from `start` on, and bias where there is one, of a norm over `size` channels. */
export function normSpecs(
  name: string,
  size: number,
  { bias, start = 1 }: { bias: boolean; start?: number },
): ParameterSpec[] {
  const weight = vectorSpec(`${name}.weight`, size, start);
  return bias ? [weight, vectorSpec(`${name}.bias`, size, 0)] : [weight];
}

/** A vector that starts constant and is never decayed. */
export function vectorSpec(name: string, size: number, value: number): ParameterSpec {
  return { name, shape: [size], init: { kind: "constant", value }, decay: false };
}

/** The same parameters, which base models without a head store without `prefix`. */
export function withOptionalPrefix(prefix: string, specs: readonly ParameterSpec[]): ParameterSpec[] {
  return specs.map((spec) => {
    const names = [spec.name, ...spec.storedAs ?? []];
    const short = names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
    return { ...spec, storedAs: [...names.slice(1), ...short] };
  });
}
