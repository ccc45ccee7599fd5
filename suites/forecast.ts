import { canonicalJson } from "../results/canonical_json.ts";
import { type Cell, expandPhase, type Filter, type Known, missingDecision, NOTHING_KNOWN } from "./matrix.ts";
import { addable, firstRounds } from "./adaptive_rounds.ts";
import { judgedStandIns, searchStandIns } from "./equal_memory.ts";
import type { TunedRate } from "./learning_rates.ts";
import { effectiveBatchSize } from "../results/tokens_per_step.ts";
import type { TieredPhase, TieredSuite } from "./suite.ts";

/** A cell that a run will come to. */
export interface ForecastCell {
  cell: Cell;
  /**
   * Its batch size, learning rate or methods are still to be decided; a candidate stands in, so its id is not
   * final.
   */
  guessed: boolean;
  /** Whether it takes time: not where it is only planned, pruned, or the same as an earlier cell. */
  runs: boolean;
}

/**
 * The cells of all phases. Where a batch size is still to be chosen the largest stands in, for a rate the
 * highest, for what an equal-memory phase has still to find its baseline. An adaptive phase that has not
 * looked yet is expected to add all that it can.
 */
export function forecastCells(
  tiered: TieredSuite,
  { batchSize, rates, searched, added }: Known = NOTHING_KNOWN,
): ForecastCell[] {
  const decided: Known = { batchSize, rates, searched, added, cells: [] };
  let guess = decided;
  const ran = new Set<string>();
  return tiered.phases.flatMap((phase) => {
    const guessed = missingDecision(phase, decided) !== null;
    const known = expandPhase(phase, guess);
    const standIns = phase.kind === "equal-memory" ? standInsOf(phase, guess) : [];
    if (phase.rounds === "adaptive" && !added.has(phase.name)) {
      standIns.push(...addable(phase, firstRounds(phase, known)));
    }
    const cells = [...known, ...standIns];
    guess = { ...guess, cells: [...guess.cells, ...cells] };
    if (phase.kind === "batch-sweep" && batchSize === null) {
      guess = { ...guess, batchSize: Math.max(...cells.map(({ config }) => effectiveBatchSize(config))) };
    }
    if (phase.kind === "rate-sweep") guess = { ...guess, rates: new Map([...highestRates(cells), ...rates]) };
    const forecast = cells.map((cell) => ({
      cell,
      guessed: guessed || standIns.includes(cell),
      runs: cell.kind === "trained" && cell.prunedBecause === null &&
        !(phase.reuse && ran.has(reuseKey(cell))),
    }));
    for (const { cell, runs } of forecast) if (runs) ran.add(reuseKey(cell));
    return forecast;
  });
}

/** What stands in for cells of an equal-memory phase that its search has not come to yet. */
function standInsOf(phase: TieredPhase, known: Known): Cell[] {
  const found = known.searched.get(phase.name);
  return [
    ...found ? [] : searchStandIns(phase, known),
    ...found?.judged ? [] : judgedStandIns(phase, known),
  ];
}

function highestRates(cells: readonly Cell[]): Map<string, TunedRate> {
  const rates = new Map<string, TunedRate>();
  for (const { config } of cells) {
    if (config.learningRate <= (rates.get(config.optimizer)?.rate ?? 0)) continue;
    rates.set(config.optimizer, {
      rate: config.learningRate,
      effectiveBatchSize: effectiveBatchSize(config),
    });
  }
  return rates;
}

/** Id of the first cell of the chain that a cell ends. */
export function rootOf(cell: Cell, all: readonly ForecastCell[]): string {
  const source = all.find((one) => one.cell.id === cell.config.startFrom)?.cell;
  return source ? rootOf(source, all) : cell.id;
}

/** What two cells must share for one run to be both's. */
export function reuseKey({ kind, config, repeat, warmupSteps }: Cell): string {
  return canonicalJson({ kind, config, repeat, warmupSteps });
}

/** The cells that a filter lets through, and those that they start from. */
export function wantedCells(all: readonly ForecastCell[], filter: Filter | null): ForecastCell[] {
  if (filter === null) return [...all];
  const ids = new Set<string>();
  // From the end: what a cell starts from comes before it.
  for (const { cell } of all.toReversed()) {
    if (!filter(cell) && !ids.has(cell.id)) continue;
    ids.add(cell.id);
    if (cell.config.startFrom !== null) ids.add(cell.config.startFrom);
  }
  return all.filter(({ cell }) => ids.has(cell.id));
}
