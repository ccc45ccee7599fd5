/**
 * How much longer a step is expected to take with a combination of methods: what this run has measured of
 * each of them alone, and what the paper and its sources say of those that it has not. It orders candidates
 * and advice, and is no result.
 */
import { METHODS, OPTIMIZERS } from "../results/methods.ts";
import { timedStepMs } from "../results/rates.ts";
import type { CellRecord, RunConfig } from "../results/record.ts";
import { mean, median } from "../results/stats.ts";
import { effectiveBatchSize } from "../results/tokens_per_step.ts";

/** Times as long as without it, by method or optimizer. */
export type TimeFactors = ReadonlyMap<string, number>;

/** What a step's time is expected from. */
export interface TimedConfiguration {
  methods: readonly string[];
  optimizer: string;
  gradientAccumulationSteps: number;
  methodOptions?: RunConfig["methodOptions"];
}

/**
 * Selective checkpointing takes less than a tenth of the extra time of a full one. Source: Korthikanti et al.
 * 2022, arXiv:2205.05198 ("over 90 %").
 */
const SELECTIVE_SHARE = 0.1;

/** Times as long as AdamW without any method: the product of what each takes alone. */
export function expectedTime(configuration: TimedConfiguration, measured: TimeFactors = new Map()): number {
  const { methods, optimizer, gradientAccumulationSteps, methodOptions = {} } = configuration;
  const factor = (list: readonly { id: string; expectedSlowdown: number }[], id: string) =>
    measured.get(id) ?? 1 + (list.find((one) => one.id === id)?.expectedSlowdown ?? 0);
  const ofMethod = (id: string) => {
    const whole = factor(METHODS, id);
    return methodOptions[id]?.selective === true ? 1 + SELECTIVE_SHARE * (whole - 1) : whole;
  };
  const all = [...methods, ...gradientAccumulationSteps > 1 ? ["accumulation"] : []].map(ofMethod);
  const product = [...all, factor(OPTIMIZERS, optimizer)].reduce((product, one) => product * one, 1);
  // So that the order of factors does not tell apart what is equal.
  return Number(product.toPrecision(10));
}

/**
 * What each method takes alone, from cells that differ from the baseline in it and in nothing else: its mean
 * step over that of the baseline, one median a process.
 *
 * @param config The baseline.
 * @returns The factors, and the ids of the cells that they come from.
 */
export function measuredFactors(
  config: RunConfig,
  records: readonly CellRecord[],
): { factors: Map<string, number>; inputs: string[] } {
  const alike = records.filter((record) =>
    record.status === "ok" && timedStepMs(record).length > 0 && record.config.model === config.model &&
    record.config.data === config.data && record.config.sequenceLength === config.sequenceLength &&
    effectiveBatchSize(record.config) === effectiveBatchSize(config)
  );
  const groups = Map.groupBy(alike, ({ config: { methods, optimizer, gradientAccumulationSteps } }) => {
    const changes = [
      ...methods,
      ...optimizer === config.optimizer ? [] : [optimizer],
      ...gradientAccumulationSteps > 1 ? ["accumulation"] : [],
    ];
    return changes.length > 1 ? "several" : changes[0] ?? "baseline";
  });
  groups.delete("several");
  const time = (cells: readonly CellRecord[]) => mean(cells.map((cell) => median(timedStepMs(cell))));
  const baseline = groups.get("baseline");
  if (!baseline) return { factors: new Map(), inputs: [] };
  const base = time(baseline);
  const factors = new Map<string, number>();
  for (const [id, cells] of groups) if (id !== "baseline") factors.set(id, time(cells) / base);
  return { factors, inputs: [...groups.values()].flat().map(({ id }) => id) };
}
