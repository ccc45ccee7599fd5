import { emptyBatch } from "./layout.ts";
import { MASKED_TARGET, type Sequences, type Split } from "./sequences.ts";

/**
 * Mean loss, in nats by target, that a histogram has on the held-out targets: one that gives every target the
 * share which it has among those of the training part, whatever comes before it. A model whose loss is above
 * it has not yet learned more than how often each token, or label, occurs.
 *
 * Each class counts once more than it was seen, so that one which training never had does not cost infinitely
 * much: p = (n + 1) ÷ (N + classes), Laplace's rule of succession. Hidden tokens are those of the first pass.
 *
 * @param classes Tokens of the vocabulary, or labels.
 * @param heldOutWindows Held-out sequences that are evaluated; 0 is all.
 * @returns Null where nothing is held out, or none of it is to be predicted.
 */
export function unigramLoss(
  { training, heldOut }: Split,
  { classes, heldOutWindows }: { classes: number; heldOutWindows: number },
): number | null {
  if (heldOut === null) return null;
  const trained = targetCounts(training, classes, training.count, "epoch 0");
  const evaluated = Math.min(heldOut.count, heldOutWindows || Infinity);
  const tested = targetCounts(heldOut, classes, evaluated, "evaluation");
  const trainedTotal = sum(trained) + classes, testedTotal = sum(tested);
  if (testedTotal === 0) return null;
  const loss = tested.reduce((total, count, target) =>
    // Of most targets of a large vocabulary there is nothing to add.
    count === 0 ? total : total - count * Math.log((trained[target] + 1) / trainedTotal), 0);
  return loss / testedTotal;
}

/** How often each class is to be predicted in the first `count` sequences. */
function targetCounts(sequences: Sequences, classes: number, count: number, draw: string): Float64Array {
  const counts = new Float64Array(classes);
  const row = emptyBatch(1, sequences.sequenceLength);
  // Where a sequence has one target, the others stay as they are.
  row.targets.fill(MASKED_TARGET);
  for (let index = 0; index < count; index++) {
    sequences.write(index, 0, row, draw);
    for (const target of row.targets) if (target !== MASKED_TARGET) counts[target]++;
  }
  return counts;
}

function sum(counts: Float64Array): number {
  return counts.reduce((total, count) => total + count, 0);
}
