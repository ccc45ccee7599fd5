/** The configurations of a run as a judge sees them: found by what they switch on, compared only where all else is equal. */
import {
  type Analysis,
  type Configuration,
  equalTokens,
  heldOutLosses,
  phaseKind,
  ratioOf,
  settingKey,
} from "./derive.ts";
import { quantizesEmbeddings } from "../words/names.ts";
import { ALPHA, holm, type LossDifference, lossDifference } from "./quality.ts";
import type { Interval } from "../../results/stats.ts";

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

/** Phases by how much a comparison in them is worth: those that were made for it first. */
const PHASE_ORDER = ["single", "ladder", "per-batch-size", "factorial"];

/** Whether a configuration switches on exactly this. */
export function switchesOn({ config }: Configuration, what: Combination): boolean {
  const { methods, optimizer = "adamw", accumulates = false } = what;
  return [...config.methods].sort().join() === [...methods].sort().join() && config.optimizer === optimizer &&
    config.gradientAccumulationSteps > 1 === accumulates;
}

/** The records behind the verdicts. Every equality of losses that is asked for is corrected for how many there are. */
export class Evidence {
  readonly analysis: Analysis;
  /** Ran to the end at least once, in a phase whose figures stand for the configuration. */
  readonly trained: readonly Configuration[];
  readonly planned: readonly Configuration[];
  readonly #losses = new Map<Configuration, Map<Configuration, LossDifference | null>>();
  #settled = false;

  constructor(analysis: Analysis) {
    this.analysis = analysis;
    // A rate sweep trains at rates that were not chosen, and the overflow phase at a scale that no one would choose.
    this.trained = analysis.configurations.filter((configuration) =>
      configuration.ok.length > 0 && phaseKind(analysis, configuration.phase) !== "rate-sweep" &&
      configuration.phase !== "overflow"
    );
    this.planned = analysis.planned.filter(({ ok }) => ok.length > 0);
  }

  /** Every configuration of a phase, those that failed among them. */
  phase(name: string): Configuration[] {
    return [...this.analysis.configurations, ...this.analysis.planned].filter(({ phase }) => phase === name);
  }

  /** All pairs that differ in what is given alone, the most telling first. */
  pairs(changed: Combination, baseline: Combination = { methods: [] }): Pair[] {
    const from = this.trained.filter((configuration) => switchesOn(configuration, baseline));
    const pairs = this.trained.filter((configuration) => switchesOn(configuration, changed)).flatMap(
      (one): Pair[] => {
        const alike = from.filter((other) => settingKey(other) === settingKey(one));
        const best = alike.toSorted((a, b) => this.#weight(b, one) - this.#weight(a, one))[0];
        return best ? [{ baseline: best, changed: one }] : [];
      },
    );
    return pairs.toSorted((a, b) =>
      this.#weight(b.baseline, b.changed) - this.#weight(a.baseline, a.changed)
    );
  }

  pair(changed: Combination, baseline?: Combination): Pair | null {
    return this.pairs(changed, baseline)[0] ?? null;
  }

  /** The usual form of 8-bit AdamW first. Seeds count most, since without them nothing is known of quality; then a common phase; then which phase. */
  #weight(a: Configuration, b: Configuration): number {
    const rank = (phase: string) => {
      const place = PHASE_ORDER.indexOf(phase);
      return place < 0 ? 0 : PHASE_ORDER.length - place;
    };
    const isSweep = [a, b].some(({ phase }) => phaseKind(this.analysis, phase) === "batch-sweep");
    const isUsual = ![a, b].some(({ config }) => quantizesEmbeddings(config));
    const seeds = Math.min(a.seeds.length, b.seeds.length, 9);
    return (isSweep ? -10_000 : 0) + (isUsual ? 5000 : 0) + seeds * 100 + (a.phase === b.phase ? 50 : 0) +
      rank(b.phase);
  }

  /** Held-out loss at equal tokens, `changed` minus `baseline`. */
  loss({ baseline, changed }: Pair): LossDifference | null {
    const known = this.#losses.get(baseline) ?? new Map<Configuration, LossDifference | null>();
    this.#losses.set(baseline, known);
    if (!known.has(changed)) {
      if (this.#settled) {
        throw new RangeError("Cannot compare losses that were not asked for before correction");
      }
      const [before, after] = heldOutLosses([baseline, changed], equalTokens([baseline, changed]));
      known.set(changed, lossDifference(before, after));
    }
    return known.get(changed)!;
  }

  /** How many tests of equality were asked for. */
  get testCount(): number {
    return this.#tests().length;
  }

  #tests(): LossDifference[] {
    return [...this.#losses.values()].flatMap((known) => [...known.values()]).filter((loss) =>
      loss !== null && loss.pValue !== null
    ) as LossDifference[];
  }

  /** Corrects all tests asked for so far (Holm 1979): what was called equal and is no longer becomes unshown. */
  settle(): void {
    const tests = this.#tests();
    const corrected = holm(tests.map(({ pValue }) => pValue!));
    tests.forEach((test, i) => {
      test.pValue = corrected[i];
      if (test.outcome === "equal" && corrected[i] > ALPHA) test.outcome = "unshown";
    });
    this.#settled = true;
  }

  /** Booked peak of the baseline divided by the configuration's; exact, so without an interval. */
  memoryRatio({ baseline, changed }: Pair): number | null {
    const [ours, theirs] = [changed.memory?.bookedBytes, baseline.memory?.bookedBytes];
    return ours && theirs ? theirs / ours : null;
  }

  /** The same for the peak seen from outside, with what driver and process hold before training. */
  observedRatio({ baseline, changed }: Pair): Interval | null {
    return ratioOf(baseline.contextBytes, changed.contextBytes);
  }

  throughputRatio({ baseline, changed }: Pair): Interval | null {
    return ratioOf(changed.tokensPerSecond, baseline.tokensPerSecond);
  }
}
