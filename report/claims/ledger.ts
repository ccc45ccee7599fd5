/** The ledger of tests: all comparisons of losses that claims ask for, corrected for how many there are. */
import { OPTIMIZERS } from "../../results/methods.ts";
import type { Decision, RunConfig } from "../../results/record.ts";
import { compareLosses, type LossDifference } from "../rows/loss_difference.ts";
import { lossMargin } from "../../results/margins.ts";
import type { Configuration } from "../rows/configuration.ts";
import { type Pair, qualityPair } from "../rows/pairs.ts";
import { optimizerName } from "../words/names.ts";

/** Held-out loss of a tested pair, `changed` minus `baseline`. @throws {RangeError} for any other. */
export type LossOf = (pair: Pair) => LossDifference | null;

export interface Ledger {
  loss: LossOf;
  /** How many tests were made, and corrected for. */
  testCount: number;
}

/**
 * Tests all pairs, each once, by the margins that the run decided, and corrects them together.
 *
 * @param learners What quality is judged on, where it is not the pairs themselves: see `qualityPair`.
 */
export function ledgerOf(
  pairs: readonly Pair[],
  decisions: readonly Decision[] = [],
  learners: readonly Configuration[] = [],
): Ledger {
  const differences = new Map<Configuration, Map<Configuration, LossDifference | null>>();
  // Pairs of several settings may be judged by one pair of learners, which is one test.
  const tested = new Map<Configuration, Map<Configuration, LossDifference | null>>();
  for (const pair of pairs) {
    const learnt = qualityPair(learners, pair);
    const { baseline, changed } = learnt ?? pair;
    const loss = within(tested, baseline, changed, () => {
      const found = compareLosses(baseline, changed, lossMargin(decisions, changed.config));
      const refusal = rateAtEnd(decisions, baseline.config) ?? rateAtEnd(decisions, changed.config);
      return found && {
        ...found,
        ...learnt && { model: changed.config.model },
        ...refusal !== null && { refusal, outcome: "unshown", pValue: null },
      };
    });
    within(differences, pair.baseline, pair.changed, () => loss);
  }
  const tests = [...tested.values()].flatMap((known) => [...known.values()])
    .filter((loss) => loss !== null && loss.pValue !== null) as LossDifference[];
  const corrected = holm(tests.map(({ pValue }) => pValue!));
  tests.forEach((test, i) => test.pValue = corrected[i]);
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
 * Why losses at a rate are not compared: a sweep found it at an end of its grid, so that a better one may lie
 * beyond, and the difference may be that of the rates. Null where nothing says so.
 */
function rateAtEnd(decisions: readonly Decision[], { optimizer, learningRate }: RunConfig): string | null {
  const { sameUpdateAs } = OPTIMIZERS.find(({ id }) => id === optimizer) ?? {};
  const decision = [optimizer, sameUpdateAs].map((name) =>
    decisions.find((one) => one.name === `learningRate/${name}`)
  ).find((one) => one !== undefined);
  const isAtEnd = decision?.value === learningRate && decision.warnings?.some(({ kind }) => kind === "edge");
  return isAtEnd
    ? `the rate of ${optimizerName(optimizer)}, ${learningRate}, is at an end of its grid`
    : null;
}

/** What a map of maps holds, put there where it holds nothing. */
function within<K, V>(maps: Map<K, Map<K, V>>, first: K, second: K, make: () => V): V {
  const map = maps.get(first) ?? new Map<K, V>();
  maps.set(first, map);
  if (!map.has(second)) map.set(second, make());
  return map.get(second)!;
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
