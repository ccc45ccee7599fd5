/** Which of two configurations trains faster, where the noise allows to say so. */
import { type Measured, pooledSpread, ratioOf } from "../../results/measured.ts";
import { CONFIDENCE, isAlone } from "../../results/intervals.ts";
import { studentQuantile } from "../../results/student.ts";
import type { Configuration } from "./configuration.ts";

/** Whether `a` is shown to be faster than `b`. */
export type IsFaster = (a: Configuration, b: Configuration) => boolean;

/**
 * Faster is what has the whole 95 % interval of its ratio above 1. Where a side ran in one process, the
 * interval comes from the scatter that all these configurations share between their processes; where none
 * has two, nothing is shown to be faster.
 */
export function fasterAmong(configurations: readonly Configuration[]): IsFaster {
  const spread = pooledSpread(configurations.map(({ tokensPerSecond }) => tokensPerSecond));
  return (a, b) => {
    const ratio = ratioOf(a.tokensPerSecond, b.tokensPerSecond);
    if (!ratio) return false;
    if (!isAlone(ratio)) return ratio.low > 1;
    if (!spread) return false;
    const variance = processes(a.tokensPerSecond) + processes(b.tokensPerSecond);
    const quantile = studentQuantile((1 + CONFIDENCE) / 2, spread.degrees);
    return Math.log(ratio.estimate) > quantile * spread.deviation * Math.sqrt(variance);
  };
}

/** Variance of a mean over processes, in units of one process's. */
function processes(measured: Measured | null): number {
  return 1 / (measured?.byProcess.size ?? 0);
}

/**
 * How many things a configuration switches on: of equals the simpler one is taken. An effective batch other
 * than the baseline's is one of them, since it trains another model.
 */
export function switchedCount(
  { config, effectiveBatchSize }: Configuration,
  baseline: Configuration | null,
): number {
  return config.methods.length + Number(config.optimizer !== "adamw") +
    Number(config.gradientAccumulationSteps > 1) +
    Number(baseline !== null && effectiveBatchSize !== baseline.effectiveBatchSize);
}
