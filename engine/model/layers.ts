import type { GraphBuilder } from "../graph/builder.ts";
import type { Value } from "../graph/types.ts";
import { attention } from "../../kernels/attention.ts";
import { concatColumns } from "../../kernels/concat_columns.ts";
import { add } from "../../kernels/elementwise.ts";
import { dropout as dropoutOp } from "../../kernels/dropout.ts";
import { embedding } from "../../kernels/embedding.ts";
import { layerNorm } from "../../kernels/layer_norm.ts";
import { linear } from "../../kernels/linear.ts";
import { rmsNorm } from "../../kernels/rms_norm.ts";
import { rope } from "../../kernels/rope.ts";
import { dropoutEverywhere, type DropoutRates } from "./dropout.ts";
import type { BatchInputs, ExtraInput } from "./inputs.ts";
import type { ParameterSpec } from "./parameters.ts";

/** Which input holds the order of the positions sorted by the ids of another. */
const ORDER_OF = { tokens: "tokenOrder", positions: "positionOrder", tokenTypes: "tokenTypeOrder" } as const;

/** Head counts and width of attention. */
export interface AttentionHeads {
  heads: number;
  kvHeads: number;
  headSize: number;
}

/** What attention does with them. */
export interface AttentionSettings extends AttentionHeads {
  causal: boolean;
  /** What scores are multiplied by; default 1 / √D. */
  softmaxScale?: number;
  /** Keys that a query sees, itself included; null: all before it. */
  window?: number | null;
  /** Soft cap on scores; null: none. */
  scoreCap?: number | null;
}

/** What models build with: the same calls for every family. */
export class LayerContext {
  readonly builder: GraphBuilder;
  readonly batch: number;
  readonly sequence: number;
  readonly inputs: BatchInputs;
  readonly #parameters: ReadonlyMap<string, { spec: ParameterSpec; value: Value }>;
  readonly #dropout: Readonly<DropoutRates>;
  #stream = 0;

  constructor(
    builder: GraphBuilder,
    options: {
      batch: number;
      sequence: number;
      inputs: BatchInputs;
      parameters: readonly { spec: ParameterSpec; value: Value }[];
      /** One probability for all, or one for each place. */
      dropout: number | Readonly<DropoutRates>;
    },
  ) {
    this.builder = builder;
    this.batch = options.batch;
    this.sequence = options.sequence;
    this.inputs = options.inputs;
    this.#parameters = new Map(options.parameters.map((parameter) => [parameter.spec.name, parameter]));
    const { dropout } = options;
    this.#dropout = typeof dropout === "number" ? dropoutEverywhere(dropout) : dropout;
  }

  parameter(name: string): Value {
    return this.#entry(name).value;
  }

  /** An input that the family declares beyond tokens and targets. */
  input(name: ExtraInput): Value {
    const value = this.inputs[name];
    if (!value) throw new Error(`The model does not declare the input ${name}`);
    return value;
  }

  constant(name: string): Value {
    const found = this.inputs.constants.find(({ spec }) => spec.name === name);
    if (!found) throw new Error(`The model does not declare the constant ${name}`);
    return found.value;
  }

  scope<T>(name: string, body: () => T): T {
    return this.builder.scope(name, body);
  }

  /**
   * Rows of `<table>.weight` at the ids of an input, plus `addend` where given.
   *
   * @param offset Rows of the table before that of id 0.
   * @param padding An id whose row is not trained by its lookups.
   */
  embed(
    table: string,
    ids: keyof typeof ORDER_OF,
    addend?: Value,
    { offset = 0, padding }: { offset?: number; padding?: number | null } = {},
  ): Value {
    const of = (name: "tokens" | "tokenOrder" | ExtraInput) =>
      name === "tokens" || name === "tokenOrder" ? this.inputs[name] : this.input(name);
    const inputs = [of(ids), of(ORDER_OF[ids]), this.parameter(`${table}.weight`)];
    if (addend) inputs.push(addend);
    return this.builder.call(embedding, inputs, {
      addend: addend !== undefined,
      ...offset > 0 && { offset },
      ...typeof padding === "number" && { padding },
    })[0];
  }

  /** Layer norm with weight and bias under `name`. */
  layerNorm(x: Value, name: string, eps: number): Value {
    const inputs = [x, this.parameter(`${name}.weight`), this.parameter(`${name}.bias`)];
    return this.builder.call(layerNorm, inputs, { eps })[0];
  }

