import { median } from "../results/stats.ts";
import type { CellRecord } from "../results/record.ts";
import type { Tier } from "./suite.ts";

/** What time a cell takes is guessed from, until cells of the run have finished. */
export const ASSUMED: Readonly<Record<Tier, { flopsPerSecond: number; stepMs: number; startMs: number }>> = {
  // A step has a floor: encoding and submitting its dispatches. Starting a process compiles every pipeline.
  "software": { flopsPerSecond: 10e9, stepMs: 40, startMs: 3000 },
  "gpu-small": { flopsPerSecond: 2e12, stepMs: 10, startMs: 5000 },
  "gpu-large": { flopsPerSecond: 10e12, stepMs: 10, startMs: 5000 },
};

/** What an estimate needs to know of a cell. */
export interface Work {
  steps: number;
  modelFlopsPerStep: number;
}

/**
 * Expected wall time of a cell: the assumed time, scaled by how far finished cells were from theirs. The median of the
 * ratios, so that one cell that stalled does not spoil it.
 *
 * @param finished Records of cells that ended `ok`.
 */
export function estimateMs(work: Work, finished: readonly CellRecord[], tier: Tier): number {
  const ratios = finished
    .filter(({ status, modelFlopsPerStep }) => status === "ok" && modelFlopsPerStep)
    .map((cell) =>
      cell.wallMs / assumedMs({ steps: cell.config.steps, modelFlopsPerStep: cell.modelFlopsPerStep! }, tier)
    );
  return assumedMs(work, tier) * (ratios.length === 0 ? 1 : median(ratios));
}

function assumedMs({ steps, modelFlopsPerStep }: Work, tier: Tier): number {
  const { flopsPerSecond, stepMs, startMs } = ASSUMED[tier];
  return startMs + steps * Math.max(stepMs, (modelFlopsPerStep / flopsPerSecond) * 1000);
}

/** What the estimate rests on, in words. */
export function estimateBasis(finished: readonly CellRecord[], tier: Tier): string {
  const count = finished.filter(({ status }) => status === "ok").length;
  if (count > 0) return `from ${count} finished ${count === 1 ? "cell" : "cells"}`;
  const { flopsPerSecond, startMs } = ASSUMED[tier];
  return `assuming ${flopsPerSecond / 1e9} GFLOP/s and ${startMs / 1000} s to start a cell`;
}

/** `45 s`, `3 min 20 s`, `2 h 5 min` */
export function durationText(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}
