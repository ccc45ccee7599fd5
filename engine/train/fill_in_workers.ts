import { mayStartWorker } from "../host.ts";
import type { FilledSection, Section, SectionSource, TensorToFill } from "./fill_values.ts";

/** What a worker is asked for: the values of a section, in the memory that comes with the request. */
export interface FillRequest extends SectionSource {
  values: Float32Array<ArrayBuffer>;
}

/** Sections that a worker has memory for: one that it fills, one that waits to be taken. */
const SECTIONS_PER_WORKER = 2;

const MODULE = new URL("./fill_worker.ts", import.meta.url);

/** Starts so many workers; null where the runtime has none or does not allow them. */
export async function startWorkers(count: number): Promise<Worker[] | null> {
  if (!await mayStartWorker(MODULE)) return null;
  const workers: Worker[] = [];
  try {
    for (let i = 0; i < count; i++) workers.push(new Worker(MODULE, { type: "module" }));
    await Promise.all(workers.map(started));
    return workers;
  } catch {
    for (const worker of workers) worker.terminate();
    return null;
  }
}

function started(worker: Worker): Promise<void> {
  return new Promise((resolve, reject) => {
    worker.onmessage = () => resolve();
    worker.onerror = (event) => reject(failure(event));
  });
}

function failure(event: ErrorEvent): Error {
  event.preventDefault(); // else the error would end the process
  return new Error(`Cannot initialise weights: a worker failed, ${event.message}`);
}

/** A worker, and the sections that it was asked for and has not answered: answers come in this order. */
interface Lane<T extends TensorToFill> {
  worker: Worker;
  asked: Section<T>[];
}

/**
 * Makes sections in workers side by side, which it ends in any case: they come as
 * they are ready. A worker is asked for the next one when one of its own was
 * taken, so that no more than `SECTIONS_PER_WORKER` of each are in memory.
 */
export async function* fillInWorkers<T extends TensorToFill>(
  workers: readonly Worker[],
  sections: readonly Section<T>[],
  { seed, sectionElements }: { seed: number; sectionElements: number },
): AsyncGenerator<FilledSection<T>> {
  const waiting = sections.values();
  const lanes = workers.map((worker): Lane<T> => ({ worker, asked: [] }));

  function ask({ worker, asked }: Lane<T>, memory: ArrayBuffer): void {
    const { value: section } = waiting.next();
    if (!section) return;
    const { tensor: { name, init }, index, elementCount } = section;
    const values = new Float32Array(memory, 0, elementCount);
    asked.push(section);
    worker.postMessage({ seed, name, index, init, values } satisfies FillRequest, [memory]);
  }

  try {
    const answers = answersOf(lanes).getReader();
    const newMemory = () => new ArrayBuffer(sectionElements * Float32Array.BYTES_PER_ELEMENT);
    for (let i = 0; i < SECTIONS_PER_WORKER; i++) for (const lane of lanes) ask(lane, newMemory());
    while (lanes.some(({ asked }) => asked.length > 0)) {
      const { lane, values } = (await answers.read()).value!;
      const { tensor, firstElement } = lane.asked.shift()!;
      yield { tensor, firstElement, values };
      ask(lane, values.buffer);
    }
  } finally {
    for (const worker of workers) worker.terminate();
  }
}

interface Answer<T extends TensorToFill> {
  lane: Lane<T>;
  values: Float32Array<ArrayBuffer>;
}

/** Answers of all workers as they come; fails with the first that fails. */
function answersOf<T extends TensorToFill>(lanes: readonly Lane<T>[]): ReadableStream<Answer<T>> {
  return new ReadableStream<Answer<T>>({
    start(controller) {
      for (const lane of lanes) {
        lane.worker.onmessage = ({ data: values }) => controller.enqueue({ lane, values });
        lane.worker.onerror = (event) => controller.error(failure(event));
      }
    },
  });
}
