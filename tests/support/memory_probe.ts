// Trains a preset on a text for some steps in a process of its own and prints, as JSON, what its memory was:
// see `MemoryFigures`.
import { train } from "../../engine/train/train.ts";
import { peakResidentBytes, residentBytes } from "../../suites/observed_memory.ts";
import { tinyOptions } from "./tiny_options.ts";

/** Peaks of the process, less what it took when the device was open and empty. */
export interface MemoryFigures {
  /** After step `EARLY_STEPS`. */
  earlyBytes: number;
  /** After the last. */
  lateBytes: number;
}

/** Steps of a short run. */
const EARLY_STEPS = 20;

if (import.meta.main) {
  const [model, data, steps] = Deno.args;
  let emptyBytes = 0;
  const figures: MemoryFigures = { earlyBytes: 0, lateBytes: 0 };
  await train(tinyOptions({ model, data }, { sequenceLength: 8, microBatchSize: 1, steps: Number(steps) }), {
    onDevice: () => {
      emptyBytes = residentBytes()!;
    },
    onStep: ({ step }) => {
      figures.lateBytes = peakResidentBytes()! - emptyBytes;
      if (step < EARLY_STEPS) figures.earlyBytes = figures.lateBytes;
    },
  });
  console.log(JSON.stringify(figures));
  Deno.exit(0);
}
