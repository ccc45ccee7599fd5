/** The ledger of tests: all equalities of losses that claims ask for, corrected for how many there are. */
import { equalTokens, heldOutLosses } from "../rows/held_out.ts";
import { ALPHA, type LossDifference, lossDifference } from "../rows/loss_difference.ts";
import type { Pair } from "../rows/pairs.ts";

/** Held-out loss of a tested pair, `changed` minus `baseline`. @throws {RangeError} for any other. */
export type LossOf = (pair: Pair) => LossDifference | null;

export interface Ledger {
  loss: LossOf;
  /** How many tests of equality were made, and corrected for. */
  testCount: number;
}

/** Tests all pairs, each once, and corrects them together: what is no longer equal becomes unshown. */
export function ledgerOf(pairs: readonly Pair[]): Ledger {
  const differences = new Map<Pair["baseline"], Map<Pair["changed"], LossDifference | null>>();
  for (const { baseline, changed } of pairs) {
    const ofBaseline = differences.get(baseline) ?? new Map();
    differences.set(baseline, ofBaseline);
    if (ofBaseline.has(changed)) continue;
    const [before, after] = heldOutLosses([baseline, changed], equalTokens([baseline, changed]));
    ofBaseline.set(changed, lossDifference(before, after));
  }
  const tests = [...differences.values()].flatMap((known) => [...known.values()])
    .filter((loss) => loss !== null && loss.pValue !== null) as LossDifference[];
  const corrected = holm(tests.map(({ pValue }) => pValue!));
  tests.forEach((test, i) => {
    test.pValue = corrected[i];
    if (test.outcome === "equal" && corrected[i] > ALPHA) test.outcome = "unshown";
  });
  return {
    testCount: tests.length,
    loss({ baseline, changed }) {
      const found = differences.get(baseline)?.get(changed);
      if (found === undefined) throw new RangeError("Cannot give a loss that was not tested with the others");
      return found;
    },
  };
}

/**
 * p-values corrected for how many there are, in the order given: where all below `ALPHA` are believed, the
 * chance that any of them misleads stays below it too. Source: Holm 1979, Scandinavian Journal of Statistics
 * 6, 65-70.
 */
export function holm(pValues: readonly number[]): number[] {
  const order = pValues.map((_, i) => i).sort((a, b) => pValues[a] - pValues[b]);
  const corrected = new Array<number>(pValues.length);
  let largest = 0;
  order.forEach((index, rank) => {
    largest = Math.max(largest, Math.min(1, (pValues.length - rank) * pValues[index]));
    corrected[index] = largest;
  });
  return corrected;
}
