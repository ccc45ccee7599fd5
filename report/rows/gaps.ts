/** What has no figures: cells that a rule left out, that failed, or that have no record. */
import type { LoadedRun } from "../../results/load.ts";

/** Cells of a phase that ended alike, and without figures. */
export interface PhaseGap {
  phase: string;
  status: string;
  count: number;
  reasons: string[];
}

/** What has no figures, one entry for each phase and kind of end, in the order of the run. */
export function gapsOf({ run, cells, missing, unreadable }: LoadedRun): PhaseGap[] {
  const byId = new Map(cells.map((cell) => [cell.id, cell]));
  const problems = new Map<string, { status: string; reason: string | null }>([
    ...missing.map((gap) => [gap.id, { status: "without a record", reason: gap.problem }] as const),
    ...unreadable.map((gap) => [gap.id, { status: "unreadable", reason: gap.problem }] as const),
  ]);
  const gaps = new Map<string, PhaseGap>();
  for (const { id, phase } of run.cells) {
    const { status, reason } = byId.get(id) ?? problems.get(id) ??
      { status: "without a record", reason: null };
    if (status === "ok") continue;
    const key = `${phase}\n${status}`;
    const gap = gaps.get(key) ?? { phase, status, count: 0, reasons: [] };
    gap.count++;
    if (reason && !gap.reasons.includes(reason)) gap.reasons.push(reason);
    gaps.set(key, gap);
  }
  return [...gaps.values()];
}
