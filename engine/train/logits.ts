import { openWeights } from "../formats/safetensors.ts";
import { InputError } from "../input_error.ts";
import { type Model, modelOf, readModelConfig } from "../model/config.ts";
import { buildLogits, type StepMethods } from "../passes/pipeline.ts";
import type { Parameter } from "../passes/step.ts";
import { planGraphs } from "../plan/plan.ts";
import { openGpu } from "../runtime/device.ts";
import type { Gpu } from "../runtime/gpu.ts";
import { Session } from "../runtime/session.ts";
import { elementCount, type Value } from "../graph/types.ts";
import { NEUTRAL_STEP } from "../../kernels/step_block.ts";
import { DataFeed } from "./data_feed.ts";
import { loadWeights } from "./weights.ts";

/** Sequences to compute logits for, [B, T] each. */
export interface LogitsBatch {
  tokens: ArrayLike<number>;
  /** Zeros unless given. */
  tokenTypes?: ArrayLike<number>;
  /** One segment unless given; `PADDING_SEGMENT` at padding. */
  segments?: ArrayLike<number>;
}

/** Settings of `LogitsProgram.open`. */
export interface LogitsSettings {
  model: Model;
  microBatchSize: number;
  sequenceLength: number;
  methods?: Pick<StepMethods, "lora" | "flash" | "fp16">;
}

/** A model on the device that answers with logits. Its parameters are to be loaded before the first call. */
export class LogitsProgram {
  readonly session: Session;
  readonly parameters: readonly Parameter[];
  readonly #feed: DataFeed;
  readonly #logits: Value;

  private constructor(session: Session, parameters: readonly Parameter[], feed: DataFeed, logits: Value) {
    this.session = session;
    this.parameters = parameters;
    this.#feed = feed;
    this.#logits = logits;
  }

  /** @throws {OutOfMemoryError} when the device has no room for the plan. */
  static async open(
    gpu: Gpu,
    { model, microBatchSize, sequenceLength, methods = {} }: LogitsSettings,
  ): Promise<LogitsProgram> {
    const { graph, persistents, parameters, inputs, logits } = buildLogits({
      model,
      microBatchSize,
      sequenceLength,
      methods,
    });
    const session = await Session.open(gpu, planGraphs([graph], persistents, gpu.kernels));
    const { vocabularySize } = model.config;
    const size = { batch: microBatchSize, sequence: sequenceLength, vocabularySize };
    return new LogitsProgram(session, parameters, new DataFeed(session, inputs, size), logits);
  }

  /**
   * Logits of a whole batch, row-major: `[B·T, V]`, or `[B, V]` for a model with one target per sequence.
   *
   * @throws {RangeError} when the batch is larger than the program's.
   */
  async compute(batch: LogitsBatch): Promise<Float32Array<ArrayBuffer>> {
    this.#run(batch);
    const bytes = await this.session.read(this.#logits);
    const count = elementCount(this.#logits);
    // Storage is whole words, so an odd number of f16 has one more behind it.
    return this.#logits.dtype === "f16"
      ? Float32Array.from(new Float16Array(bytes, 0, count))
      : new Float32Array(bytes, 0, count);
  }

  /**
   * Logits `[V]` of one row of the batch, without bringing back the others.
   *
   * @throws {RangeError} when there is no such row.
   */
  async computeRow(batch: LogitsBatch, row: number): Promise<Float32Array<ArrayBuffer>> {
    const [rows, columns] = this.#logits.shape;
    if (!(row >= 0 && row < rows)) {
      throw new RangeError(`Cannot read row ${row} of logits: there are ${rows}`);
    }
    if (this.#logits.dtype !== "f32") {
      return (await this.compute(batch)).slice(row * columns, (row + 1) * columns);
    }
    this.#run(batch);
    return new Float32Array(await this.session.read(this.#logits, 4 * row * columns, 4 * columns));
  }

  #run({ tokens, tokenTypes = [], segments = [] }: LogitsBatch): void {
    this.#feed.tokens.fill(0).set(tokens);
    this.#feed.tokenTypes.fill(0).set(tokenTypes);
    this.#feed.segments.fill(0).set(segments);
    this.#feed.upload();
    this.session.writeStep(NEUTRAL_STEP);
    this.session.submit(this.session.encode([0]));
  }

  /** Frees the device memory. */
  close(): void {
    this.session.close();
  }
}

/**
 * Logits of one batch by the model in a folder; see `LogitsProgram.compute`.
 *
 * @throws {InputError} when the folder has no model, or not all of its weights.
 */
export async function computeLogits(
  folder: string,
  batch: LogitsBatch,
  { microBatchSize, sequenceLength }: { microBatchSize: number; sequenceLength: number },
): Promise<Float32Array<ArrayBuffer>> {
  const model = modelOf(await readModelConfig(folder));
  const source = await openWeights(folder);
  if (source === null) {
    throw new InputError(
      `Cannot compute logits of ${folder}: it has no weights, expected model.safetensors`,
    );
  }
  const gpu = await openGpu();
  try {
    const program = await LogitsProgram.open(gpu, { model, microBatchSize, sequenceLength });
    await loadWeights(program.session, program.parameters, source);
    return await program.compute(batch);
  } finally {
    source.close();
    gpu.device.destroy();
  }
}
