import { bootstrapRatioOfMedians, type Interval, median } from "../../results/stats.ts";
import { alignColumns } from "./peers/comparison.ts";
import type { GpuRun, GpuTimes } from "./gpu_step.ts";

export type Side = "threefold" | "torch";

/** One run of one variant, in one of the rounds. */
export interface SidedRun {
  side: Side;
  round: number;
  run: GpuRun;
}

/** All rounds of one variant. */
export interface GpuRow {
  side: Side;
  /** `DTYPE-ATTENTION`. */
  variant: string;
  /** Steps of all rounds. */
  ms: readonly number[];
  medianMs: number;
  /** One a round: far apart, the machine was not the same in both. */
  roundMs: readonly number[];
  tokensPerSecond: number;
  /** Bytes of values alive at the peak: of the plan, and of PyTorch's allocator. */
  peakBytes: number | null;
  /** Bytes taken from the driver for that: booked, and reserved. */
  heldBytes: number | null;
  /** What the driver saw come on top of an empty device. */
  observedBytes: number | null;
  dispatches: number | null;
}

/** Time and peak of one of the engine's variants over those of one of PyTorch's. */
export interface GpuRatio {
  engine: string;
  torch: string;
  /** Below 1, the engine is faster. */
  time: Interval;
  /** Below 1, the engine needs less. Null on a CPU, where PyTorch does not count. */
  peak: number | null;
}

export interface GpuComparison {
  rows: GpuRow[];
  ratios: GpuRatio[];
  /** Variants that ran in no round, with the reason. */
  missing: { side: Side; variant: string; reason: string }[];
}

/** Medians of all rounds together, and every variant of the engine against every one of PyTorch. */
export function compareGpu(runs: readonly SidedRun[]): GpuComparison {
  const keys = [...new Set(runs.map(({ side, run }) => `${side} ${variantOf(run)}`))];
  const rows: GpuRow[] = [];
  const missing: GpuComparison["missing"] = [];
  for (const key of keys) {
    const own = runs.filter(({ side, run }) => `${side} ${variantOf(run)}` === key);
    const { side, run } = own[0];
    const times = own.map(({ run }) => run).filter((run): run is GpuTimes => !("error" in run));
    if (times.length > 0) rows.push(rowOf(side, times));
    else missing.push({ side, variant: variantOf(run), reason: String(run.error) });
  }
  const [engine, torch] = (["threefold", "torch"] as const).map((side) =>
    rows.filter((row) => row.side === side)
  );
  return { rows, ratios: engine.flatMap((ours) => torch.map((theirs) => ratioOf(ours, theirs))), missing };
}

function variantOf({ dtype, attention }: GpuRun): string {
  return `${dtype}-${attention}`;
}

function rowOf(side: Side, times: readonly GpuTimes[]): GpuRow {
  const ms = times.flatMap((run) => run.ms);
  /** The largest of all rounds. */
  const largest = (field: string) => {
    const values = times.map((run) => run[field]).filter((value) => typeof value === "number");
    return values.length === 0 ? null : Math.max(...values);
  };
  const tokens = times[0].tokensPerSecond * times[0].medianMs;
  return {
    side,
    variant: variantOf(times[0]),
    ms,
    medianMs: median(ms),
    roundMs: times.map(({ medianMs }) => medianMs),
    tokensPerSecond: tokens / median(ms),
    peakBytes: largest(side === "torch" ? "peakBytes" : "plannedPeakBytes"),
    heldBytes: largest(side === "torch" ? "reservedBytes" : "bookedPeakBytes"),
    observedBytes: largest(side === "torch" ? "observedBytes" : "observedPeakBytes"),
    dispatches: largest("dispatchesPerStep"),
  };
}

function ratioOf(ours: GpuRow, theirs: GpuRow): GpuRatio {
  const counted = ours.peakBytes !== null && theirs.peakBytes !== null;
  return {
    engine: ours.variant,
    torch: theirs.variant,
    time: bootstrapRatioOfMedians(ours.ms, theirs.ms),
    peak: counted ? ours.peakBytes! / theirs.peakBytes! : null,
  };
}

/** Tables of one case. */
export function gpuComparisonText(name: string, { rows, ratios, missing }: GpuComparison): string {
  const megabytes = (bytes: number | null) => bytes === null ? "–" : (bytes / 1e6).toFixed(0);
  const head = ["", "ms/step", "a round", "tok/s", "peak MB", "held", "driver", "disp."];
  const cells = rows.map((row) => [
    `${row.side} ${row.variant}`,
    short(row.medianMs),
    row.roundMs.map(short).join(" "),
    row.tokensPerSecond.toFixed(0),
    megabytes(row.peakBytes),
    megabytes(row.heldBytes),
    megabytes(row.observedBytes),
    row.dispatches === null ? "–" : String(row.dispatches),
  ]);
  return [
    name,
    ...rows.length === 0 ? [] : alignColumns([head, ...cells]),
    ...ratioTable(
      "Time ÷ PyTorch's, 95 % interval",
      ratios,
      ({ time: { estimate, low, high } }) => `${short(estimate)} ${short(low)}–${short(high)}`,
    ),
    ...ratioTable(
      "Peak ÷ PyTorch's",
      ratios.filter(({ peak }) => peak !== null),
      ({ peak }) => short(peak!),
    ),
    ...missingText(missing),
    "",
  ].join("\n");
}

/** A line for each reason. */
function missingText(missing: GpuComparison["missing"]): string[] {
  const variants = new Map<string, string[]>();
  for (const { side, variant, reason } of missing) {
    const what = `${side} did not run: ${reason}`;
    variants.set(what, [...variants.get(what) ?? [], variant]);
  }
  return [...variants].map(([what, names]) => `${names.join(", ")} of ${what}`);
}

/** The engine's variants down, PyTorch's across. */
function ratioTable(
  title: string,
  ratios: readonly GpuRatio[],
  cell: (ratio: GpuRatio) => string,
): string[] {
  if (ratios.length === 0) return [];
  const columns = [...new Set(ratios.map(({ torch }) => torch))];
  const engines = [...new Set(ratios.map(({ engine }) => engine))];
  const rows = engines.map((engine) => [
    engine,
    ...ratios.filter((ratio) => ratio.engine === engine).map(cell),
  ]);
  return ["", title, ...alignColumns([["", ...columns], ...rows])];
}

/** Three digits that count. */
function short(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
