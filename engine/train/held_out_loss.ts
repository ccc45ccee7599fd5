import { NEUTRAL_STEP } from "../../kernels/step_block.ts";
import type { BatchInputs } from "../model/inputs.ts";
import type { Session } from "../runtime/session.ts";
import type { DataFeed } from "./data_feed.ts";
import { heldOutBatches, type Sequences } from "./sequences.ts";

/** What is evaluated, and by which program of a session. */
export interface HeldOutLossSettings {
  /** Index of the evaluation program. */
  program: number;
  inputs: Pick<BatchInputs, "loss">;
  /** The session's, which uploads the batches. */
  feed: DataFeed;
  /** Sequences in one forward pass. */
  microBatchSize: number;
  /** Sequences to evaluate; 0 is all. */
  heldOutWindows: number;
  /** Told after every batch how many sequences are done. */
  onProgress?: (sequences: number, of: number) => void;
}

/**
 * Mean loss over sequences, in nats by target: `eval` and the evaluations inside a run are this one sum.
 * Losses of a batch are summed on the device in f32, those of the batches here in f64, as a whole corpus has
 * more terms than f32 sums well.
 */
export async function heldOutLoss(
  session: Session,
  sequences: Sequences,
  { program, inputs, feed, microBatchSize, heldOutWindows, onProgress }: HeldOutLossSettings,
): Promise<{ loss: number; targets: number; tokens: number }> {
  const maxSequences = heldOutWindows || Infinity;
  const of = Math.min(sequences.count, maxSequences);
  let [targets, tokens, done, lossSum] = [0, 0, 0, 0];
  for (const counts of heldOutBatches(sequences, feed, { microBatchSize, maxSequences })) {
    feed.upload();
    session.writeStep(NEUTRAL_STEP);
    session.submit(session.encode([program], [{ value: inputs.loss, byteLength: 4 }]));
    lossSum += new Float32Array(await session.readback.read(4))[0];
    targets += counts.targets;
    tokens += counts.tokens;
    done = Math.min(of, done + microBatchSize);
    onProgress?.(done, of);
  }
  return { loss: lossSum / targets, targets, tokens };
}
