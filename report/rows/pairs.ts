/** Configurations found by what they switch on, and compared only where all else is equal. */
import type { PhaseShows } from "../../results/record.ts";
import type { Interval } from "../../results/stats.ts";
import { quantizesEmbeddings } from "../words/names.ts";
import type { Analysis } from "./analysis.ts";
import { combinationKey, type Configuration, settingKey } from "./configuration.ts";
import { ratioOf } from "../../results/measured.ts";

/** What a configuration switches on. */
export interface Combination {
  methods: readonly string[];
  optimizer?: string;
  /** Whether an optimizer step is split into micro-steps. */
  accumulates?: boolean;
}

export interface Pair {
  baseline: Configuration;
  changed: Configuration;
}

/** What phases show by how much a comparison in them is worth: those that were made for it first. */
const WORTH: readonly (PhaseShows | null)[] = [
  "single-methods",
  "method-ladder",
  "batch-size-effects",
  "method-combinations",
];

/** Whether a configuration switches on exactly this. */
export function switchesOn({ config }: Configuration, what: Combination): boolean {
  const { methods, optimizer = "adamw", accumulates = false } = what;
  return [...config.methods].sort().join() === [...methods].sort().join() && config.optimizer === optimizer &&
    config.gradientAccumulationSteps > 1 === accumulates;
}

/** All pairs of what was trained that differ in what is given alone, the most telling first. */
export function pairsOf(
  { trained }: Pick<Analysis, "trained">,
  changed: Combination,
  baseline: Combination = { methods: [] },
): Pair[] {
  const from = trained.filter((configuration) => switchesOn(configuration, baseline));
  const pairs = trained.filter((configuration) => switchesOn(configuration, changed)).flatMap(
    (one): Pair[] => {
      const alike = from.filter((other) => settingKey(other) === settingKey(one));
      const best = alike.toSorted((a, b) => pairWeight(b, one) - pairWeight(a, one))[0];
      return best ? [{ baseline: best, changed: one }] : [];
    },
  );
  return pairs.toSorted((a, b) => pairWeight(b.baseline, b.changed) - pairWeight(a.baseline, a.changed));
}

/**
 * The same change where quality is judged: in a phase that trains another model, which learns in the time
 * there is. Null where there is none, and for pairs that start from other cells' weights.
 */
export function qualityPair(
  learners: readonly Configuration[],
  { baseline, changed }: Pair,
): Pair | null {
  if (changed.start !== null) return null;
  const likes = (one: Configuration) =>
    learners.filter((learner) =>
      learner.start === null && learner.config.model !== one.config.model &&
      combinationKey(learner) === combinationKey(one)
    );
  const [base, other] = [likes(baseline), likes(changed)];
  const pairs = other.flatMap((changed): Pair[] =>
    base.filter((one) => settingKey(one) === settingKey(changed)).map((baseline) => ({ baseline, changed }))
  );
  return pairs.toSorted((a, b) => pairWeight(b.baseline, b.changed) - pairWeight(a.baseline, a.changed))[0] ??
    null;
}

/** The first pair of each setting (model, data, start, sequence length, effective batch), in their order. */
export function bestPerSetting(
  pairs: readonly Pair[],
  apart: (changed: Configuration) => unknown[] = () => [],
): Pair[] {
  const found = new Map<string, Pair>();
  for (const pair of pairs) {
    const { config: { model, data, sequenceLength }, start, effectiveBatchSize } = pair.changed;
    const key = JSON.stringify([model, data, start, sequenceLength, effectiveBatchSize, apart(pair.changed)]);
    if (!found.has(key)) found.set(key, pair);
  }
  return [...found.values()];
}

/**
 * The usual form of 8-bit AdamW first. Seeds count most, since without them nothing is known of quality; then
 * a common phase; then which phase.
 */
export function pairWeight(a: Configuration, b: Configuration): number {
  const place = WORTH.indexOf(b.shows);
  const isSweep = [a, b].some(({ phaseKind }) => phaseKind === "batch-sweep");
  const isUsual = ![a, b].some(({ config }) => quantizesEmbeddings(config));
  const seeds = Math.min(a.seeds.length, b.seeds.length, 9);
  return (isSweep ? -10_000 : 0) + (isUsual ? 5000 : 0) + seeds * 100 + (a.phase === b.phase ? 50 : 0) +
    (place < 0 ? 0 : WORTH.length - place);
}

/** Booked peak of the baseline divided by the configuration's; exact, so without an interval. */
export function memoryRatio({ baseline, changed }: Pair): number | null {
  const [ours, theirs] = [changed.memory?.bookedBytes, baseline.memory?.bookedBytes];
  return ours && theirs ? theirs / ours : null;
}

/** The same for the peak seen from outside, with what driver and process hold before training. */
export function observedRatio({ baseline, changed }: Pair): Interval | null {
  return ratioOf(baseline.contextBytes, changed.contextBytes);
}

export function throughputRatio({ baseline, changed }: Pair, confidence?: number): Interval | null {
  return ratioOf(changed.tokensPerSecond, baseline.tokensPerSecond, confidence);
}
