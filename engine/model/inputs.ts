import type { PersistentValues } from "../graph/builder.ts";
import type { Shape, Value } from "../graph/types.ts";

/**
 * What a model may read besides tokens. The orders are positions sorted by id: gradients of embeddings sum in
 * that order, so models ask for them where they have an embedding to train.
 */
export const EXTRA_INPUTS = [
  "positions",
  "positionOrder",
  "tokenTypes",
  "tokenTypeOrder",
  "segments",
] as const;
export type ExtraInput = typeof EXTRA_INPUTS[number];

/** A table that is the same for the whole run, such as the angles of rotary positions. */
export interface ConstantSpec {
  name: string;
  shape: Shape;
  /** Its contents; asked for when a session is opened, never for a plan. */
  data(): Float32Array<ArrayBuffer>;
}

/** What a batch feeds into the graph. N = B·T; ids are u32 [N]. */
export interface BatchInputs extends Partial<Record<ExtraInput, Value>> {
  tokens: Value;
  tokenOrder: Value;
  /** i32: one per token, or one per sequence; −100 where nothing is to be predicted. */
  targets: Value;
  /** Accumulates the summed loss, f32 [1]. */
  loss: Value;
  /** Uploaded once, when the session is opened. */
  constants: readonly { value: Value; spec: ConstantSpec }[];
}

/** What decides which inputs a graph has. */
export interface InputShape {
  /** B. */
  batch: number;
  /** T. */
  sequence: number;
  extra: readonly ExtraInput[];
  /** Whether a whole sequence has one target. */
  targetPerSequence: boolean;
  constants: readonly ConstantSpec[];
}

/** Declares the persistent values that a data feed writes. */
export function declareInputs(
  persistents: PersistentValues,
  { batch, sequence, extra, targetPerSequence, constants }: InputShape,
): BatchInputs {
  const rows = batch * sequence;
  const ids = (name: string) => persistents.declare(name, { shape: [rows], dtype: "u32" }, "inputs");
  const tokens = ids("tokens");
  const tokenOrder = ids("token_order");
  const extras = EXTRA_INPUTS.filter((name) => extra.includes(name)).map((name) => [name, ids(snake(name))]);
  const targets = [targetPerSequence ? batch : rows];
  return {
    tokens,
    tokenOrder,
    ...Object.fromEntries(extras) as Partial<Record<ExtraInput, Value>>,
    targets: persistents.declare("targets", { shape: targets, dtype: "i32" }, "inputs"),
    loss: persistents.declare("loss", { shape: [1], dtype: "f32" }, "workspace"),
    constants: constants.map((spec) => ({
      value: persistents.declare(spec.name, { shape: spec.shape, dtype: "f32" }, "inputs"),
      spec,
    })),
  };
}

/** `token_types` */
function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
