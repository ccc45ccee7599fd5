import { fillInWorkers, startWorkers } from "./fill_in_workers.ts";
import { type FilledChunk, fillValues, type TensorToFill } from "./fill_values.ts";
import { keyedRandom } from "./random.ts";

/** Elements made at a time. */
const CHUNK_ELEMENTS = 2 ** 20;

/** Random elements that a worker is worth its start for: half a second of its work, against a tenth to start. */
const ELEMENTS_PER_WORKER = 16e6;

const MOST_WORKERS = 8;

/** How first values are made; whatever it says, they are the same. */
export interface FillSettings {
  /** Elements made at a time. */
  chunkElements?: number;
  /** Random elements that one worker is started for; there are none or several. */
  elementsPerWorker?: number;
  mostWorkers?: number;
}

/**
 * The first values of tensors, chunk by chunk: each tensor's in order, tensors in any. They depend on the seed and the tensor's
 * name only. Many random ones are made in workers, where there is more than one core for them.
 */
export async function* initialValues<T extends TensorToFill>(
  tensors: readonly T[],
  seed: number,
  {
    chunkElements = CHUNK_ELEMENTS,
    elementsPerWorker = ELEMENTS_PER_WORKER,
    mostWorkers = Math.min(navigator.hardwareConcurrency, MOST_WORKERS),
  }: FillSettings = {},
): AsyncGenerator<FilledChunk<T>> {
  const random = tensors.filter(({ init }) => init.kind !== "constant");
  const randomElements = random.reduce((sum, { elementCount }) => sum + elementCount, 0);
  const count = Math.min(mostWorkers, random.length, Math.floor(randomElements / elementsPerWorker));
  const workers = count > 1 ? await startWorkers(count) : null;
  const left = new Set(tensors);
  if (workers) {
    for (const tensor of random) left.delete(tensor);
    yield* fillInWorkers(workers, random, { seed, chunkElements });
  }
  for (const tensor of left) yield* fillHere(tensor, seed, chunkElements);
}

/** First values that are being made before anything takes them: chunks come as from `initialValues()`, once. */
export interface ValuesAhead<T extends TensorToFill> extends AsyncIterable<FilledChunk<T>> {
  readonly tensors: readonly T[];
  /** Ends the workers, whether or not all was taken. */
  end(): Promise<void>;
}

/** Begins with first values, so that they are made beside what must be done before they can be used. */
export function beginInitialValues<T extends TensorToFill>(
  tensors: readonly T[],
  seed: number,
  settings: FillSettings = {},
): ValuesAhead<T> {
  const chunks = initialValues(tensors, seed, settings);
  const first = chunks.next();
  first.catch(() => {}); // thrown where it is taken
  return {
    tensors,
    async *[Symbol.asyncIterator]() {
      const { value, done } = await first;
      if (done) return;
      yield value;
      yield* chunks;
    },
    end: async () => void await chunks.return(undefined),
  };
}

function* fillHere<T extends TensorToFill>(
  tensor: T,
  seed: number,
  chunkElements: number,
): Generator<FilledChunk<T>> {
  const random = keyedRandom(seed, tensor.name);
  const { init, elementCount } = tensor;
  for (let firstElement = 0; firstElement < elementCount; firstElement += chunkElements) {
    const values = new Float32Array(Math.min(chunkElements, elementCount - firstElement));
    fillValues(values, init, random);
    yield { tensor, firstElement, values };
  }
}
