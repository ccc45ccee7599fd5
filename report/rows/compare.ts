/** The same configurations across machines or versions, as ratios to the first run. */
import { type CellSamples, compare, measure, type Measured, ratioOf } from "../../results/measured.ts";
import { type Configuration, configurationsOf } from "./configuration.ts";
import { equalTokens, heldOutLosses } from "./held_out.ts";
import { formatRatio } from "../words/format.ts";
import { InputError } from "../../engine/input_error.ts";
import type { LoadedRun } from "../../results/load.ts";
import type { Interval } from "../../results/stats.ts";

export const METRICS = [
  "tokensPerSecond",
  "stepMs",
  "plannedPeakBytes",
  "bookedPeakBytes",
  "observedPeakBytes",
  "heldOutLoss",
] as const;
export type Metric = typeof METRICS[number];

/** One configuration of one run beside that of the first. */
export interface Compared {
  /** Null where this run has no such configuration. */
  configuration: Configuration | null;
  ratios: Record<Metric, { ratio: Interval | null; isDifferent: boolean }>;
  heldOut: Measured | null;
}

export interface ComparisonRow {
  label: string;
  phase: string;
  /** One a run, in order; the first is the reference. */
  runs: Compared[];
}

export interface Rule {
  text: string;
  metric: Metric;
  operator: "<" | ">";
  bound: number;
}

export interface Comparison {
  rows: ComparisonRow[];
  failed: boolean;
  /** One sentence a failure. */
  failures: string[];
}

/**
 * Reads a rule: a metric, `<` or `>`, and the ratio to the first run beyond which a configuration fails
 * (`tokensPerSecond<0.9`: fails where throughput falls below nine tenths). @throws InputError
 */
export function parseRule(text: string): Rule {
  const match = /^\s*([A-Za-z]+)\s*([<>])\s*(\d+(?:\.\d+)?)\s*$/.exec(text);
  const metric = METRICS.find((name) => name === match?.[1]);
  if (!match || !metric) {
    throw new InputError(
      `Cannot read rule "${text}": expected METRIC<RATIO or METRIC>RATIO with ${METRICS.join(", ")}`,
    );
  }
  return { text: text.trim(), metric, operator: match[2] as "<" | ">", bound: Number(match[3]) };
}

/** Samples of a metric in two configurations, this run's and the first one's; losses at equal tokens. */
function samplesOf(
  metric: Metric,
  pair: readonly [Configuration, Configuration],
  tokens: number | null,
): (Measured | null)[] {
  switch (metric) {
    case "tokensPerSecond":
      return pair.map(({ tokensPerSecond }) => tokensPerSecond);
    case "stepMs":
      return pair.map(({ stepMs }) => stepMs);
    case "heldOutLoss":
      return heldOutLosses(pair, tokens);
    case "plannedPeakBytes":
      return pair.map((one) => measure(exactly(one, one.memory?.plannedBytes)));
    case "bookedPeakBytes":
      return pair.map((one) => measure(exactly(one, one.memory?.bookedBytes)));
    case "observedPeakBytes":
      return pair.map(({ memory }) => measure(memory?.observedByCell ?? []));
    default:
      throw new TypeError(`No samples for ${metric satisfies never}`);
  }
}

function exactly({ cells }: Configuration, value: number | null | undefined): CellSamples[] {
  return value == null ? [] : [{ id: cells[0].id, seed: cells[0].config.seed, values: [value] }];
}

/** Planned and booked bytes are exact: any change is one. */
const EXACT: readonly Metric[] = ["plannedPeakBytes", "bookedPeakBytes"];

function compared(configuration: Configuration | null, reference: Configuration): Compared {
  const tokens = configuration ? equalTokens([configuration, reference]) : null;
  const entries = METRICS.map((metric) => {
    const [own, base] = configuration ? samplesOf(metric, [configuration, reference], tokens) : [null, null];
    const usable = own && base && base.interval.estimate > 0;
    const ratio = usable ? ratioOf(own, base) : null;
    const isDifferent = EXACT.includes(metric)
      ? ratio !== null && ratio.estimate !== 1
      : compare(own, base) === "different";
    return [metric, { ratio, isDifferent }] as const;
  });
  return {
    configuration,
    ratios: Object.fromEntries(entries) as Compared["ratios"],
    heldOut: configuration && heldOutLosses([configuration, reference], tokens)[0],
  };
}

/** By identity first (equal cell ids), then by phase and label: a version may add a setting to all. */
function counterpart(reference: Configuration, candidates: readonly Configuration[]): Configuration | null {
  return candidates.find(({ key }) => key === reference.key) ??
    candidates.find(({ phase, label }) => phase === reference.phase && label === reference.label) ?? null;
}

/** Rows for every configuration of the first run, and what the rules say of them. */
export function compareLoaded(runs: readonly LoadedRun[], failOn: readonly string[]): Comparison {
  const rules = failOn.map(parseRule);
  const [first, ...others] = runs.map(({ cells }) => configurationsOf(cells));
  const rows = first.map((reference): ComparisonRow => ({
    label: reference.label,
    phase: reference.phase,
    runs: [
      compared(reference, reference),
      ...others.map((candidates) => compared(counterpart(reference, candidates), reference)),
    ],
  }));
  const failures = rules.flatMap((rule) => failuresOf(rule, rows, runs));
  return { rows, failed: failures.length > 0, failures };
}

/**
 * A configuration fails a rule where its ratio is beyond the bound and the noise does not explain it, and
 * where it ran in the first run but not in this one: a crash must not pass for a change too small to see.
 */
function failuresOf(rule: Rule, rows: readonly ComparisonRow[], runs: readonly LoadedRun[]): string[] {
  return rows.flatMap(({ label, runs: [reference, ...others] }) =>
    others.flatMap(({ configuration, ratios }, i) => {
      const name = runs[i + 1].name;
      if (reference.configuration!.ok.length === 0) return [];
      if (!configuration || configuration.ok.length === 0) {
        const status = configuration ? configuration.cells[0].status : "not in the run";
        return [`${rule.text}: ${label} in ${name} has no figure (${status})`];
      }
      const { ratio, isDifferent } = ratios[rule.metric];
      if (!ratio) return [];
      const isBeyond = rule.operator === "<" ? ratio.estimate < rule.bound : ratio.estimate > rule.bound;
      // One sample a side has no noise to hide in: the figure itself decides.
      const isCertain = isDifferent || ratio.low === ratio.high;
      return isBeyond && isCertain
        ? [`${rule.text}: ${label} in ${name} is at ${formatRatio(ratio.estimate)}`]
        : [];
    })
  );
}
