/** Times and rates of the timed steps of a cell: those after its warm-up. */
import type { CellRecord } from "./record.ts";

/** Milliseconds of the steps after warm-up. */
export function timedStepMs(cell: CellRecord): number[] {
  return (cell.samples?.ms ?? []).slice(cell.warmupSteps).filter((ms) => ms > 0);
}

/** Tokens per second of the steps after warm-up. */
export function timedTokensPerSecond(cell: CellRecord): number[] {
  const rates: number[] = [];
  const { ms, tokens } = cell.samples ?? { ms: [], tokens: [] };
  for (let step = cell.warmupSteps; step < Math.min(ms.length, tokens.length); step++) {
    if (ms[step] > 0) rates.push(tokens[step] / ms[step] * 1000);
  }
  return rates;
}
