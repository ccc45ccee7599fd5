/**
 * `rounds: adaptive`: configurations run in two processes; where those do not tell whether throughput is
 * held, three more of the configuration and of its baseline run, once. docs/decisions/0027 says why, and why
 * the intervals have half of the error.
 */
import { configurationKey } from "../results/configuration_key.ts";
import { MARGINS } from "../results/margins.ts";
import { measure, type Measured, ratioOf, samplesOf } from "../results/measured.ts";
import { timedTokensPerSecond } from "../results/rates.ts";
import type { CellRecord, Decision } from "../results/record.ts";
import type { Interval } from "../results/stats.ts";
import { type Cell, cellOf } from "./matrix.ts";
import { adaptiveRounds } from "./round_counts.ts";
import { baselineOf } from "./rounds.ts";
import type { TieredPhase } from "./suite.ts";

/** Before the cells that the phase may add, and after them. */
const LOOKS = 2;
/** Throughput that counts as held, as a part of the baseline's. */
const EDGE = 1 - MARGINS.throughput.value;

const RULE =
  `Every configuration runs in two processes or more. Where the interval of its throughput over the baseline's (the cell of ` +
  `the same setting and effective batch that switches nothing on) has ${EDGE} inside, or there is none, both run in three ` +
  `processes more, once. As there are two looks, each has half of the error: ${
    100 * (1 - (1 - MARGINS.confidence.value) / LOOKS)
  } % intervals instead of ${100 * MARGINS.confidence.value} %.`;

/** A configuration of a phase with the one that it is compared with. */
interface Compared {
  label: string;
  cells: Cell[];
  baseline: Cell[];
}

/** The configurations of a phase that run and have a baseline in it, from the cells of its first rounds. */
function comparedIn(first: readonly Cell[]): Compared[] {
  const running = first.filter(({ prunedBecause }) => prunedBecause === null);
  const keyOf = (cell: Cell) => configurationKey(cell, () => "a cell");
  const groups = Map.groupBy(running, keyOf);
  return [...groups.values()].flatMap((cells): Compared[] => {
    const baseline = baselineOf(cells[0], running);
    return baseline ? [{ label: cells[0].label, cells, baseline: groups.get(keyOf(baseline))! }] : [];
  });
}

/** The cells of a phase's first rounds; none of a search, whose times are used for nothing else. */
export function firstRounds({ repeats }: TieredPhase, cells: readonly Cell[]): Cell[] {
  return cells.filter(({ repeat, role }) => repeat < repeats && role !== "search");
}

/** Cells that a phase can add at most: of every configuration that is compared, and of its baseline. */
export function addable(phase: TieredPhase, first: readonly Cell[]): Cell[] {
  return roundsMore(phase, first, comparedIn(first));
}

/** Further rounds of what is compared, in the order of the first one. */
function roundsMore(phase: TieredPhase, cells: readonly Cell[], compared: readonly Compared[]): Cell[] {
  const wanted = new Set(compared.flatMap(({ cells, baseline }) => [...baseline, ...cells]));
  const { first, more } = adaptiveRounds(phase.seeds);
  const once = cells.filter((cell) => wanted.has(cell) && cell.repeat === 0);
  return Array.from({ length: more }, (_, i) => first + i).flatMap((repeat) =>
    once.map(({ label, config, role }) =>
      cellOf(phase, { label, config, repeat, prunedBecause: null, ...role !== undefined && { role } })
    )
  );
}

/** What a phase does after its first rounds. */
export interface Look {
  decision: Decision;
  added: Cell[];
}

/**
 * Looks at the first rounds of a phase.
 *
 * @returns Null while cells have no record that stands.
 */
export function look(
  phase: TieredPhase,
  first: readonly Cell[],
  recordOf: (id: string) => CellRecord | null,
): Look | null {
  const compared = comparedIn(first);
  const measured = new Map<Cell[], Measured | null>();
  for (const cells of new Set(compared.flatMap(({ cells, baseline }) => [cells, baseline]))) {
    const records = cells.map(({ id }) => recordOf(id));
    if (records.includes(null)) return null;
    const ok = records.filter((record) => record?.status === "ok") as CellRecord[];
    measured.set(cells, measure(samplesOf(ok, timedTokensPerSecond), "factor", LOOKS));
  }
  const ratios = new Map(
    compared.map((one) => [
      one,
      ratioOf(measured.get(one.cells)!, measured.get(one.baseline)!, MARGINS.confidence.value),
    ]),
  );
  const undecided = compared.filter((one) => isUndecided(ratios.get(one)!));
  const { more } = adaptiveRounds(phase.seeds);
  const processes = more * (phase.seeds?.length ?? 1);
  return {
    added: roundsMore(phase, first, undecided),
    decision: {
      name: `rounds/${phase.name}`,
      rule: RULE,
      inputs: [...measured.keys()].flat().map(({ id }) => id),
      figures: Object.fromEntries(compared.map((one) => {
        const { estimate = null, low = null, high = null } = ratios.get(one) ?? {};
        return [one.label, { throughputRatio: estimate, low, high }];
      })),
      chosen: undecided.length > 0 ? undecided.map(({ label }) => label).join("; ") : "none",
      value: undecided.length,
      reason: undecided.length > 0
        ? `in phase ${phase.name} ${processes} more processes for ${undecided.length} of ${compared.length} ` +
          `configurations and their baseline: the first do not tell whether throughput is held`
        : `in phase ${phase.name} no more processes: the first tell of all ${compared.length} configurations whether ` +
          "throughput is held",
    },
  };
}

/** Whether an interval has the margin's edge inside; one process has no interval, and no process no ratio. */
function isUndecided(ratio: Interval | null): boolean {
  return ratio !== null && (ratio.n === 1 || ratio.low < EDGE && ratio.high >= EDGE);
}
