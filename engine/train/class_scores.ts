/** How well labels were told apart. */
export interface ClassScores {
  /** Share of the examples whose label was predicted. */
  accuracy: number;
  /** Mean of the F1 of each label that is there, or was predicted. */
  macroF1: number;
  /** Share of the most frequent label: the accuracy of answering it always. */
  majorityShare: number;
}

/**
 * Accuracy and macro F1 of a confusion matrix.
 *
 * The F1 of a label is 2·TP ÷ (2·TP + FP + FN): 0 where it is there and never predicted, or the other way
 * round. A label that is neither there nor predicted has none, and is left out of the mean. So does
 * `f1_score(average="macro")` of scikit-learn.
 *
 * @param confusion `confusion[label][predicted]`: how many examples.
 * @throws {RangeError} where there is no example.
 */
export function classScores(confusion: readonly (readonly number[])[]): ClassScores {
  const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
  const there = confusion.map(sum);
  const examples = sum(there);
  if (examples === 0) throw new RangeError("Cannot score no examples: expected at least one");
  const predicted = confusion.map((_, label) => sum(confusion.map((row) => row[label])));
  // TP + FN are those that are there, TP + FP those that were predicted.
  const f1 = confusion.map((row, label) => 2 * row[label] / (there[label] + predicted[label]))
    .filter((_, label) => there[label] + predicted[label] > 0);
  return {
    accuracy: sum(confusion.map((row, label) => row[label])) / examples,
    macroF1: sum(f1) / f1.length,
    majorityShare: Math.max(...there) / examples,
  };
}
