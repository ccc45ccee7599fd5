import { waitForQueue } from "../runtime/readback.ts";
import type { Session } from "../runtime/session.ts";
import type { Parameter } from "../passes/step.ts";
import type { Value } from "../graph/types.ts";
import { DTYPE_BYTES, elementCount } from "../graph/types.ts";
import type { TensorSource, TensorToWrite } from "../formats/safetensors.ts";
import { InputError } from "../input_error.ts";
import type { ParameterSpec } from "../model/parameters.ts";
import type { TensorToFill } from "./fill_values.ts";
import { initialValues, type ValuesAhead } from "./initial_values.ts";
import { readQuantized, writeQuantized } from "./quantized_weights.ts";

/** Bytes of uploads that may wait in the queue, each in a buffer of its own. */
const QUEUED_BYTES = 16 * 2 ** 20;

/**
 * Holds uploads back when too many wait: WebGPU keeps a copy of what was written until the queue has run, and
 * without this a whole model would be in memory twice.
 */
class UploadPace {
  readonly #session: Session;
  #bytes = 0;
  #earlier: Promise<void> = Promise.resolve();

  constructor(session: Session) {
    this.#session = session;
  }

  /** Counts an upload; waits for those before the latest few. */
  async add(bytes: number): Promise<void> {
    this.#bytes += bytes;
    if (this.#bytes < QUEUED_BYTES) return;
    this.#bytes = 0;
    this.#session.submit(this.#session.encode([]));
    await this.#earlier;
    this.#earlier = waitForQueue(this.#session.gpu);
    this.#earlier.catch(() => {}); // thrown where it is awaited
  }

  /** Waits for all of them. */
  async end(): Promise<void> {
    this.#session.submit(this.#session.encode([]));
    await waitForQueue(this.#session.gpu);
  }
}

/**
 * Uploads initial values; each parameter's depend on the seed and its own name only.
 *
 * @param ahead Values of the same seed that are being made already.
 */
export async function initializeWeights(
  session: Session,
  parameters: readonly Parameter[],
  seed: number,
  ahead: ValuesAhead<TensorToFill> | null = null,
): Promise<void> {
  const pace = new UploadPace(session);
  const tensors = parameters.map((parameter) => {
    const { spec: { name, init }, master } = parameter;
    return { name, init, elementCount: elementCount(master), parameter };
  });
  const byName = new Map(tensors.map(({ name, parameter }) => [name, parameter]));
  const begun = new Set(ahead?.tensors.map(({ name }) => name));
  const rest = initialValues(tensors.filter(({ name }) => !begun.has(name)), seed);
  const unfinished = new Map<string, { whole: Float32Array<ArrayBuffer>; missing: number }>();
  for (const sections of [...ahead ? [ahead] : [], rest]) {
    // Section by section, so that host memory holds no second copy of the model.
    for await (const { tensor: { name, elementCount }, firstElement, values } of sections) {
      const parameter = byName.get(name);
      if (!parameter) continue;
      if (!parameter.quantized) {
        writeParameter(session, parameter, firstElement, values);
        await pace.add(values.byteLength);
        continue;
      }
      // A tensor becomes codes as a whole, so its sections are put together first.
      const weight = unfinished.get(name) ?? { whole: new Float32Array(elementCount), missing: elementCount };
      unfinished.set(name, weight);
      weight.whole.set(values, firstElement);
      weight.missing -= values.length;
      if (weight.missing > 0) continue;
      unfinished.delete(name);
      writeQuantized(session, parameter, parameter.quantized, weight.whole);
      await pace.add(weight.whole.byteLength);
    }
  }
  await pace.end();
}

/** Dtypes that become f32 when they are read. */
const LOADABLE: readonly string[] = ["F32", "F16", "BF16", "F64"];

/** A weight of one of the numbered blocks, by every family's name for them. */
const BLOCK_WEIGHT = /(^|\.)(h|layers|layer)\.\d+\..*\.(weight|bias)$/;
/** The causal masks of GPT-2 and GPT-NeoX, which old checkpoints have. */
const BUFFER = /\.(attn|attention)\.(masked_)?bias$/;
/** What a model of texts is stored beside where the whole one sees, too. */
const OF_IMAGES = /(^|\.)(vision_tower|multi_modal_projector)\./;

/**
 * Finds every parameter in a checkpoint, before anything is read.
 *
 * @param mayLack Parameters that need not be there.
 * @returns The stored name by parameter name. Tensors outside of the blocks that belong to no parameter, such
 * as the head of another task, do not matter, nor do saved buffers.
 * @throws {InputError} naming the first tensor that is missing, has another shape
 * or is not of floating-point numbers, and a weight inside a block that the model
 * does not have: it would compute something else than the checkpoint's.
 */
export function matchWeights(
  specs: readonly ParameterSpec[],
  source: TensorSource,
  mayLack: ReadonlySet<string> = new Set(),
): Map<string, string> {
  const stored = new Map<string, string>();
  for (const { name, shape, storedAs = [] } of specs) {
    const found = [name, ...storedAs].find((candidate) => source.has(candidate));
    if (!found) {
      if (mayLack.has(name)) continue;
      throw new InputError(`${source.path}: tensor ${name} is missing, expected one of shape [${shape}]`);
    }
    const info = source.info(found);
    if (info.shape.join() !== shape.join()) {
      throw new InputError(
        `${info.path}: tensor ${found} has the shape [${info.shape}], expected [${shape}] from config.json`,
      );
    }
    if (!LOADABLE.includes(info.dtype)) {
      throw new InputError(
        `${info.path}: tensor ${found} is ${info.dtype}, expected one of ${LOADABLE.join(", ")}`,
      );
    }
    stored.set(name, found);
  }
  const used = new Set(stored.values());
  const homeless = source.names().find((name) =>
    !used.has(name) && BLOCK_WEIGHT.test(name) && !BUFFER.test(name) && !OF_IMAGES.test(name)
  );
  if (homeless === undefined) return stored;
  throw new InputError(
    `${source.path}: tensor ${homeless} has no place in the model that config.json describes`,
  );
}

/**
 * Uploads a checkpoint piece by piece. What passes added is not in it.
 *
 * @param mayLack Parameters that need not be there.
 * @returns Those of them that are not.
 */
export async function loadWeights(
  session: Session,
  parameters: readonly Parameter[],
  source: TensorSource,
  mayLack: ReadonlySet<string> = new Set(),
): Promise<Set<string>> {
  const base = parameters.filter(({ added }) => !added);
  const pace = new UploadPace(session);
  const stored = matchWeights(base.map(({ spec }) => spec), source, mayLack);
  for (const parameter of base) {
    const name = stored.get(parameter.spec.name);
    if (name === undefined) continue;
    if (parameter.quantized) {
      // Blocks run across rows, and scales are of whole blocks: the one tensor is read at once.
      const values = await source.read(name);
      writeQuantized(session, parameter, parameter.quantized, values);
      await pace.add(values.byteLength);
      continue;
    }
    for await (const { firstElement, values } of source.chunks(name)) {
      writeParameter(session, parameter, firstElement, values);
      await pace.add(values.byteLength);
    }
  }
  await pace.end();
  return new Set([...mayLack].filter((name) => !stored.has(name)));
}

/** Uploads part of a parameter, in the dtype of each of its copies. */
export function writeParameter(
  session: Session,
  { master, value }: Parameter,
  firstElement: number,
  values: Float32Array<ArrayBuffer>,
): void {
  for (const copy of new Set([master, value])) {
    const stored = copy.dtype === "f16" ? Float16Array.from(values) : values;
    session.write(copy, stored, DTYPE_BYTES[copy.dtype] * firstElement);
  }
}

/** A value on the device as a tensor to be written to a safetensors file; read when its turn comes. */
export function tensorOf(session: Session, name: string, value: Value): TensorToWrite {
  return { name, dtype: "F32", shape: value.shape, data: () => readValue(session, value) };
}

/**
 * A parameter as the optimizer has it, in f32 and in the checkpoint's layout; a
 * quantized one as it is decoded.
 */
export function readParameter(session: Session, parameter: Parameter): Promise<Float32Array<ArrayBuffer>> {
  const { quantized, master } = parameter;
  return quantized ? readQuantized(session, parameter, quantized) : readValue(session, master);
}

async function readValue(session: Session, value: Value): Promise<Float32Array<ArrayBuffer>> {
  const bytes = await session.read(value);
  return value.dtype === "f16" ? Float32Array.from(new Float16Array(bytes)) : new Float32Array(bytes);
}
