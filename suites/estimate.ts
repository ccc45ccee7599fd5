import { median } from "../results/stats.ts";
import type { CellRecord, Roofline } from "../results/record.ts";
import { ranAlone } from "../results/rates.ts";
import type { Tier } from "./schema.ts";

/** What time a cell takes is guessed from, until cells of the run have finished. */
export const ASSUMED: Readonly<Record<Tier, { flopsPerSecond: number; stepMs: number; startMs: number }>> = {
  // A step has a floor: encoding and submitting its dispatches. Starting a process compiles every pipeline.
  "software": { flopsPerSecond: 9e9, stepMs: 40, startMs: 1800 },
  "gpu-small": { flopsPerSecond: 2e12, stepMs: 10, startMs: 5000 },
  "gpu-large": { flopsPerSecond: 10e12, stepMs: 10, startMs: 5000 },
  // Medians over the runs of results/ on an H100 and an H200.
  "gpu-short": { flopsPerSecond: 20e12, stepMs: 10, startMs: 4000 },
};

/** Share of the device's fastest products that whole steps of small models reach. */
const SHARE_OF_ROOF = 0.5;

/** What an estimate needs to know of a cell. */
export interface Work {
  steps: number;
  modelFlopsPerStep: number;
}

/** What finished cells say of the time that others will take. */
export interface Calibration {
  tier: Tier;
  /** All but the steps: starting the process, compiling, evaluating. */
  startMs: number;
  /** How much longer steps take than assumed. */
  slowness: number;
  /** Cells it rests on. */
  cells: number;
}

/**
 * Learns from finished cells: steps and all else are timed apart, because cells differ in how much they have
 * of both. Medians, so that one cell that stalled does not spoil them. Before the first one, steps are
 * expected to reach a share of what the device can do at best, where that is known.
 */
export function calibrate(
  finished: readonly CellRecord[],
  tier: Tier,
  roofline: Roofline | null = null,
): Calibration {
  const measured = finished.filter((record) =>
    record.status === "ok" && record.sameRunAs === null && record.samples && record.modelFlopsPerStep &&
    ranAlone(record)
  ).map(({ config: { steps }, wallMs, samples, modelFlopsPerStep }) => {
    const ms = samples!.ms.reduce((a, b) => a + b, 0);
    return {
      startMs: wallMs - ms,
      slowness: ms / assumedMs({ steps, modelFlopsPerStep: modelFlopsPerStep! }, tier),
    };
  });
  return {
    tier,
    startMs: measured.length === 0 ? ASSUMED[tier].startMs : median(measured.map(({ startMs }) => startMs)),
    slowness: measured.length > 0
      ? median(measured.map(({ slowness }) => slowness))
      : roofline
      ? ASSUMED[tier].flopsPerSecond / (SHARE_OF_ROOF * roofline.matmulFlopsPerSecond.f32)
      : 1,
    cells: measured.length,
  };
}

/** Expected wall time of a cell. */
export function estimateMs(work: Work, { tier, startMs, slowness }: Calibration): number {
  return startMs + slowness * assumedMs(work, tier);
}

function assumedMs({ steps, modelFlopsPerStep }: Work, tier: Tier): number {
  const { flopsPerSecond, stepMs } = ASSUMED[tier];
  return steps * Math.max(stepMs, (modelFlopsPerStep / flopsPerSecond) * 1000);
}

/** What an estimate rests on, in words. */
export function estimateBasis({ tier, cells }: Calibration): string {
  if (cells > 0) return `from ${cells} finished ${cells === 1 ? "cell" : "cells"}`;
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
