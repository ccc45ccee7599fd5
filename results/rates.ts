/** Times and rates of the timed steps of a cell: those after its warm-up. */
import type { CellRecord } from "./record.ts";

/**
 * Whether no other cell ran at the same time. Where one did, times say how they shared the machine, and so
 * may bytes that were observed from outside: neither is a measurement.
 */
export function ranAlone({ concurrency }: Pick<CellRecord, "concurrency">): boolean {
  return (concurrency ?? 1) === 1;
}

/** Milliseconds of the steps after warm-up; none of a cell that did not run alone. */
export function timedStepMs(cell: CellRecord): number[] {
  return ranAlone(cell) ? (cell.samples?.ms ?? []).slice(cell.warmupSteps).filter((ms) => ms > 0) : [];
}

/** Tokens per second of the steps after warm-up; none of a cell that did not run alone. */
export function timedTokensPerSecond(cell: CellRecord): number[] {
  const rates: number[] = [];
  const { ms, tokens } = (ranAlone(cell) ? cell.samples : null) ?? { ms: [], tokens: [] };
  for (let step = cell.warmupSteps; step < Math.min(ms.length, tokens.length); step++) {
    if (ms[step] > 0) rates.push(tokens[step] / ms[step] * 1000);
  }
  return rates;
}
