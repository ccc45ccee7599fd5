// Loads the model of a folder in a process of its own and prints, as JSON, what that took: see `LoadFigures`.
import { openWeights } from "../../engine/formats/safetensors.ts";
import { modelOf, readModelConfig } from "../../engine/model/config.ts";
import { openGpu } from "../../engine/runtime/device.ts";
import { LogitsProgram } from "../../engine/train/logits.ts";
import { loadWeights } from "../../engine/train/weights.ts";

/** What loading a model took. */
export interface LoadFigures {
  /**
   * Most memory of the process, in bytes: before a device was opened, before weights were loaded, in the end.
   */
  emptyBytes: number;
  openBytes: number;
  peakBytes: number;
  /** Time to load the weights, until they are on the device. */
  ms: number;
  /** Bytes that were booked on the device, which a software adapter has in the memory of the process. */
  deviceBytes: number;
}

/** Linux keeps the most that a process ever had. */
function peakBytes(): number {
  const status = Deno.readTextFileSync("/proc/self/status");
  return 1024 * Number(/^VmHWM:\s+(\d+) kB/m.exec(status)![1]);
}

if (import.meta.main) {
  const [folder] = Deno.args;
  const emptyBytes = peakBytes();
  const gpu = await openGpu();
  const model = modelOf(await readModelConfig(folder));
  const program = await LogitsProgram.open(gpu, { model, microBatchSize: 1, sequenceLength: 8 });
  const openBytes = peakBytes();
  using source = (await openWeights(folder))!;
  const started = performance.now();
  await loadWeights(program.session, program.parameters, source);
  const ms = performance.now() - started;
  const figures: LoadFigures = {
    emptyBytes,
    openBytes,
    peakBytes: peakBytes(),
    ms,
    deviceBytes: program.session.ledger.peakBytes,
  };
  console.log(JSON.stringify(figures));
  program.close();
  gpu.device.destroy();
}
