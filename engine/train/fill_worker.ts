// A Web Worker that fills tensors, one after the other, each from its first element on.
import type { FillRequest } from "./fill_in_workers.ts";
import { fillValues } from "./fill_values.ts";
import { keyedRandom, type Random } from "./random.ts";

/** The part of a worker's global scope that is used here; the library's types are those of a main thread. */
const scope = self as unknown as {
  onmessage: (event: MessageEvent<FillRequest>) => void;
  postMessage(message: "ready" | Float32Array<ArrayBuffer>, transfer?: ArrayBuffer[]): void;
};

let random: Random; // of the tensor that is being filled

scope.onmessage = ({ data: { seed, name, init, firstElement, values } }) => {
  if (firstElement === 0) random = keyedRandom(seed, name);
  fillValues(values, init, random);
  scope.postMessage(values, [values.buffer]);
};
scope.postMessage("ready");
