import { bootstrapRatioOfMedians, type Interval, median } from "../../../results/stats.ts";
import type { PeerShape, PeerStep } from "./protocol.ts";

/** Steps of one peer at one shape. */
export interface PeerRun {
  peer: string;
  version: string;
  adapter: string;
  /** Steps before timing: pipelines are compiled in them. */
  warmup: PeerStep[];
  /** One a round. */
  timed: PeerStep[];
}

/** What a peer took beside what the engine took. */
export interface PeerRow {
  peer: string;
  medianMs: number;
  medianCpuMs: number;
  /** Peer's time over the engine's: above 1, the engine is faster. Null for the engine itself. */
  timesEngine: Interval | null;
  /** The same by processor time: steadier where the machine is shared. */
  cpuTimesEngine: Interval | null;
  /** Bytes of WebGPU buffers and textures at the peak; null without a GPU. */
  peakBytes: number | null;
  dispatches: number | null;
  submits: number | null;
  /** Largest distance from the engine's loss over all steps. */
  lossError: number;
}

/**
 * How far losses may be apart. f32 sums in another order differ by a few 1e-7,
 * and Adam's first steps magnify that.
 */
export const LOSS_TOLERANCE = 1e-4;

/** Name of the engine among the peers. */
export const ENGINE = "threefold";

/**
 * Times, bytes and losses of all peers beside the engine's.
 *
 * @throws {RangeError} without the engine's run, or where peers did not do the same number of steps.
 */
export function compareRuns(runs: readonly PeerRun[]): PeerRow[] {
  const engine = runs.find(({ peer }) => peer === ENGINE);
  if (!engine) throw new RangeError(`Cannot compare ${runs.map(({ peer }) => peer)}: no run of ${ENGINE}`);
  const engineLosses = losses(engine);
  return runs.map((run) => {
    const { peer, timed } = run;
    const own = losses(run);
    if (own.length !== engineLosses.length || timed.length === 0) {
      throw new RangeError(`Cannot compare ${own.length} steps of ${peer} with ${engineLosses.length}`);
    }
    const over = (field: "ms" | "cpuMs") =>
      run === engine
        ? null
        : bootstrapRatioOfMedians(timed.map((s) => s[field]), engine.timed.map((s) => s[field]));
    const last = timed[timed.length - 1].gpu;
    return {
      peer,
      medianMs: median(timed.map(({ ms }) => ms)),
      medianCpuMs: median(timed.map(({ cpuMs }) => cpuMs)),
      timesEngine: over("ms"),
      cpuTimesEngine: over("cpuMs"),
      peakBytes: last?.peakBytes ?? null,
      dispatches: last?.dispatches ?? null,
      submits: last?.submits ?? null,
      lossError: own.reduce((worst, loss, i) => worseOf(worst, Math.abs(loss - engineLosses[i])), 0),
    };
  });
}

/** The larger one; NaN if either is, which `Math.max` over a comparison would hide. */
function worseOf(a: number, b: number): number {
  return Number.isNaN(a) || Number.isNaN(b) ? NaN : Math.max(a, b);
}

function losses({ warmup, timed }: PeerRun): number[] {
  return [...warmup, ...timed].map(({ loss }) => loss);
}

/** A figure the engine is held to. */
export interface Bound {
  what: string;
  value: number | null;
  limit: number;
  /** Null where it was not measured. */
  holds: boolean | null;
}

interface ShapeBounds {
  /** Least factor by which the engine is faster, by peer. */
  faster: Readonly<Record<string, number>>;
  peakBytes: number;
  dispatches?: number;
}

/** What the engine is held to, by shape, on a software adapter; fp32 AdamW, every method off. */
const BOUNDS: Readonly<Record<string, ShapeBounds>> = {
  S: { faster: { "jax-js": 5, tfjs: 8, torch: 1 }, peakBytes: 45e6, dispatches: 150 },
  M: { faster: { "jax-js": 8, tfjs: 8, torch: 1 }, peakBytes: 450e6 },
};

/** The bounds of a shape, each with what was measured; none for a shape that has none. */
export function checkBounds(shape: Pick<PeerShape, "name">, rows: readonly PeerRow[]): Bound[] {
  const bounds = BOUNDS[shape.name];
  if (!bounds) return [];
  const row = (peer: string) => rows.find((candidate) => candidate.peer === peer);
  const least = (what: string, value: number | null, limit: number): Bound => ({
    what,
    value,
    limit,
    holds: value === null ? null : value >= limit,
  });
  const most = (what: string, value: number | null, limit: number): Bound => ({
    what,
    value,
    limit,
    holds: value === null ? null : value <= limit,
  });
  const engine = row(ENGINE);
  return [
    ...Object.entries(bounds.faster).map(([peer, limit]) =>
      least(`times faster than ${peer}`, row(peer)?.timesEngine?.estimate ?? null, limit)
    ),
    most("bytes at the peak", engine?.peakBytes ?? null, bounds.peakBytes),
    ...bounds.dispatches === undefined
      ? []
      : [most("dispatches a step", engine?.dispatches ?? null, bounds.dispatches)],
    ...rows.filter(({ peer }) => peer !== ENGINE).map(({ peer, lossError }) =>
      most(`distance of ${peer}'s losses`, lossError, LOSS_TOLERANCE)
    ),
  ];
}

/** Table of one shape, at most 80 columns wide. */
export function comparisonText(shape: PeerShape, rows: readonly PeerRow[], bounds: readonly Bound[]): string {
  const title =
    `${shape.name}: ${shape.layerCount} layers, d ${shape.hiddenSize}, ${shape.headCount} heads, ` +
    `T ${shape.sequenceLength}, batch ${shape.batchSize}, V ${shape.vocabularySize}`;
  const head = ["peer", "ms/step", "CPU ms", "× engine", "95 %", "× CPU", "MB", "disp.", "|Δ loss|"];
  const cells = rows.map((row) => [
    row.peer,
    row.medianMs.toFixed(0),
    row.medianCpuMs.toFixed(0),
    row.timesEngine?.estimate.toFixed(2) ?? "1",
    row.timesEngine ? `${row.timesEngine.low.toFixed(1)}–${row.timesEngine.high.toFixed(1)}` : "",
    row.cpuTimesEngine?.estimate.toFixed(2) ?? "1",
    row.peakBytes === null ? "–" : (row.peakBytes / 1e6).toFixed(0),
    row.dispatches === null ? "–" : String(row.dispatches),
    row.peer === ENGINE ? "" : row.lossError.toExponential(0),
  ]);
  return [title, ...alignColumns([head, ...cells]), ...bounds.map(boundText)].join("\n");
}

function boundText({ what, value, limit, holds }: Bound): string {
  const verdict = holds === null ? "not measured" : holds ? "holds" : "MISSED";
  const number = (
    x: number,
  ) => (Math.abs(x) >= 1e5 || (x !== 0 && Math.abs(x) < 1e-2) ? x.toExponential(2) : x.toFixed(2));
  return `  ${what.padEnd(28)} ${(value === null ? "–" : number(value)).padStart(9)}  limit ${
    number(limit).padStart(9)
  }  ${verdict}`;
}

/** First column to the left, others to the right. */
export function alignColumns(rows: readonly string[][]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])))
      .join("  ").trimEnd()
  );
}
