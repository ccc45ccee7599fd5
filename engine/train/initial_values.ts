import { fillInWorkers, startWorkers } from "./fill_in_workers.ts";
import {
  type FilledSection,
  fillSection,
  type Section,
  sectionsOf,
  type TensorToFill,
} from "./fill_values.ts";

/** Elements of a section. The values of larger tensors depend on it: it must never change. */
const SECTION_ELEMENTS = 2 ** 20;

/**
 * Random elements that a worker is worth its start for: a quarter of a second of
 * its work or more, against a tenth to start.
 */
const ELEMENTS_PER_WORKER = 8e6;

const MOST_WORKERS = 16;

/** How first values are made. */
export interface FillSettings {
  /** Elements made at a time from one stream. */
  sectionElements?: number;
  /** Random elements that one worker is started for; there are none or several. The values are the same. */
  elementsPerWorker?: number;
  mostWorkers?: number;
}

/**
 * The first values of tensors, section by section, in any order. They depend on the seed and the tensor's
 * name only. Many random ones are made in workers, where there is more than one core for them.
 */
export async function* initialValues<T extends TensorToFill>(
  tensors: readonly T[],
  seed: number,
  {
    sectionElements = SECTION_ELEMENTS,
    elementsPerWorker = ELEMENTS_PER_WORKER,
    mostWorkers = Math.min(navigator.hardwareConcurrency, MOST_WORKERS),
  }: FillSettings = {},
): AsyncGenerator<FilledSection<T>> {
  const sections = tensors.flatMap((tensor) => sectionsOf(tensor, sectionElements));
  const random = sections.filter(({ tensor: { init } }) => init.kind !== "constant");
  const randomElements = random.reduce((sum, { elementCount }) => sum + elementCount, 0);
  const count = Math.min(mostWorkers, random.length, Math.floor(randomElements / elementsPerWorker));
  const workers = count > 1 ? await startWorkers(count) : null;
  const left = new Set(sections);
  if (workers) {
    for (const section of random) left.delete(section);
    yield* fillInWorkers(workers, random, { seed, sectionElements });
  }
  for (const section of left) yield fillHere(section, seed);
}

/**
 * First values that are being made before anything takes them: sections come as from `initialValues()`, once.
 */
export interface ValuesAhead<T extends TensorToFill> extends AsyncIterable<FilledSection<T>> {
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
  const sections = initialValues(tensors, seed, settings);
  const first = sections.next();
  first.catch(() => {}); // thrown where it is taken
  return {
    tensors,
    async *[Symbol.asyncIterator]() {
      const { value, done } = await first;
      if (done) return;
      yield value;
      yield* sections;
    },
    end: async () => void await sections.return(undefined),
  };
}

function fillHere<T extends TensorToFill>(
  { tensor, index, firstElement, elementCount }: Section<T>,
  seed: number,
): FilledSection<T> {
  const values = new Float32Array(elementCount);
  fillSection(values, { seed, name: tensor.name, index, init: tensor.init });
  return { tensor, firstElement, values };
}
