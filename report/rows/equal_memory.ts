/**
 * Equal memory: of each budget the finalist that a search found, beside the baseline, both in processes and
 * with seeds that the search did not have. A process is one value: steps of one process are no repeats.
 */
import { canonicalJson } from "../../results/canonical_json.ts";
import type { CellRecord, CellRole, Decision } from "../../results/record.ts";
import { partOf } from "../../results/settings.ts";
import type { Interval } from "../../results/stats.ts";
import type { Analysis } from "./analysis.ts";
import type { Configuration } from "./configuration.ts";
import { equalTokens, heldOutLosses } from "./held_out.ts";
import { meanInterval } from "../../results/intervals.ts";
import { type Measured, ratioOf } from "../../results/measured.ts";

/** A configuration that was judged. */
export interface JudgedSide {
  configuration: Configuration;
  /** Median tokens per second of each process that ran to its end. */
  tokensPerSecond: Measured | null;
  /** Held-out loss at equal tokens, one value a seed. */
  heldOut: Measured | null;
}

export interface EqualMemoryRow {
  /** Times less than the baseline's planned peak. */
  ratio: number;
  budgetBytes: number;
  decision: Decision;
  /** Combinations that fit. */
  fit: number;
  /** Cells of the search: what was tried, in one process each. */
  tried: CellRecord[];
  /** Null where the record has none. */
  baseline: JudgedSide | null;
  /** Null where nothing fits, or nothing that was tried ended well, or it has not been judged yet. */
  finalist: JudgedSide | null;
  /** The finalist with the largest batch that fits, for throughput alone; null where it cannot grow. */
  grown: JudgedSide | null;
  /** Booked peak of the baseline divided by the finalist's. */
  memoryRatio: number | null;
  /** Throughput of the finalist, and of its grown batch, divided by the baseline's: processes count. */
  throughputRatio: Interval | null;
  grownThroughputRatio: Interval | null;
  /** Finalist's held-out loss less the baseline's, in nats per token: mean over the seeds that both have. */
  lossDifference: Interval | null;
  /** Tokens at which losses are compared. */
  tokens: number | null;
}

/** One row a budget, the largest first; none where the run has no such phase or has not decided it. */
export function equalMemoryRows({ loaded, configurations }: Analysis): EqualMemoryRow[] {
  const own = configurations.filter(({ phaseKind }) => phaseKind === "equal-memory");
  const judged = own.filter(({ role }) => role === "judged");
  const tokens = equalTokens(judged);
  const sides = sidesOf(own.filter(({ role }) => role !== "search"), tokens);
  const byId = new Map(loaded.cells.map((cell) => [cell.id, cell]));
  const baseline = sides.find(({ configuration: { label } }) => label === "baseline") ?? null;
  return loaded.run.decisions.flatMap((decision): EqualMemoryRow[] => {
    const { budget, ...candidates } = decision.figures;
    const [ratio, bytes] = [budget?.memoryRatio ?? null, budget?.budgetBytes ?? null];
    if (!decision.name.startsWith("equalMemory/") || ratio === null || bytes === null) return [];
    const winner = byId.get(String(decision.value)) ?? null;
    const finalist = winner && find(sides, "judged", winner, true);
    const grown = winner && find(sides, "grown", winner, false, bytes);
    return [{
      ratio,
      budgetBytes: bytes,
      decision,
      fit: Object.keys(candidates).length,
      tried: decision.inputs.flatMap((id) => {
        const cell = byId.get(id);
        return cell?.role === "search" ? [cell] : [];
      }),
      baseline,
      finalist,
      grown,
      memoryRatio: ratioOfPeaks(baseline, finalist),
      throughputRatio: ratioOf(finalist?.tokensPerSecond ?? null, baseline?.tokensPerSecond ?? null),
      grownThroughputRatio: ratioOf(grown?.tokensPerSecond ?? null, baseline?.tokensPerSecond ?? null),
      lossDifference: pairedDifference(finalist?.heldOut ?? null, baseline?.heldOut ?? null),
      tokens,
    }];
  }).sort((a, b) => a.ratio - b.ratio);
}

function sidesOf(configurations: readonly Configuration[], tokens: number | null): JudgedSide[] {
  const judged = configurations.filter(({ role }) => role === "judged");
  const losses = heldOutLosses(judged, tokens);
  return configurations.map((configuration) => ({
    configuration,
    tokensPerSecond: configuration.tokensPerSecond,
    heldOut: losses[judged.indexOf(configuration)] ?? null,
  }));
}

/**
 * The configuration of a role that switches on what a cell of the search does; of several that differ in
 * their batch the largest within a budget.
 */
function find(
  sides: readonly JudgedSide[],
  role: CellRole,
  { config }: CellRecord,
  sameSplit: boolean,
  bytes = Infinity,
): JudgedSide | null {
  const key = (one: CellRecord["config"]) =>
    canonicalJson([
      partOf(one, ({ compare }) => compare === "switched"),
      sameSplit && [one.microBatchSize, one.gradientAccumulationSteps],
    ]);
  const found = sides.filter(({ configuration }) =>
    configuration.role === role && key(configuration.config) === key(config) &&
    (configuration.memory?.plannedBytes ?? 0) <= bytes
  );
  return found.toSorted((a, b) =>
    b.configuration.effectiveBatchSize - a.configuration.effectiveBatchSize
  )[0] ??
    null;
}

function ratioOfPeaks(baseline: JudgedSide | null, finalist: JudgedSide | null): number | null {
  const [theirs, ours] = [baseline, finalist].map((side) => side?.configuration.memory?.bookedBytes ?? null);
  return theirs && ours ? theirs / ours : null;
}

function pairedDifference(a: Measured | null, b: Measured | null): Interval | null {
  const differences = a?.byCell.flatMap(({ seed, values: [loss] }) => {
    const other = b?.byCell.find((cell) => cell.seed === seed);
    return other ? [loss - other.values[0]] : [];
  }) ?? [];
  return differences.length > 0 ? meanInterval(differences) : null;
}
