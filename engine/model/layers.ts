import type { GraphBuilder } from "../graph/builder.ts";
import type { Value } from "../graph/types.ts";
import { add } from "../../kernels/elementwise.ts";
import { dropout as dropoutOp } from "../../kernels/dropout.ts";
import { embedding } from "../../kernels/embedding.ts";
import { layerNorm } from "../../kernels/layer_norm.ts";
import { linear } from "../../kernels/linear.ts";

/** What a batch feeds into the graph; `[N]` with N = B·T. The orders are positions sorted by id, for gradients. */
export interface BatchInputs {
  tokens: Value;
  tokenOrder: Value;
  positions: Value;
  positionOrder: Value;
  /** Next tokens; −100 where none is to be predicted. */
  targets: Value;
  /** Accumulates the summed loss, f32 [1]. */
  loss: Value;
}

/** What models build with: the same calls for every family. */
export class LayerContext {
  readonly builder: GraphBuilder;
  readonly batch: number;
  readonly sequence: number;
  readonly inputs: BatchInputs;
  readonly #parameters: ReadonlyMap<string, Value>;
  readonly #dropout: number;
  #stream = 0;

  constructor(
    builder: GraphBuilder,
    options: {
      batch: number;
      sequence: number;
      inputs: BatchInputs;
      parameters: ReadonlyMap<string, Value>;
      dropout: number;
    },
  ) {
    this.builder = builder;
    this.batch = options.batch;
    this.sequence = options.sequence;
    this.inputs = options.inputs;
    this.#parameters = options.parameters;
    this.#dropout = options.dropout;
  }

  parameter(name: string): Value {
    const value = this.#parameters.get(name);
    if (!value) throw new Error(`The model has no parameter ${name}`);
    return value;
  }

  scope<T>(name: string, body: () => T): T {
    return this.builder.scope(name, body);
  }

  /** Rows of `table` at `ids`, plus `addend` where given. */
  embed(table: string, ids: Value, order: Value, addend?: Value): Value {
    const inputs = [ids, order, this.parameter(table), ...(addend ? [addend] : [])];
    return this.builder.call(embedding, inputs, { addend: addend !== undefined })[0];
  }

  /** Layer norm with weight and bias under `name`. */
  layerNorm(x: Value, name: string, eps: number): Value {
    const inputs = [x, this.parameter(`${name}.weight`), this.parameter(`${name}.bias`)];
    return this.builder.call(layerNorm, inputs, { eps })[0];
  }

  /** x·W + b (+ residual). `transposedWeight`: stored `[out, in]`, as torch's Linear, instead of GPT-2's `[in, out]`. */
  linear(
    x: Value,
    name: string,
    { residual, transposedWeight = false, bias = true }: {
      residual?: Value;
      transposedWeight?: boolean;
      bias?: boolean;
    } = {},
  ): Value {
    const inputs = [x, this.parameter(`${name}.weight`)];
    if (bias) inputs.push(this.parameter(`${name}.bias`));
    if (residual) inputs.push(residual);
    return this.builder.call(linear, inputs, { transposedWeight, bias, residual: residual !== undefined })[0];
  }

  /** The branch added to the residual stream: by the linear's own kernel, or after dropout where there is any. */
  linearOntoResidual(
    x: Value,
    name: string,
    residual: Value,
    options: { transposedWeight?: boolean } = {},
  ): Value {
    if (this.#dropout === 0) return this.linear(x, name, { ...options, residual });
    return this.builder.call(add, [this.dropout(this.linear(x, name, options)), residual], {})[0];
  }

  dropout(x: Value): Value {
    if (this.#dropout === 0) return x;
    return this.builder.call(dropoutOp, [x], { probability: this.#dropout, stream: this.nextStream() })[0];
  }

  /** Settings of dropout inside an op, or null where it is off. */
  attentionDropout(): { probability: number; stream: number } | null {
    return this.#dropout === 0 ? null : { probability: this.#dropout, stream: this.nextStream() };
  }

  /** Each use of random numbers has its own stream, so that a recomputed mask equals the first one. */
  private nextStream(): number {
    return this.#stream++;
  }
}