  /**
   * Root-mean-square norm with the weight under `name`, over as many channels as that has: a row, or each of
   * its heads.
   *
   * @param onePlus Whether the weight is stored less one.
   */
  rmsNorm(x: Value, name: string, eps: number, onePlus = false): Value {
    const attrs = { eps, ...onePlus && { onePlus } };
    return this.builder.call(rmsNorm, [x, this.parameter(`${name}.weight`)], attrs)[0];
  }

  /** x·W (+ b, where the model has one) (+ residual). */
  linear(x: Value, name: string, residual?: Value): Value {
    const weight = this.#entry(`${name}.weight`);
    const bias = this.#parameters.get(`${name}.bias`);
    const inputs = [x, weight.value];
    if (bias) inputs.push(bias.value);
    if (residual) inputs.push(residual);
    return this.builder.call(linear, inputs, {
      transposedWeight: weight.spec.linear !== "in_out",
      bias: bias !== undefined,
      residual: residual !== undefined,
    })[0];
  }

  /**
   * The branch added to the residual stream: by the linear's own kernel, or after dropout where there is any.
   */
  linearOntoResidual(x: Value, name: string, residual: Value): Value {
    if (this.#dropout.residual === 0) return this.linear(x, name, residual);
    return this.ontoResidual(this.linear(x, name), residual);
  }

  /** A branch, after dropout where there is any, added to the residual stream. */
  ontoResidual(branch: Value, residual: Value): Value {
    return this.builder.call(add, [this.dropout(branch, "residual"), residual], {})[0];
  }

  /**
   * Query, key and value `[N, (H+2K)·D]` of layers that are stored apart. One node each rather than one
   * packed matrix, so that adapters, quantization and checkpoints all know them by their names.
   *
   * @param normed What becomes of each before, as a norm; default nothing.
   */
  queryKeyValue(
    x: Value,
    names: readonly [string, string, string],
    normed: (value: Value, i: number) => Value = (value) => value,
  ): Value {
    return this.builder.call(concatColumns, names.map((name, i) => normed(this.linear(x, name), i)), {})[0];
  }

  /**
   * Turns queries and keys by their positions; `table` names the constant with cosines and sines, which says
   * how many channels of a head turn.
   */
  rotate(qkv: Value, table: string, heads: AttentionHeads): Value {
    const angles = this.constant(table);
    const rotaryWidth = angles.shape[1];
    return this.builder.call(rope, [qkv, angles, this.input("positions")], {
      ...heads,
      ...rotaryWidth !== heads.headSize && { rotaryWidth },
      inverse: false,
    })[0];
  }

  /**
   * Softmax attention `[N, H·D]`; where a batch has segments, tokens see only
   * their own and padding is seen by none.
   */
  attention(
    qkv: Value,
    { causal, softmaxScale, window, scoreCap, heads, kvHeads, headSize }: AttentionSettings,
  ): Value {
    const { segments } = this.inputs;
    const { attention: probability } = this.#dropout;
    // A window as long as the sequence is none.
    const windowed = typeof window === "number" && window < this.sequence;
    return this.builder.call(attention, segments ? [qkv, segments] : [qkv], {
      batch: this.batch,
      sequence: this.sequence,
      heads,
      kvHeads,
      headSize,
      causal,
      softmaxScale: softmaxScale ?? 1 / Math.sqrt(headSize),
      segments: segments !== undefined,
      dropout: probability === 0 ? null : { probability, stream: this.#nextStream() },
      ...windowed && { window },
      ...typeof scoreCap === "number" && { scoreCap },
    })[0];
  }

  dropout(x: Value, where: Exclude<keyof DropoutRates, "attention">): Value {
    const probability = this.#dropout[where];
    if (probability === 0) return x;
    return this.builder.call(dropoutOp, [x], { probability, stream: this.#nextStream() })[0];
  }

  /** Each use of random numbers has its own stream, so that a recomputed mask equals the first one. */
  #nextStream(): number {
    return this.#stream++;
  }

  #entry(name: string): { spec: ParameterSpec; value: Value } {
    const parameter = this.#parameters.get(name);
    if (!parameter) throw new Error(`The model has no parameter ${name}`);
    return parameter;
  }
}
