import type { HeldOutPoint, Roofline, RunConfig, Status } from "../results/record.ts";
import type { AdapterDescription, StepReport, TrainResult } from "./engine.ts";

/**
 * What the runner and a measuring process say to each other: one JSON document a
 * line. The request is the first line on the process's standard input; a line
 * `go` answers `device` and `compiled`; the end of the input means that the runner is gone.
 */
export type Request =
  /**
   * Opens the device, touches it and says what that cost; then, where asked, what the device can do at best.
   */
  | { kind: "baseline"; roofline: boolean }
  | {
    kind: "train";
    config: RunConfig;
    /** Folder of the weights to start from, where the configuration names a cell. */
    start: string | null;
    /** Folder to save the trained weights or adapter to. */
    save: string | null;
    divergenceFactor: number;
    profile: boolean;
  };

export type Message =
  /** The device is open and empty; a training process waits for `go` before it goes on. */
  | { type: "device"; adapter: AdapterDescription; residentBytes: number | null }
  /** All kernels are compiled, and the device has no buffer yet; the process waits for `go` again. */
  | { type: "compiled"; residentBytes: number | null }
  | { type: "phase"; text: string }
  | { type: "step"; report: StepReport }
  | { type: "heldOut"; point: HeldOutPoint }
  | { type: "heldOutElsewhere"; data: string; point: HeldOutPoint }
  | { type: "baseline"; peakResidentBytes: number | null }
  | { type: "roofline"; roofline: Roofline }
  | { type: "result"; result: TrainResult; diverged: string | null; peakResidentBytes: number | null }
  /** `correctable`: the message alone helps, a stack does not. */
  | { type: "failure"; status: Status; message: string; correctable: boolean };

/** Splits a stream of bytes into lines. */
export async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (
    const text of stream.pipeThrough(
      new TextDecoderStream() as unknown as TransformStream<Uint8Array, string>,
    )
  ) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
  if (rest !== "") yield rest;
}
