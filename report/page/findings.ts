/** Sentences that say what the records show; what lies inside the noise is called so. */
import { compare, type Measured, ratioOf } from "../../results/measured.ts";
import { extremes, type Sweep, type SweepRow } from "../rows/sweep.ts";
import {
  count,
  formatBytes,
  formatCompact,
  formatInterval,
  formatNumber,
  formatRatio,
} from "../words/format.ts";
import type { LadderRow } from "../rows/ladder.ts";
import type { Pareto } from "../rows/pareto.ts";
import type { ObservedParts, RoleBar, Timeline } from "../rows/memory.ts";
import type { StepTimeRow } from "../charts/step_times.ts";
import type { LossPanel } from "../charts/loss_curves.ts";
import { ROLE_STYLE } from "../charts/palette.ts";
import { capital, listed, named } from "../words/text.ts";

const labelOf = ({ configuration }: SweepRow) => configuration.label;

/** The row with the best figure and those that do not differ from it. */
export function leaders(
  rows: readonly SweepRow[],
  of: (row: SweepRow) => Measured | null,
  direction: "largest" | "smallest",
) {
  const best = extremes(rows, (row) => of(row)?.interval.estimate ?? null, direction)?.best;
  if (!best) return null;
  const tied = rows.filter((row) => row !== best && compare(of(row), of(best)) === "no difference");
  return { best, tied };
}

/** Title of the throughput panel. */
export function throughputFinding({ rows }: Sweep): string {
  const found = leaders(rows, (row) => row.tokensPerSecond, "largest");
  if (!found) return "No batch size has timed steps";
  const { best, tied } = found;
  const ran = rows.filter(({ tokensPerSecond }) => tokensPerSecond);
  const rate = `${formatCompact(best.tokensPerSecond!.interval.estimate)} tokens/s`;
  if (ran.length === 1) return `${capital(labelOf(best))} trains at ${rate}`;
  if (tied.length === ran.length - 1) {
    return `No difference in throughput between batch sizes: ${
      formatInterval(best.tokensPerSecond!.interval)
    } tokens/s`;
  }
  const gain = best === ran[0] ? "" : `, ${formatRatio(best.speedup?.estimate)} ${labelOf(ran[0])}`;
  const isUnknown = ran.some((row) =>
    row !== best && compare(row.tokensPerSecond, best.tokensPerSecond) === "unknown"
  );
  const unknown = isUnknown ? " (one process: noise unknown)" : "";
  if (tied.length === 0) return `${capital(labelOf(best))} trains fastest: ${rate}${gain}${unknown}`;
  const names = rows.filter((row) => row === best || tied.includes(row)).map(labelOf);
  return `${capital(listed(names))} train fastest (no difference): ${rate}${gain}${unknown}`;
}

/** Title of the memory panel. */
export function memoryFinding({ rows }: Sweep): string {
  const known = rows.filter(({ configuration: { memory } }) => memory);
  if (known.length === 0) return "No batch size has a memory record";
  const bytes = ({ configuration: { memory } }: SweepRow) => memory!.bookedBytes ?? memory!.plannedBytes;
  const [first, last] = [known[0], known.at(-1)!];
  if (first === last) return `${capital(labelOf(first))} peaks at ${formatBytes(bytes(first))}`;
  const growth = bytes(last) / bytes(first);
  return `Peak memory grows ${formatRatio(growth)} from ${labelOf(first)} to ${labelOf(last)}: ${
    formatBytes(bytes(first))
  } to ${formatBytes(bytes(last))}`;
}

/** Title of the held-out loss panel. */
export function heldOutFinding({ rows, tokens }: Sweep): string {
  const found = leaders(rows, (row) => row.heldOut, "smallest");
  if (!found || tokens === null) return "No held-out loss at equal tokens";
  const { best, tied } = found;
  const known = rows.filter(({ heldOut }) => heldOut);
  const loss = formatNumber(best.heldOut!.interval.estimate, 2);
  if (known.length === 1) return `${capital(labelOf(best))} reaches held-out loss ${loss}`;
  if (tied.length === known.length - 1) {
    return `No difference in held-out loss between batch sizes: ${formatInterval(best.heldOut!.interval, 2)}`;
  }
  const names = capital(listed(rows.filter((row) => row === best || tied.includes(row)).map(labelOf)));
  const lowest = tied.length === 0
    ? `${names} reaches the lowest held-out loss, ${loss}`
    : `${names} reach the lowest held-out loss, ${loss} (no difference)`;
  const others = known.filter((row) => row !== best && !tied.includes(row));
  const worst = extremes(others, ({ heldOut }) => heldOut!.interval.estimate, "largest")!.best;
  const gap = formatNumber(worst.heldOut!.interval.estimate - best.heldOut!.interval.estimate, 2);
  const unknown = compare(worst.heldOut, best.heldOut) === "unknown" ? " (single seed: noise unknown)" : "";
  return `${lowest}; ${labelOf(worst)} ends ${gap} higher${unknown}`;
}

