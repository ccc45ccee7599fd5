/** Whether the machine kept its speed: the first and the last process of a configuration, side by side. */
import { MARGINS } from "../../results/margins.ts";
import { timedStepMs } from "../../results/rates.ts";
import type { CellRecord } from "../../results/record.ts";
import { median } from "../../results/stats.ts";
import type { Analysis } from "./analysis.ts";
import type { Configuration } from "./configuration.ts";

/** A configuration whose step time is not in its last process what it was in its first. */
export interface Drift {
  configuration: Configuration;
  /** Id of the cell that the last process ran. */
  last: string;
  /** Median step of the first process, milliseconds. */
  firstMs: number;
  /** Median step of the last one, milliseconds. */
  lastMs: number;
}

/**
 * Configurations whose median step differs by more than `MARGINS.steadiness` between the first and the last
 * process that timed it alone on the same machine, in the order in which they ran; the largest change first.
 * Clocks that fall as a device grows hot look so, and other work on the machine does.
 */
export function drifts({ trained }: Pick<Analysis, "trained">): Drift[] {
  return trained.flatMap((configuration) => driftOf(configuration) ?? [])
    .toSorted((a, b) => change(b) - change(a));
}

function driftOf(configuration: Configuration): Drift | null {
  const timed = configuration.ok.filter((cell) => cell.sameRunAs === null && timedStepMs(cell).length > 0);
  const machines = Object.values(Object.groupBy(timed, ({ environment }) => environment.key));
  const found = machines.flatMap((cells): Drift[] => {
    const inOrder = cells!.toSorted((a, b) => Date.parse(a.startedAt) - Date.parse(b.startedAt));
    const [first, last] = [inOrder[0], inOrder.at(-1)!];
    const [firstMs, lastMs] = [medianStep(first), medianStep(last)];
    const isSteady = Math.abs(lastMs - firstMs) <= MARGINS.steadiness.value * firstMs;
    return isSteady ? [] : [{ configuration, last: last.id, firstMs, lastMs }];
  });
  return found.toSorted((a, b) => change(b) - change(a))[0] ?? null;
}

function medianStep(cell: CellRecord): number {
  return median(timedStepMs(cell));
}

/** How far apart the two are, either way round. */
function change({ firstMs, lastMs }: Drift): number {
  return Math.abs(Math.log(lastMs / firstMs));
}
