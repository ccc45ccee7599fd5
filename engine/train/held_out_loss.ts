import { NEUTRAL_STEP } from "../../kernels/step_block.ts";
import { elementCount, type Value } from "../graph/types.ts";
import type { Graph } from "../graph/graph.ts";
import { labelsOf, type Model } from "../model/config.ts";
import type { BatchInputs } from "../model/inputs.ts";
import { READBACK_BYTES } from "../plan/plan.ts";
import type { Session } from "../runtime/session.ts";
import { type ClassScores, classScores } from "./class_scores.ts";
import type { DataFeed } from "./data_feed.ts";
import { heldOutBatches, MASKED_TARGET, type Sequences } from "./sequences.ts";

/** What is evaluated, and by which program of a session. */
export interface HeldOutLossSettings {
  /** Index of the evaluation program. */
  program: number;
  inputs: Pick<BatchInputs, "loss">;
  /** Where a label per sequence is predicted: what the program leaves as logits, and how many labels. */
  labels: { logits: Value; count: number } | null;
  /** The session's, which uploads the batches. */
  feed: DataFeed;
  /** Sequences in one forward pass. */
  microBatchSize: number;
  /** Sequences to evaluate; 0 is all. */
  heldOutWindows: number;
  /** Told after every batch how many sequences are done. */
  onProgress?: (sequences: number, of: number) => void;
}

/** Where an evaluation graph leaves logits of labels; null for a model that predicts tokens. */
export function labelLogits({ outputs }: Graph, { config }: Model): HeldOutLossSettings["labels"] {
  return outputs.length === 0 ? null : { logits: outputs[0], count: labelsOf(config).length };
}

/** What was found on held-out sequences. */
export interface HeldOutLoss {
  /** Mean over targets, in nats. */
  loss: number;
  targets: number;
  /** Padding not counted. */
  tokens: number;
  /** Wall time of all forward passes, reading the losses included; the first of a process are slower. */
  ms: number;
  /** Of a model that predicts a label per sequence. */
  scores: ClassScores | null;
}

/**
 * Mean loss over sequences, in nats by target, and how many labels were right: `eval` and the evaluations
 * inside a run are this one sum. Losses of a batch are summed on the device in f32, those of the batches here
 * in f64, as a whole corpus has more terms than f32 sums well.
 */
export async function heldOutLoss(
  session: Session,
  sequences: Sequences,
  { program, inputs, labels, feed, microBatchSize, heldOutWindows, onProgress }: HeldOutLossSettings,
): Promise<HeldOutLoss> {
  const maxSequences = heldOutWindows || Infinity;
  const of = Math.min(sequences.count, maxSequences);
  const confusion = Array.from(
    { length: labels?.count ?? 0 },
    () => new Array<number>(labels!.count).fill(0),
  );
  let [targets, tokens, done, lossSum] = [0, 0, 0, 0];
  const started = performance.now();
  for (const counts of heldOutBatches(sequences, feed, { microBatchSize, maxSequences })) {
    feed.upload();
    session.writeStep(NEUTRAL_STEP);
    const copies = [{ value: inputs.loss, byteLength: 4 }];
    // As a rule they fit beside the loss, where reading takes no time of its own.
    const logitBytes = labels ? 4 * elementCount(labels.logits) : 0;
    const beside = labels !== null && 4 + logitBytes <= READBACK_BYTES;
    if (beside) copies.push({ value: labels.logits, byteLength: logitBytes });
    session.submit(session.encode([program], copies));
    const read = await session.readback.read(beside ? 4 + logitBytes : 4);
    lossSum += new Float32Array(read, 0, 1)[0];
    if (labels) {
      const logits = new Float32Array(beside ? read.slice(4) : await session.read(labels.logits));
      countPredictions(confusion, logits, feed.targets);
    }
    targets += counts.targets;
    tokens += counts.tokens;
    done = Math.min(of, done + microBatchSize);
    onProgress?.(done, of);
  }
  const ms = performance.now() - started;
  return { loss: lossSum / targets, targets, tokens, ms, scores: labels && classScores(confusion) };
}

/** Counts rows of a batch by their label and the one with the largest logit, the first of equal ones. */
function countPredictions(confusion: number[][], logits: Float32Array, targets: Int32Array): void {
  const columns = logits.length / targets.length;
  for (const [row, target] of targets.entries()) {
    if (target === MASKED_TARGET) continue;
    const own = logits.subarray(row * columns, row * columns + confusion.length);
    confusion[target][own.indexOf(own.reduce((a, b) => Math.max(a, b)))]++;
  }
}