/** Title of the stacked bars. */
export function rolesFinding(bars: readonly RoleBar[]): string {
  const largest = extremes(bars, ({ total }) => total, "largest")?.best;
  if (!largest || largest.bytes.length === 0) return "No memory was planned";
  const top = largest.bytes.reduce((a, b) => b.bytes > a.bytes ? b : a);
  const share = formatNumber(top.bytes / largest.total * 100);
  const { label } = ROLE_STYLE[top.role];
  const verb = label.endsWith("s") ? "hold" : "holds";
  return `${capital(label)} ${verb} ${share} % of the peak at ${named(largest.label)}`;
}

/** Title of what is observed in parts. */
export function observedFinding([first]: readonly ObservedParts[]): string {
  const share = (bytes: number) => `${formatNumber(bytes / first.total * 100)} %`;
  return `Of the ${formatBytes(first.total)} observed at ${named(first.label)}, ${
    share(first.booked)
  } are booked, ${share(first.context)} context, ${share(first.kernels)} compiled kernels`;
}

/** Title of the stacked area. */
export function timelineFinding({ label, peak, points }: Timeline): string {
  const span = points.at(-1)!.dispatch - points[0].dispatch;
  const share = span > 0 ? Math.round((peak.dispatch - points[0].dispatch) / span * 100) : 0;
  return `${capital(named(label))} peaks at ${formatBytes(peak.bytes)}, ${share} % into the step`;
}

/** Title of the loss curves. */
export function lossFinding(panels: readonly LossPanel[]): string {
  const broken = panels.filter(({ note }) => note === "diverged");
  if (broken.length > 0) {
    const whole = panels.filter(({ note }) => note === null).length;
    const names = capital(listed(broken.map(({ label }) => label)));
    return `${names} diverged; ${whole} of ${count(panels.length, "configuration")} trained to the end`;
  }
  const ends = panels.flatMap(({ middle }) => middle.length > 0 ? [middle.at(-1)!.loss] : []);
  if (ends.length === 0) return "Training loss by configuration";
  const [low, high] = [Math.min(...ends), Math.max(...ends)].map((loss) => formatNumber(loss, 2));
  if (panels.length === 1) return `Held-out loss falls to ${low}`;
  return low === high
    ? `Held-out loss ends at ${low} everywhere`
    : `Held-out loss ends between ${low} and ${high}`;
}

/** Title of the step-time strips. */
export function stepTimeFinding(rows: readonly StepTimeRow[]): string {
  const steps = rows.reduce((sum, { n }) => sum + n, 0);
  const outliers = rows.reduce((sum, row) => sum + row.outliers, 0);
  const reach = Math.max(
    ...rows.map(({ median, lowerQuartile, upperQuartile }) =>
      (upperQuartile - lowerQuartile) / median.estimate
    ),
  );
  const spread = `The middle half of step times spans at most ${
    formatNumber(reach * 100, 1)
  } % of the median`;
  return `${spread}; ${formatNumber(outliers)} of ${count(steps, "step")} ${
    outliers === 1 ? "is an outlier" : "are outliers"
  }`;
}

/** Title of the scatter of memory against throughput. */
export function paretoFinding({ points, front }: Pareto): string {
  const [leanest, fastest] = [front[0], front.at(-1)!];
  const worth = points.filter(({ onFront }) => onFront).length;
  if (leanest === fastest && worth === 1) {
    return `${
      capital(named(leanest.label))
    } beats all ${points.length} configurations on memory and throughput`;
  }
  return `${worth} of ${points.length} configurations are not beaten beyond the noise, from ${
    named(leanest.label)
  } (${formatBytes(leanest.bytes)}) to ${named(fastest.label)} (${
    formatCompact(fastest.tokensPerSecond.estimate)
  } tokens/s)`;
}

/** Title of the ladder. */
export function ladderFinding(rows: readonly LadderRow[]): string {
  const best = extremes(rows, ({ memoryRatio }) => memoryRatio, "largest")?.best;
  if (!best) return "No rung of the ladder has a memory record";
  const rate = best.throughputRatio ? ` at ${formatRatio(best.throughputRatio.estimate)} the throughput` : "";
  return `${capital(named(best.label))} needs ${formatRatio(best.memoryRatio)} less memory than ${
    named(rows[0].label)
  }${rate}`;
}

/** Ratio for a table, and whether the noise allows to call it a difference. */
export function ratioWords(a: Measured | null, b: Measured | null): { text: string; isDifferent: boolean } {
  const ratio = ratioOf(a, b);
  if (!ratio) return { text: "–", isDifferent: false };
  return { text: formatInterval(ratio, 2), isDifferent: compare(a, b) === "different" };
}
