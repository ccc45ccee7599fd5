import type { Initialization } from "../model/parameters.ts";
import type { FilledChunk, TensorToFill } from "./fill_values.ts";

/** What a worker is asked for: the next elements of a tensor, in the memory that comes with the request. */
export interface FillRequest {
  seed: number;
  name: string;
  init: Initialization;
  firstElement: number;
  values: Float32Array<ArrayBuffer>;
}

/** Chunks that a worker has memory for at least: one that it fills, one that waits to be taken. */
const CHUNKS_PER_WORKER = 2;
/** Elements that the worker of the largest tensor may have filled ahead: its tensor is what all wait for in the end. */
const ELEMENTS_AHEAD = 2 ** 25;

const MODULE = new URL("./fill_worker.ts", import.meta.url);

/** Starts so many workers; null where the runtime has none or does not allow them. */
export async function startWorkers(count: number): Promise<Worker[] | null> {
  if (!await mayRead(MODULE)) return null;
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

/** Asked first: Deno would ask the user, or print an error besides the one that it throws. */
async function mayRead(module: URL): Promise<boolean> {
  if (module.protocol !== "file:" || typeof Deno === "undefined") return true;
  return (await Deno.permissions.query({ name: "read", path: module })).state === "granted";
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

/** A worker, and what it was asked for and has not answered: answers come in this order. */
interface Lane<T extends TensorToFill> {
  worker: Worker;
  asked: Omit<FilledChunk<T>, "values">[];
  tensor?: T;
  /** The tensor's first element that was not asked for. */
  nextElement: number;
}

/**
 * Makes the first values of tensors in workers side by side, and ends these in any case. A stream is drawn in order, so a tensor
 * is one worker's; the largest come first, as those that are left for the end are waited for.
 *
 * A worker is asked for a chunk when one of its own was taken: no more than `CHUNKS_PER_WORKER` of each are in memory, of the first
 * one as many as `ELEMENTS_AHEAD` and its tensor have.
 */
export async function* fillInWorkers<T extends TensorToFill>(
  workers: readonly Worker[],
  tensors: readonly T[],
  { seed, chunkElements }: { seed: number; chunkElements: number },
): AsyncGenerator<FilledChunk<T>> {
  const waiting = tensors.filter(({ elementCount }) => elementCount > 0)
    .sort((a, b) => a.elementCount - b.elementCount);
  const lanes = workers.map((worker): Lane<T> => ({ worker, asked: [], nextElement: 0 }));

  function ask(lane: Lane<T>, memory: ArrayBuffer): void {
    const hasMore = lane.tensor && lane.nextElement < lane.tensor.elementCount;
    if (!hasMore) [lane.tensor, lane.nextElement] = [waiting.pop(), 0];
    const { worker, tensor, nextElement: firstElement } = lane;
    if (!tensor) return;
    const { name, init, elementCount } = tensor;
    const values = new Float32Array(memory, 0, Math.min(chunkElements, elementCount - firstElement));
    lane.asked.push({ tensor, firstElement });
    lane.nextElement += values.length;
    worker.postMessage({ seed, name, init, firstElement, values } satisfies FillRequest, [memory]);
  }

  try {
    const answers = answersOf(lanes).getReader();
    const newMemory = () => new ArrayBuffer(chunkElements * Float32Array.BYTES_PER_ELEMENT);
    const largest = Math.min(waiting.at(-1)?.elementCount ?? 0, ELEMENTS_AHEAD);
    for (let i = 0; i < CHUNKS_PER_WORKER; i++) for (const lane of lanes) ask(lane, newMemory());
    for (let i = CHUNKS_PER_WORKER; i < Math.ceil(largest / chunkElements); i++) ask(lanes[0], newMemory());
    while (lanes.some(({ asked }) => asked.length > 0)) {
      const { lane, values } = (await answers.read()).value!;
      yield { ...lane.asked.shift()!, values };
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
