/** The same configurations across machines or versions, as ratios to the first run. */
import { type CellSamples, compare, measure, type Measured, ratioOf } from "../../results/measured.ts";
import { type Configuration, configurationsOf } from "./configuration.ts";
import { equalTokens, heldOutLosses } from "./held_out.ts";
import { formatRatio } from "../words/format.ts";
import { InputError } from "../../engine/input_error.ts";
import { canonicalJson } from "../../results/canonical_json.ts";
import { METHODS, type MethodSettings, OPTIMIZERS } from "../../results/methods.ts";
import { RUN_SETTINGS, type RunConfig, type Setting } from "../../results/settings.ts";
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
  /** Settings in which it differs from the first run's: then there are no ratios. */
  differs: string[];
  /** Whether losses of all steps and evaluations are the same to the bit, seed by seed; null: no pair. */
  sameLosses: boolean | null;
  ratios: Record<Metric, { ratio: Interval | null; isDifferent: boolean }>;
  heldOut: Measured | null;
}

export interface ComparisonRow {
  label: string;
  phase: string;
  /** One a run, in order; the first is the reference, which may not have it. */
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
 * (`tokensPerSecond<0.9`: fails where throughput falls below nine tenths), or the change in percent
 * (`bookedPeakBytes>1%`: where it grows by more than that; `tokensPerSecond<5%`: falls by more).
 *
 * @throws InputError
 */
export function parseRule(text: string): Rule {
  const match = /^\s*([A-Za-z]+)\s*([<>])\s*(\d+(?:\.\d+)?)\s*(%?)\s*$/.exec(text);
  const metric = METRICS.find((name) => name === match?.[1]);
  if (!match || !metric) {
    throw new InputError(
      `Cannot read rule "${text}": expected METRIC<RATIO or METRIC>RATIO with ${METRICS.join(", ")}`,
    );
  }
  const operator = match[2] as Rule["operator"];
  const value = Number(match[3]);
  const bound = match[4] === "" ? value : operator === "<" ? 1 - value / 100 : 1 + value / 100;
  return { text: text.trim(), metric, operator, bound };
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

const NO_RATIOS = Object.fromEntries(
  METRICS.map((metric) => [metric, { ratio: null, isDifferent: false }]),
) as Compared["ratios"];

function compared(configuration: Configuration | null, reference: Configuration | null): Compared {
  const differs = configuration && reference ? differing(configuration, reference) : [];
  if (!configuration || !reference || differs.length > 0) {
    return { configuration, differs, sameLosses: null, ratios: NO_RATIOS, heldOut: null };
  }
  const tokens = equalTokens([configuration, reference]);
  const entries = METRICS.map((metric) => {
    const [own, base] = samplesOf(metric, [configuration, reference], tokens);
    const usable = own && base && base.interval.estimate > 0;
    const ratio = usable ? ratioOf(own, base) : null;
    const isDifferent = EXACT.includes(metric)
      ? ratio !== null && ratio.estimate !== 1
      : compare(own, base) === "different";
    return [metric, { ratio, isDifferent }] as const;
  });
  return {
    configuration,
    differs,
    sameLosses: sameLosses(configuration, reference),
    ratios: Object.fromEntries(entries) as Compared["ratios"],
    heldOut: heldOutLosses([configuration, reference], tokens)[0],
  };
}

/** Settings in which two configurations differ, the seed apart: seeds are paired. */
function differing(one: Configuration, other: Configuration): string[] {
  const [a, b] = [one, other].map(({ config, start }) => whole({ ...config, startFrom: start }));
  return Object.keys(RUN_SETTINGS).filter((name) =>
    name !== "seed" && canonicalJson(a[name] ?? null) !== canonicalJson(b[name] ?? null)
  );
}

/** A configuration with what a record of an earlier version leaves out: settings at their defaults. */
function whole(config: RunConfig): Record<string, unknown> {
  const named = (settings: MethodSettings, given: Record<string, unknown> = {}) => ({
    ...Object.fromEntries(Object.entries(settings).map(([name, one]) => [name, one.default])),
    ...given,
  });
  const methods = METHODS.filter(({ id }) => config.methods.includes(id));
  const optimizer = OPTIMIZERS.find(({ id }) => id === config.optimizer);
  const defaults = Object.entries<Setting>(RUN_SETTINGS).map(([name, one]) => [name, one.default]);
  return {
    ...Object.fromEntries(defaults),
    ...config,
    methods: [...config.methods].sort(),
    methodOptions: Object.fromEntries(
      methods.map(({ id, settings }) => [id, named(settings, config.methodOptions[id])]),
    ),
    optimizerOptions: named(optimizer?.settings ?? {}, config.optimizerOptions),
  };
}

/** Whether cells of the same seed and round have the same losses to the bit; null where none have a pair. */
function sameLosses(one: Configuration, other: Configuration): boolean | null {
  const name = ({ config: { seed }, repeat }: Configuration["ok"][number]) => `${seed} ${repeat}`;
  const theirs = new Map(other.ok.map((cell) => [name(cell), cell]));
  const losses = ({ samples, heldOut }: Configuration["ok"][number]) =>
    canonicalJson([samples?.loss ?? null, heldOut.map(({ step, loss }) => [step, loss])]);
  const pairs = one.ok.flatMap((cell) => {
    const twin = theirs.get(name(cell));
    return twin && cell.samples ? [[cell, twin] as const] : [];
  });
  return pairs.length === 0 ? null : pairs.every(([a, b]) => losses(a) === losses(b));
}

/** By identity first (equal cell ids), then by phase and label: what differs then is named. */
function counterpart(reference: Configuration, candidates: readonly Configuration[]): Configuration | null {
  return candidates.find(({ key }) => key === reference.key) ??
    candidates.find(({ phase, label }) => phase === reference.phase && label === reference.label) ?? null;
}

/** Rows for every configuration of any run, those of the first run first, and what the rules say of them. */
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
  const shown = new Set(rows.flatMap(({ runs }) => runs.map(({ configuration }) => configuration)));
  for (const [i, candidates] of others.entries()) {
    for (const one of candidates.filter((candidate) => !shown.has(candidate))) {
      const found = others.map((more, j) => j < i ? null : j === i ? one : counterpart(one, more));
      for (const twin of found) shown.add(twin);
      const { label, phase } = one;
      rows.push({ label, phase, runs: [compared(null, null), ...found.map((each) => compared(each, null))] });
    }
  }
  const failures = rules.flatMap((rule) => failuresOf(rule, rows, runs));
  return { rows, failed: failures.length > 0, failures };
}

/**
 * A configuration fails a rule where its ratio is beyond the bound and the noise does not explain it, and
 * where it ran in the first run but not in this one: a crash must not pass for a change too small to see. A
 * rule that finds no figure in a run fails there, or it would pass for as long as nobody measures.
 */
function failuresOf(rule: Rule, rows: readonly ComparisonRow[], runs: readonly LoadedRun[]): string[] {
  return runs.slice(1).flatMap(({ name }, i) => {
    const own = rows.filter(({ runs: [{ configuration }] }) => configuration && configuration.ok.length > 0);
    const failures = own.flatMap((row) => failureOf(rule, row, i + 1, name));
    const isMeasured = own.some(({ runs: compared }) => compared[i + 1].ratios[rule.metric].ratio);
    return isMeasured ? failures : [...failures, `${rule.text}: no figure in ${name} to hold the rule to`];
  });
}

function failureOf(rule: Rule, { label, runs }: ComparisonRow, index: number, name: string): string[] {
  const { configuration, ratios, differs } = runs[index];
  if (!configuration || configuration.ok.length === 0) {
    const status = configuration ? configuration.cells[0].status : "not in the run";
    return [`${rule.text}: ${label} in ${name} has no figure (${status})`];
  }
  if (differs.length > 0) {
    return [`${rule.text}: ${label} in ${name} is not compared: it differs in ${differs.join(", ")}`];
  }
  const { ratio, isDifferent } = ratios[rule.metric];
  if (!ratio) return [];
  const isBeyond = rule.operator === "<" ? ratio.estimate < rule.bound : ratio.estimate > rule.bound;
  // One sample a side has no noise to hide in: the figure itself decides.
  const isCertain = isDifferent || ratio.low === ratio.high;
  return isBeyond && isCertain
    ? [`${rule.text}: ${label} in ${name} is at ${formatRatio(ratio.estimate)}`]
    : [];
}
