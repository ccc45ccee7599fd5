// A Web Worker that fills sections of tensors, each by itself.
import type { FillRequest } from "./fill_in_workers.ts";
import { fillSection } from "./fill_values.ts";

/** The part of a worker's global scope that is used here; the library's types are those of a main thread. */
const scope = self as unknown as {
  onmessage: (event: MessageEvent<FillRequest>) => void;
  postMessage(message: "ready" | Float32Array<ArrayBuffer>, transfer?: ArrayBuffer[]): void;
};

scope.onmessage = ({ data: { values, ...source } }) => {
  fillSection(values, source);
  scope.postMessage(values, [values.buffer]);
};
scope.postMessage("ready");
